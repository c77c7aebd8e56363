"""Shards of documents made by hand, and a barrier run on them without a scheduler."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curate.manifest import Attempt, Commit
from curate.shard import Shard
from curate.stage import Barrier
from curate.storage import Storage


class Part(NamedTuple):
    """A block of text, or a slot; `keep` counts for both rounds unless `unique` says otherwise."""

    kind: str
    value: str | None
    keep: bool = True
    unique: bool | None = None


def text(value: str | None, keep: bool = True) -> Part:
    return Part("text", value, keep)


def image(value: str | None, keep: bool = True, unique: bool | None = None) -> Part:
    return Part("image", value, keep, unique)


@dataclass(frozen=True)
class Doc:
    """One document."""

    url: str | None = "http://a.test/"
    parts: Sequence[Part] = ()
    date: str | None = "2024-01-01T00:00:00Z"
    file: str | None = "a.warc.gz"
    keep: bool = True
    copy_of: str | None = None


def tables(shard: str, documents: Sequence[Doc]) -> dict[str, pa.Table]:
    """The files of a shard by name, as the stages before write them."""
    keys = [f"{shard}{row:06d}" for row in range(len(documents))]
    string = pa.string()
    parts = [(row, number, part) for row, doc in enumerate(documents) for number, part in enumerate(doc.parts)]
    part_keys = pa.array([f"{keys[row]}.{number}" for row, number, _ in parts], string)

    def column(kind: str) -> pa.Array:
        return pa.array([part.value if part.kind == kind else None for *_, part in parts], string)

    return {
        f"{shard}.parquet": pa.table(
            {
                "key": pa.array(keys, string),
                "url": pa.array([doc.url for doc in documents], string),
                "crawl_date": pa.array([doc.date for doc in documents], string),
                "source_file": pa.array([doc.file for doc in documents], string),
            }
        ),
        f"{shard}.read_select.parquet": pa.table(
            {"key": pa.array(keys, string), "read_keep": pa.array([doc.keep for doc in documents], pa.bool_())}
        ),
        f"{shard}.url_duplicates.parquet": pa.table(
            {"key": pa.array(keys, string), "url_duplicate_of": pa.array([doc.copy_of for doc in documents], string)}
        ),
        f"{shard}_parts.parquet": pa.table(
            {
                "key": part_keys,
                "document": pa.array([row for row, *_ in parts], pa.int32()),
                "kind": pa.array([part.kind for *_, part in parts], string),
                "text": column("text"),
                "url": column("image"),
            }
        ),
        f"{shard}_parts.read_select.parquet": pa.table(
            {"key": part_keys, "read_keep": pa.array([part.keep for *_, part in parts], pa.bool_())}
        ),
        f"{shard}_parts.unique_select.parquet": pa.table(
            {
                "key": part_keys,
                "unique_keep": pa.array(
                    [part.keep if part.unique is None else part.unique for *_, part in parts], pa.bool_()
                ),
            }
        ),
    }


def write_shards(folder: Path, shards: Sequence[Sequence[Doc]]) -> list[Shard]:
    """Write them and return their handles."""
    folder.mkdir(exist_ok=True)
    for number, documents in enumerate(shards):
        for name, table in tables(f"{number:05d}", documents).items():
            pq.write_table(table, folder / name)
    storage = Storage(str(folder))
    return [Shard(storage, f"{number:05d}") for number in range(len(shards))]


def run_barrier(barrier: Barrier, shards: Sequence[Shard], folder: Path) -> Commit:
    """Run a barrier and commit its files."""
    attempt = Attempt(Storage(str(folder)), barrier.label, "all", "f" * 16)
    barrier.run(shards, attempt)
    return attempt.commit()


def column(shards: Sequence[Shard], name: str) -> list[list[Any]]:
    """A column of documents, or of parts with the prefix `part.`, shard by shard."""
    if name.startswith("part."):
        shards, name = [shard.parts for shard in shards], name.removeprefix("part.")
    return [Shard(shard.storage, shard.id).columns([name])[name].to_pylist() for shard in shards]


def bytes_of(folder: Path, family: str) -> dict[str, str]:
    """Digests of the files of one family."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob(f"*.{family}.parquet"))}
