"""Runs scorers on a shard, each into a column file of its own: `00000.<scorer>.parquet`, one row per input row.

Scorers of pixels that stand next to one another share one pass over the tar and one decode per picture, which costs
more than any of the cheap ones (a 512 px JPEG 2 ms, the variance of its Laplacian 0.3 ms). Pictures are decoded and
prepared by threads, a few ahead of the scorers (`curate.decode`). Each scorer gets batches of its own, bounded in
number and in bytes, so that what it computes does not depend on who stands beside it, and may work on one batch while
the next is made.

A row that a scorer cannot take is null and counted as `score_failed`; its batch is tried again row by row. A scorer
that fails on every row is broken, and says so. A picture of the tar that cannot be decoded is null for each of them and
counted as `undecoded`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import pyarrow as pa

from curate.decode import Unprepared, prepared
from curate.errors import CurateError, StageError
from curate.filter import Batch, Scorer
from curate.manifest import Attempt
from curate.models.device import work_on
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage

__all__ = ["FAILED", "IMAGE", "UNDECODED", "Score"]

IMAGE = "image"
"""The pseudo-column that stands for the pictures in the tar."""
FAILED, UNDECODED = "score_failed", "undecoded"
"""What a commit counts besides `in` and `scored`: rows that a scorer failed on, and pictures that nobody can decode."""

BATCH_ROWS = 2_048
BATCH_PICTURES = 64
BATCH_BYTES = 96 << 20


@dataclass(frozen=True)
class Score(Stage):
    """One scorer as a stage. `gpus` is what it asks for, at least what its scorer wants: more where it stands beside
    one that wants a GPU, so that they share a decode."""

    scorer: Scorer
    gpus: float = field(default=0.0, kw_only=True)

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

    @property
    def resources(self) -> Resources:
        return Resources(gpus=max(self.gpus, self.scorer.gpus))

    def identity(self) -> Any:
        return {"stage": self.label, "version": self.version, "scorer": self.scorer.identity()}

    def require(self, runtime: Runtime) -> None:
        self.scorer.require()

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
        work_on(runtime.gpu, runtime.threads)
        names = {"key": None} | dict.fromkeys(c for s in scorers for c in s.reads if c != IMAGE)
        columns = first.inputs(shard, list(names))
        results = [Result(scorer, columns) for scorer in scorers]
        on_pixels = [r for r in results if IMAGE in r.scorer.reads]
        for result in results:
            if IMAGE not in result.scorer.reads:
                result.add_rows()
        if on_pixels:
            _feed(on_pixels, shard, first.pictures(shard), runtime)
        for result, (_, attempt) in zip(results, work, strict=True):
            result.write(first.rows_of(shard), attempt)


def _feed(results: Sequence[Result], shard: Shard, encoded: Iterator[tuple[str, bytes]], runtime: Runtime) -> None:
    """Hand every picture of the tar to every scorer."""
    row_of = {key: row for row, key in enumerate(results[0].columns["key"].to_pylist())}
    for picture in prepared(encoded, [r.scorer.prepare for r in results], runtime.threads):
        if picture.key not in row_of:
            raise StageError(f"{shard.tar} has a sample {picture.key!r} that {shard.table_name()} does not know")
        for result, view, size in zip(results, picture.views, picture.sizes, strict=True):
            result.add_picture(row_of[picture.key], view, size)
    for result in results:
        result.flush()


@dataclass
class Result:
    """What one scorer has said so far about a shard: pieces of columns, and the row that each value belongs to.

    At most one batch is under way: begun, and not yet asked for its answer.
    """

    scorer: Scorer
    columns: pa.Table
    rows: list[int] = field(default_factory=list)
    pieces: dict[str, list[pa.Array]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    undecoded: int = 0
    _waiting: list[tuple[int, Any]] = field(default_factory=list)
    _held_bytes: int = 0
    _begun: Callable[[], None] = lambda: None

    def add_rows(self) -> None:
        """Score all rows, for a scorer that needs no pictures."""
        for start in range(0, self.columns.num_rows, BATCH_ROWS):
            rows = range(start, min(start + BATCH_ROWS, self.columns.num_rows))
            self._begin(rows, ())
        self.flush()

    def add_picture(self, row: int, view: Any, size: int) -> None:
        """Take one picture; a batch is begun when enough are there."""
        if isinstance(view, Unprepared):
            self.errors.append(view.error)
            return
        self.undecoded += view is None
        self._waiting.append((row, view))
        self._held_bytes += size
        if len(self._waiting) >= (self.scorer.batch_pictures or BATCH_PICTURES) or self._held_bytes >= BATCH_BYTES:
            self._begin_waiting()

    def flush(self) -> None:
        """Score what is left, and wait for all answers."""
        self._begin_waiting()
        self._begun()
        self._begun = lambda: None

    def _begin_waiting(self) -> None:
        waiting, self._waiting, self._held_bytes = self._waiting, [], 0
        if waiting:
            self._begin([row for row, _ in waiting], [view for _, view in waiting])

    def _begin(self, rows: Sequence[int], pixels: Sequence[Any]) -> None:
        """Begin a batch, then take the answer of the one before."""
        read = self.columns.select([c for c in self.scorer.reads if c != IMAGE])
        part = read.slice(rows[0], len(rows)) if isinstance(rows, range) else read.take(pa.array(rows))
        try:
            answer = self.scorer.start(Batch(part, pixels))
        except CurateError:
            raise
        except Exception as error:  # noqa: BLE001 - a scorer may raise anything; the row is what is at fault
            answer = _raising(error.with_traceback(None))  # which holds the tensors that filled a memory
        before, self._begun = self._begun, lambda: self._take(answer, part, rows, pixels)
        before()

    def _take(self, answer: Answer, part: pa.Table, rows: Sequence[int], pixels: Sequence[Any]) -> None:
        """Keep the answer to a batch; where that raises, score each of its rows alone."""
        try:
            self._keep(answer(), rows)
            return
        except CurateError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            if len(rows) == 1:
                self.errors.append(f"{type(error).__name__}: {error}")
                return
        for place, row in enumerate(rows):
            batch = Batch(part.slice(place, 1), pixels[place : place + 1])
            self._take(lambda batch=batch: self.scorer.score(batch), batch.columns, [row], batch.pixels)  # type: ignore[misc]

    def _keep(self, answer: Mapping[str, pa.Array], rows: Sequence[int]) -> None:
        found = {name: _as_array(values) for name, values in answer.items()}
        pieces = {column: found[column].cast(kind) for column, kind in self.scorer.writes.items()}
        if any(len(piece) != len(rows) for piece in pieces.values()):
            raise StageError(
                f"scorer {self.scorer.name} gave {[len(p) for p in pieces.values()]} values for {len(rows)} rows"
            )
        for column, piece in pieces.items():
            self.pieces.setdefault(column, []).append(piece)
        self.rows.extend(rows)

    def write(self, shard: Shard, attempt: Attempt) -> None:
        """Write the columns aligned with the sample table. Raises StageError when every row failed."""
        if len(self.errors) > 1 and not self.rows:
            raise StageError(
                f"{self.scorer.name} failed on all {len(self.errors)} rows of {shard.id}: {self.errors[0]}"
            )
        keys = self.columns["key"]
        place = dict(zip(self.rows, range(len(self.rows)), strict=True))
        order = pa.array([place.get(row) for row in range(len(keys))], pa.int64())
        told = {c: shard.provenance(c) for c in self.scorer.reads if c in shard.column_files}
        about = {name.encode(): value.encode() for name, value in self.scorer.made_from(told).items()}
        fields, arrays = [pa.field("key", keys.type)], [keys]
        for column, kind in self.scorer.writes.items():
            fields.append(pa.field(column, kind, metadata=about or None))
            arrays.append(pa.chunked_array(self.pieces.get(column, []), kind).combine_chunks().take(order))
        attempt.write_table(shard.table_name(self.scorer.name), pa.table(arrays, schema=pa.schema(fields)))
        attempt.counts["in"] = len(keys)
        attempt.counts["scored"] = len(self.rows)
        for name, rows in ((FAILED, len(self.errors)), (UNDECODED, self.undecoded)):
            if rows:
                attempt.counts[name] = rows


Answer = Callable[[], Mapping[str, pa.Array]]


def _raising(error: Exception) -> Answer:
    def answer() -> Mapping[str, pa.Array]:
        raise error

    return answer


def _as_array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
