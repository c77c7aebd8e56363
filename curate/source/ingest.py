"""Cuts a source into slices, once: the place where row numbers become shards and keys.

Each input file is cut on its own and so has a short last shard, as img2dataset does it; keys agree with its keys.
Slices are yielded as they are written, so the first shard is fetched while the rest of a long list is still being
read. At most one slice is in memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from curate.errors import ConfigError
from curate.shard import Slice
from curate.slices import SlicePlan, read_plan, slice_digest, write_cut
from curate.source.source import Source
from curate.storage import Storage

__all__ = ["ingest", "known_cut"]


def ingest(source: Source, storage: Storage, samples_per_shard: int, limit: int | None = None) -> Iterator[Slice]:
    """Yield the slices of `source`, writing those that are not in `storage` yet.

    A complete plan of the same input is yielded as it is, and the input is not opened. A larger `limit` continues
    the plan: what was cut keeps its place, and only a last slice that the limit had cut short grows. A file that was
    written anew with the same rows is read again and found to be the same. Raises ConfigError when the folder was
    made from other rows or cut in another way; SourceError for the input.
    """
    identity, settings = _identity(source), _settings(samples_per_shard, limit)
    plan = read_plan(storage)
    if plan is not None:
        _require_same(plan, identity, settings, storage)
        if plan.complete and plan.settings == settings and plan.identity == identity:
            yield from plan.slices
            return
    if plan is not None and plan.identity != identity:
        _require_same_rows(plan, _cut(source, samples_per_shard, limit), identity, storage)
    tables = _cut(source, samples_per_shard, limit)
    yield from write_cut(storage, SlicePlan(identity, settings), tables, plan.slices if plan else ())


def known_cut(source: Source, storage: Storage, samples_per_shard: int, limit: int | None = None) -> list[Slice] | None:
    """The slices that `ingest` would yield, as far as that is known without reading rows; None where it is not.

    Raises what `ingest` would raise: ConfigError when the folder was made from another source or cut in another way.
    """
    plan, settings = read_plan(storage), _settings(samples_per_shard, limit)
    if plan is None:
        return None
    _require_same(plan, _identity(source), settings, storage)
    return list(plan.slices) if plan.complete and plan.settings == settings else None


def _identity(source: Source) -> Any:
    return json.loads(json.dumps(source.identity()))


def _settings(samples_per_shard: int, limit: int | None) -> dict[str, Any]:
    return {"samples_per_shard": samples_per_shard, "limit": limit}


def _cut(source: Source, samples_per_shard: int, limit: int | None) -> Iterator[pa.Table]:
    left = limit
    for part in source.parts():
        for table in _tables(part, samples_per_shard):
            kept = table if left is None else table.slice(0, left)
            if kept.num_rows:
                yield kept
            if left is not None:
                left -= kept.num_rows
                if left == 0:
                    return


def _tables(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Batches of any size as tables of `rows` rows; the last one may be shorter."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + batch.num_rows >= rows:
            held.append(batch.slice(0, rows - count))
            batch = batch.slice(rows - count)
            yield pa.Table.from_batches(held)
            held, count = [], 0
        if batch.num_rows:
            held.append(batch)
            count += batch.num_rows
    if held:
        yield pa.Table.from_batches(held)


def _require_same(plan: SlicePlan, identity: Any, settings: dict[str, Any], storage: Storage) -> None:
    """Raise ConfigError unless the plan is of this input, cut in this way, with the same limit or a smaller one."""
    remedy = _remedy(storage)
    touched = plan.complete and plan.settings == settings and _unmarked(plan.identity) == _unmarked(identity)
    if plan.identity != identity and not touched:
        raise _other_source(plan, identity, storage)
    old, new = (s["samples_per_shard"] for s in (plan.settings, settings))
    if old != new:
        raise ConfigError(
            f"{storage.root} was cut into shards of {old} samples, and samples_per_shard is {new}; {remedy}"
        )
    old, new = (math.inf if s["limit"] is None else s["limit"] for s in (plan.settings, settings))
    if new < old:
        raise ConfigError(
            f"{storage.root} was made with a larger limit ({plan.settings['limit']}) than {new}; {remedy}"
        )


def _require_same_rows(plan: SlicePlan, tables: Iterator[pa.Table], identity: Any, storage: Storage) -> None:
    """Raise ConfigError unless the input, cut anew and compared, gives the very slices of the plan."""
    found = (slice_digest(table) for table in tables)
    if any(digest != known for digest, known in zip_longest(found, (s.digest for s in plan.slices))):
        raise _other_source(plan, identity, storage)


def _unmarked(identity: Any) -> Any:
    """An identity without its files' modification marks: what stays when a file is written anew with the same rows."""
    if not isinstance(identity, dict) or not isinstance(identity.get("files"), list):
        return identity
    return identity | {"files": [file[:2] if isinstance(file, list) else file for file in identity["files"]]}


def _other_source(plan: SlicePlan, identity: Any, storage: Storage) -> ConfigError:
    difference = _difference(plan.identity, identity)
    return ConfigError(f"{storage.root} was made from another source ({difference}); {_remedy(storage)}")


def _remedy(storage: Storage) -> str:
    return f"choose another --out, or delete {storage.root} to start anew"


def _difference(old: Any, new: Any) -> str:
    """The first place where two identities differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                inner = _difference(old.get(key), new.get(key))
                return f"{key}: {inner}"
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return f"{len(old)} entries, now {len(new)}"
        return next(_difference(a, b) for a, b in zip(old, new, strict=True) if a != b)
    return f"{old!r}, now {new!r}"
