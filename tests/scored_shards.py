"""Small data sets of scored pairs, cut into shards of any sizes and in any order, and what is asked of them by row."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.dedup.identity import identities
from curate.manifest import Attempt, Commit, write_parquet
from curate.models.embeddings import embedding_column
from curate.plan import Job, check
from curate.run.inline import InlineEngine
from curate.run.scheduler import Outcome, run_job
from curate.shard import Shard, Slice
from curate.stage import Barrier, Runtime, Stage
from curate.storage import Storage

SAMPLE = ("url", "caption", "sha256", "uid")


def pairs(count: int, **columns: Any) -> pa.Table:
    """`count` different pairs, with more columns: arrays of Arrow, or lists of floats that may hold None."""
    rows = {
        "url": [f"http://a.test/{n}.jpg" for n in range(count)],
        "caption": [f"picture {n % 3}" for n in range(count)],
        "sha256": [hashlib.sha256(b"%d" % (n % 5)).hexdigest() for n in range(count)],
        "uid": [hashlib.md5(b"%d" % n).hexdigest() for n in range(count)],
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in rows.items()})
    for name, values in columns.items():
        typed = values if isinstance(values, pa.Array) else pa.array(values, pa.float64(), from_pandas=False)
        table = table.append_column(name, typed)
    return table


def unit_rows(count: int, length: int = 8, seed: int = 0) -> np.ndarray:
    """Random directions, float32 (count, length)."""
    values = np.random.default_rng(seed).normal(size=(count, length))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def embedded(rows: np.ndarray, missing: Sequence[int] = ()) -> pa.Array:
    """A column of embeddings, null where one is `missing`."""
    return embedding_column(rows, ~np.isin(np.arange(len(rows)), list(missing)))


def pack(
    folder: Path,
    rows: pa.Table,
    sizes: Sequence[int],
    order: Sequence[int] | None = None,
    about: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
) -> list[Shard]:
    """Cut rows, in any `order`, into shards of these sizes. `about`: what a column says of itself, shard by shard."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows if order is None else rows.take(pa.array(order, pa.int64()))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    assert starts[-1] == len(rows)
    for number, size in enumerate(sizes):
        part = rows.slice(starts[number], size)
        keys = pa.array([f"{number:05d}{row:04d}" for row in range(size)], pa.string())
        others = [n for n in rows.column_names if n not in SAMPLE]
        for family, names in [("", SAMPLE), (".scores", others)][: 2 if others else 1]:
            fields = [
                part.schema.field(n).with_metadata((about or {}).get(n, [{}] * len(sizes))[number] or None)
                for n in names
            ]
            table = pa.table([part[n] for n in names], schema=pa.schema(fields)).add_column(0, "key", keys)
            write_parquet(table, folder / f"{number:05d}{family}.parquet")
    return handles(folder, len(sizes))


def handles(folder: Path, count: int) -> list[Shard]:
    return [Shard(Storage(str(folder)), f"{number:05d}") for number in range(count)]


def packings(count: int) -> list[tuple[list[int], list[int]]]:
    """Sizes and orders that rows are packed in: one shard, up to twelve, uneven ones with empty ones between."""
    parts = min(count, 12)
    many = [count // parts + (number < count % parts) for number in range(parts)]
    uneven = [0, count // 2, 0, 1, count - count // 2 - 1, 0] if count > 1 else [0, count, 0]
    turned = np.random.default_rng(count).permutation(count).tolist()
    return [([count], list(range(count))), (many, turned), (uneven, turned[::-1])]


def run_barrier(barrier: Barrier, shards: Sequence[Shard], folder: Path) -> Commit:
    """Run a barrier and commit its files."""
    attempt = Attempt(Storage(str(folder)), barrier.label, "all", uuid.uuid4().hex[:16])
    barrier.run(shards, attempt)
    return attempt.commit()


def by_row(shards: Sequence[Shard], names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Values of columns by uid, wherever the row lies."""
    found: dict[str, tuple[Any, ...]] = {}
    for shard in shards:
        columns = Shard(shard.storage, shard.id).columns(["uid", *names]).to_pydict()
        found |= {uid: tuple(columns[n][row] for n in names) for row, uid in enumerate(columns["uid"])}
    return found


def digests(rows: pa.Table, folder: Path) -> dict[str, tuple[int, int]]:
    """Each row's identity by uid, as two numbers."""
    (shard,) = pack(folder, rows, [len(rows)])
    return dict(zip(rows["uid"].to_pylist(), map(tuple, identities(shard).tolist()), strict=True))


def bytes_of(folder: Path, family: str) -> dict[str, bytes]:
    """The files of one family, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob(f"*.{family}.parquet"))}


@dataclass(frozen=True)
class Given(Stage):
    """Writes the sample tables of shards that lie packed in `folder`."""

    folder: str
    name: ClassVar[str] = "given"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("key", *SAMPLE)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        attempt.write_table(f"{shard.id}.parquet", pq.read_table(Path(self.folder) / f"{shard.id}.parquet"))


@dataclass(frozen=True)
class ScoredBy(Stage):
    """Writes the other columns that lie packed in `folder`, as a `model` would."""

    folder: str
    columns: tuple[str, ...]
    model: str = "one"
    name: ClassVar[str] = "scores"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("key",)

    @property
    def writes(self) -> tuple[str, ...]:
        return self.columns

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        table = pq.read_table(Path(self.folder) / f"{shard.id}.scores.parquet")
        fields = [table.schema.field(n).with_metadata({"model_fingerprint": self.model}) for n in self.columns]
        own = pa.table([table[n] for n in self.columns], schema=pa.schema(fields))
        attempt.write_table(f"{shard.id}.scores.parquet", own.add_column(0, "key", table["key"]))


def run_steps(folder: Path, shards: int, steps: Sequence[Stage | Barrier]) -> Outcome:
    """Check and run a job of these steps in `folder`, in this process."""
    pieces = [Slice(f"{number:05d}", 1, str(number)) for number in range(shards)]
    job = Job(tuple(steps), lambda storage: iter(pieces), lambda storage: pieces)
    check(job)
    return run_job(job, Storage(str(folder)), InlineEngine())
