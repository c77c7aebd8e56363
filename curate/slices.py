"""The cut of an input into shards, on disk: one small Parquet file per shard, and a plan that lists them.

    source/00000.parquet   the rows that shard 00000 is made from
    source/plan.json       what was cut and how, and every slice with its digest

The plan is written twice: at the start without slices, so that a second job with another input is refused at once,
and at the end with all of them. A complete plan means that the input is not needed any more. 40,000 shards are
2 MB of JSON, read in 0.1 s.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyarrow as pa

from curate.errors import StorageError
from curate.manifest import write_parquet
from curate.shard import Shard, Slice, shard_id
from curate.storage import Storage

__all__ = [
    "SlicePlan",
    "in_current_cut",
    "known_slices",
    "read_plan",
    "slice_digest",
    "write_cut",
    "write_plan",
    "write_slices",
]

AnyShard = TypeVar("AnyShard", bound=Shard)
PLAN = "source/plan.json"


@dataclass(frozen=True)
class SlicePlan:
    """`identity` of the input and `settings` of the cut, both JSON-like. `complete`: all slices are here."""

    identity: Any
    settings: Any
    slices: tuple[Slice, ...] = ()
    complete: bool = False


def read_plan(storage: Storage) -> SlicePlan | None:
    """The plan of this data set; None when nothing was cut yet. Raises StorageError when it is damaged."""
    try:
        record = json.loads(storage.read(PLAN))
        slices = tuple(Slice(shard, rows, digest) for shard, rows, digest in record["slices"])
        return SlicePlan(record["identity"], record["settings"], slices, record["complete"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{PLAN} in {storage.root} is damaged; delete it to cut the source anew") from error


def write_plan(storage: Storage, plan: SlicePlan) -> None:
    """Put the plan in place of the one before."""
    record = {
        "complete": plan.complete,
        "identity": plan.identity,
        "settings": plan.settings,
        "slices": [[s.shard, s.rows, s.digest] for s in plan.slices],
    }
    storage.write(PLAN, json.dumps(record, indent=None, sort_keys=True).encode())


def known_slices(storage: Storage) -> list[Slice] | None:
    """All slices of a data set that was cut to its end; None when it was not."""
    plan = read_plan(storage)
    return list(plan.slices) if plan is not None and plan.complete else None


def in_current_cut(storage: Storage, shards: Iterable[AnyShard]) -> list[AnyShard]:
    """Those of a data set's shards that its current cut has: one that was cut again may have files of shards that are
    no more. All of them where it was not cut to its end. Raises StorageError where the plan is damaged."""
    cut = known_slices(storage)
    current = None if cut is None else {piece.shard for piece in cut}
    return [shard for shard in shards if current is None or shard.id in current]


def write_slices(storage: Storage, tables: Iterable[pa.Table], known: Iterable[Slice] = ()) -> Iterator[Slice]:
    """Write one file per table, numbered from 0, and yield each. Files that `known` has with the same digest stay."""
    there = {s.shard: s.digest for s in known}
    for number, table in enumerate(tables):
        shard, data = shard_id(number), _parquet_bytes(table)
        digest = _digest(data)
        if there.get(shard) != digest:
            storage.write(f"source/{shard}.parquet", data)
        yield Slice(shard, table.num_rows, digest)


def write_cut(
    storage: Storage, plan: SlicePlan, tables: Iterable[pa.Table], known: Iterable[Slice] = ()
) -> Iterator[Slice]:
    """Write a whole cut and yield its slices as they come: the plan without slices first, with all of them at the end.

    `known` is as for `write_slices`.
    """
    write_plan(storage, replace(plan, slices=(), complete=False))
    slices = []
    for piece in write_slices(storage, tables, known):
        slices.append(piece)
        yield piece
    write_plan(storage, replace(plan, slices=tuple(slices), complete=True))


def slice_digest(table: pa.Table) -> str:
    """The digest that `write_slices` would give this table."""
    return _digest(_parquet_bytes(table))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _parquet_bytes(table: pa.Table) -> bytes:
    """The same bytes for the same rows: the notes that pandas and others leave in a schema are left out."""
    target = io.BytesIO()
    write_parquet(table.replace_schema_metadata(None), target)
    return target.getvalue()
