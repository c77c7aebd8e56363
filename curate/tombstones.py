"""Rows that are dead after the fact: taken back by their owners, or on a hash list, in data that is there already.

    tombstones/00000.parquet   key, kind: which samples of shard 00000 must not leave any more, and what listed them
    tombstones/00000.removed.parquet   key, kind, list: which ones were taken out of its tar, and the list's digest

A tombstone says who and by which kind of entry (`url`, `host`, `sha256`, ...), never what the entry is. Exports pass
over dead rows; `curate.decontamination.removal` writes the files, and takes rows out of tars. What a list of hashes
matched is shown to nobody: `refuse_hidden` is asked by everything that shows a row or its picture.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import ShardError
from curate.manifest import write_parquet
from curate.shard import Shard

__all__ = [
    "HASH_LIST_MATCH",
    "alive",
    "dead_rows",
    "hidden_keys",
    "refuse_hidden",
    "removed_rows",
    "unshown_keys",
    "write_dead",
    "write_removed",
]

HASH_LIST_MATCH = "hash_list_match"
"""The column that says by which kind of hash a row is on a list; null for the others."""
HIDDEN_KINDS = ("md5", "sha1", "sha256", "pixel_hash", "pdq")
SCHEMA = pa.schema({"key": pa.string(), "kind": pa.string()})
REMOVED = pa.schema({**dict(zip(SCHEMA.names, SCHEMA.types, strict=True)), "list": pa.string()})


def dead_rows(shard: Shard) -> dict[str, str]:
    """The keys of this shard that are dead, and what listed them. Raises ShardError for a file that is broken."""
    table = _read(shard, _name(shard), SCHEMA)
    return dict(zip(table["key"].to_pylist(), table["kind"].to_pylist(), strict=True))


def removed_rows(shard: Shard, digest: str) -> dict[str, str]:
    """The keys that lists of this digest had taken out of the shard's tar, or were about to when the call was killed.
    Raises ShardError for a file that is broken."""
    rows = _read(shard, _name(shard, ".removed"), REMOVED).to_pylist()
    return {row["key"]: row["kind"] for row in rows if row["list"] == digest}


def write_removed(shard: Shard, more: Mapping[str, str], digest: str) -> None:
    """Put keys among those that lists of this digest take out."""
    rows = _read(shard, _name(shard, ".removed"), REMOVED).to_pylist()
    every = {(row["key"], row["list"]): row["kind"] for row in rows} | {(key, digest): more[key] for key in more}
    kept = sorted((key, kind, mark) for (key, mark), kind in every.items())
    _write(shard, _name(shard, ".removed"), kept, REMOVED)


def write_dead(shard: Shard, more: Mapping[str, str]) -> None:
    """Put keys among the dead of a shard, in one step; a key that is there keeps its kind, unless that is not hidden
    and the new one is."""
    dead = dead_rows(shard)
    hidden = {key: kind for key, kind in more.items() if kind in HIDDEN_KINDS and dead.get(key) not in HIDDEN_KINDS}
    rows = sorted({**more, **dead, **hidden}.items())
    _write(shard, _name(shard), rows, SCHEMA)


def alive(shard: Shard, keys: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which of these keys are not dead, bool (n,)."""
    dead = pa.array(list(dead_rows(shard)), pa.string())
    return ~np.asarray(pc.is_in(keys.cast(pa.string()), value_set=dead), bool)


def hidden_keys(shard: Shard) -> frozenset[str]:
    """The keys that a hash list matched, in a run or by tombstones: neither their rows nor their pictures are shown."""
    return frozenset({key for key, kind in dead_rows(shard).items() if kind in HIDDEN_KINDS} | _matched(shard))


def unshown_keys(shard: Shard) -> frozenset[str]:
    """The keys of rows that are shown to nobody: dead ones, and those that a hash list matched. Raises ShardError for a
    file that is broken."""
    return frozenset(dead_rows(shard).keys() | _matched(shard))


def _matched(shard: Shard) -> set[str]:
    """The keys that a hash list matched in a run."""
    if HASH_LIST_MATCH not in shard.column_files:
        return set()
    rows = shard.columns(["key", HASH_LIST_MATCH])
    return set(rows.filter(pc.is_valid(rows[HASH_LIST_MATCH]))["key"].to_pylist())


def refuse_hidden(shard: Shard, keys: Collection[str]) -> None:
    """Raise ShardError when one of these rows must not be shown."""
    hidden = hidden_keys(shard).intersection(keys)
    if hidden:
        raise ShardError(
            f"sample {min(hidden)} of shard {shard.id} is on a hash list; neither its row nor its picture is shown"
        )


def _name(shard: Shard, more: str = "") -> str:
    return f"tombstones/{shard.id}{more}.parquet"


def _read(shard: Shard, name: str, schema: pa.Schema) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(shard.storage.read(name)), schema=schema)
    except FileNotFoundError:
        return schema.empty_table()
    except pa.ArrowException as error:
        raise ShardError(f"{name} in {shard.storage.root} is damaged: {error}; apply the tombstones again") from error


def _write(shard: Shard, name: str, rows: Sequence[tuple[str, ...]], schema: pa.Schema) -> None:
    columns = [[row[place] for row in rows] for place in range(len(schema))]
    target = io.BytesIO()
    write_parquet(pa.table(columns, schema=schema), target)
    shard.storage.write(name, target.getvalue())
