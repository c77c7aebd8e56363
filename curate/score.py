"""Runs scorers on a shard, each into a column file of its own: `00000.<scorer>.parquet`, one row per input row.

Scorers of pixels that stand next to one another share one pass over the tar and one decode per picture, which costs
more than any of the cheap ones (a 512 px JPEG 2 ms, the variance of its Laplacian 0.3 ms). Pictures are decoded by
threads, a few ahead of the scorers, and handed on in batches bounded in number and in bytes, so memory does not grow
with the shard.

A row that a scorer cannot take is null and counted as `score_failed`; its batch is tried again row by row. A scorer
that fails on every row is broken, and says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import pyarrow as pa

from curate.errors import CurateError, StageError
from curate.filter import Batch, Pixels, Scorer
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Runtime, Stage

__all__ = ["IMAGE", "Score"]

IMAGE = "image"
"""The pseudo-column that stands for the pictures in the tar."""

BATCH_ROWS = 2_048
BATCH_PICTURES = 64
BATCH_BYTES = 96 << 20


@dataclass(frozen=True)
class Score(Stage):
    """One scorer as a stage."""

    scorer: Scorer

    name: ClassVar[str] = "score"

    @property
    def label(self) -> str:
        return f"score_{self.scorer.name}"

    @property
    def reads(self) -> tuple[str, ...]:
        return self.scorer.reads

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(self.scorer.writes)

    def identity(self) -> Any:
        return {"stage": self.label, "version": self.version, "scorer": self.scorer.identity()}

    def rows_of(self, shard: Shard) -> Shard:
        """Where the rows are that get scores: the shard itself."""
        return shard

    def inputs(self, shard: Shard, names: Sequence[str]) -> pa.Table:
        """The columns that scorers ask for, and `key`."""
        return self.rows_of(shard).columns(names)

    def pictures(self, shard: Shard) -> Iterator[tuple[str, bytes]]:
        """Keys of rows and their encoded pictures, in any order; a row without a picture is left out."""
        return ((sample.key, sample.image) for sample in shard.samples())

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        self.run_together([(self, attempt)], shard, runtime)

    @classmethod
    def run_together(cls, work: Sequence[tuple[Self, Attempt]], shard: Shard, runtime: Runtime) -> None:
        first, scorers = work[0][0], [stage.scorer for stage, _ in work]
        names = {"key": None} | dict.fromkeys(c for s in scorers for c in s.reads if c != IMAGE)
        columns = first.inputs(shard, list(names))
        results = [Result(scorer) for scorer in scorers]
        on_rows = [r for r in results if IMAGE not in r.scorer.reads]
        on_pixels = [r for r in results if IMAGE in r.scorer.reads]
        for start in range(0, columns.num_rows if on_rows else 0, BATCH_ROWS):
            part = columns.slice(start, BATCH_ROWS)
            for result in on_rows:
                result.add(part, range(start, start + len(part)), ())
        if on_pixels:
            for rows, pixels in _pictures(shard, first.pictures(shard), columns["key"], runtime.threads):
                for result in on_pixels:
                    result.add(columns.take(rows), rows, pixels)
        for result, (_, attempt) in zip(results, work, strict=True):
            result.write(first.rows_of(shard), columns["key"], attempt)


@dataclass
class Result:
    """What one scorer has said so far about a shard: pieces of columns, and the row that each value belongs to."""

    scorer: Scorer
    rows: list[int] = field(default_factory=list)
    pieces: dict[str, list[pa.Array]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, columns: pa.Table, rows: Sequence[int], pixels: Sequence[Pixels | None]) -> None:
        """Score a batch; where that raises, each of its rows alone."""
        columns = columns.select([c for c in self.scorer.reads if c != IMAGE])
        try:
            self._take(Batch(columns, pixels), rows)
            return
        except CurateError:
            raise
        except Exception as error:  # noqa: BLE001 - a scorer may raise anything; the row is what is at fault
            if len(rows) == 1:
                self.errors.append(f"{type(error).__name__}: {error}")
                return
        for place, row in enumerate(rows):
            self.add(columns.slice(place, 1), [row], pixels[place : place + 1])

    def write(self, shard: Shard, keys: pa.ChunkedArray, attempt: Attempt) -> None:
        """Write the columns aligned with the sample table. Raises StageError when every row failed."""
        if len(self.errors) > 1 and not self.rows:
            raise StageError(
                f"{self.scorer.name} failed on all {len(self.errors)} rows of {shard.id}: {self.errors[0]}"
            )
        place = dict(zip(self.rows, range(len(self.rows)), strict=True))
        order = pa.array([place.get(row) for row in range(len(keys))], pa.int64())
        table: dict[str, Any] = {"key": keys}
        for column, kind in self.scorer.writes.items():
            pieces = self.pieces.get(column, [])
            table[column] = pa.chunked_array(pieces, kind).combine_chunks().take(order)
        attempt.write_table(shard.table_name(self.scorer.name), pa.table(table))
        attempt.counts["in"] = len(keys)
        attempt.counts["scored"] = len(self.rows)
        if self.errors:
            attempt.counts["score_failed"] = len(self.errors)

    def _take(self, batch: Batch, rows: Sequence[int]) -> None:
        found = {name: _as_array(values) for name, values in self.scorer.score(batch).items()}
        pieces = {column: found[column].cast(kind) for column, kind in self.scorer.writes.items()}
        if any(len(piece) != len(rows) for piece in pieces.values()):
            raise StageError(
                f"scorer {self.scorer.name} gave {[len(p) for p in pieces.values()]} values for {len(rows)} rows"
            )
        for column, piece in pieces.items():
            self.pieces.setdefault(column, []).append(piece)
        self.rows.extend(rows)


def _as_array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _pictures(
    shard: Shard, encoded: Iterator[tuple[str, bytes]], keys: pa.ChunkedArray, threads: int
) -> Iterator[tuple[list[int], list[Pixels | None]]]:
    """Batches of (rows, decoded pictures) in the order of the tar, decoded by `threads` a little ahead."""
    row_of = {key: row for row, key in enumerate(keys.to_pylist())}
    rows: list[int] = []
    pixels: list[Pixels | None] = []
    held = 0
    for key, picture in _decoded(encoded, threads):
        if key not in row_of:
            raise StageError(f"{shard.tar} has a sample {key!r} that {shard.table_name()} does not know")
        rows.append(row_of[key])
        pixels.append(picture)
        held += 0 if picture is None else picture.nbytes
        if len(rows) >= BATCH_PICTURES or held >= BATCH_BYTES:
            yield rows, pixels
            rows, pixels, held = [], [], 0
    if rows:
        yield rows, pixels


def _decoded(encoded: Iterator[tuple[str, bytes]], threads: int) -> Iterator[tuple[str, Pixels | None]]:
    from curate.fetch.image import decode

    waiting: deque[tuple[str, Future[Pixels | None]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for key, data in encoded:
            waiting.append((key, pool.submit(decode, data)))
            if len(waiting) > 2 * threads:
                done, picture = waiting.popleft()
                yield done, picture.result()
        for done, picture in waiting:
            yield done, picture.result()
