"""Rows that are dead after the fact: taken back by their owners, or on a hash list, in data that is there already.

    tombstones/00000.parquet   key, kind: which samples of shard 00000 must not leave any more, and what listed them

A tombstone says who and by which kind of entry (`url`, `host`, `sha256`, ...), never what the entry is. Exports pass
over dead rows; `curate.decontamination.removal` writes the files, and takes rows out of tars. What a list of hashes
matched is shown to nobody: `refuse_hidden` is asked by everything that shows a row or its picture.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import ShardError
from curate.manifest import write_parquet
from curate.shard import Shard

__all__ = ["HASH_LIST_MATCH", "alive", "dead_rows", "hidden_keys", "refuse_hidden", "write_dead"]

HASH_LIST_MATCH = "hash_list_match"
"""The column that says by which kind of hash a row is on a list; null for the others."""
HIDDEN_KINDS = ("md5", "sha1", "sha256", "pixel_hash", "pdq")
SCHEMA = pa.schema({"key": pa.string(), "kind": pa.string()})


def dead_rows(shard: Shard) -> dict[str, str]:
    """The keys of this shard that are dead, and what listed them. Raises ShardError for a file that is broken."""
    name = _name(shard)
    try:
        table = pq.read_table(io.BytesIO(shard.storage.read(name)), schema=SCHEMA)
    except FileNotFoundError:
        return {}
    except pa.ArrowException as error:
        raise ShardError(f"{name} in {shard.storage.root} is damaged: {error}; apply the tombstones again") from error
    return dict(zip(table["key"].to_pylist(), table["kind"].to_pylist(), strict=True))


def write_dead(shard: Shard, more: Mapping[str, str]) -> None:
    """Put keys among the dead of a shard, in one step; a key that is there keeps its kind, unless that is not hidden
    and the new one is."""
    dead = dead_rows(shard)
    hidden = {key: kind for key, kind in more.items() if kind in HIDDEN_KINDS and dead.get(key) not in HIDDEN_KINDS}
    rows = sorted({**more, **dead, **hidden}.items())
    keys, kinds = ([row[place] for row in rows] for place in (0, 1))
    target = io.BytesIO()
    write_parquet(pa.table([keys, kinds], schema=SCHEMA), target)
    shard.storage.write(_name(shard), target.getvalue())


def alive(shard: Shard, keys: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which of these keys are not dead, bool (n,)."""
    dead = pa.array(list(dead_rows(shard)), pa.string())
    return ~np.asarray(pc.is_in(keys, value_set=dead), bool)


def hidden_keys(shard: Shard) -> frozenset[str]:
    """The keys that a hash list matched, in a run or by tombstones: neither their rows nor their pictures are shown."""
    found = {key for key, kind in dead_rows(shard).items() if kind in HIDDEN_KINDS}
    if HASH_LIST_MATCH in shard.column_files:
        rows = shard.columns(["key", HASH_LIST_MATCH])
        found.update(rows.filter(pc.is_valid(rows[HASH_LIST_MATCH]))["key"].to_pylist())
    return frozenset(found)


def refuse_hidden(shard: Shard, keys: Collection[str]) -> None:
    """Raise ShardError when one of these rows must not be shown."""
    hidden = hidden_keys(shard).intersection(keys)
    if hidden:
        raise ShardError(
            f"sample {min(hidden)} of shard {shard.id} is on a hash list; neither its row nor its picture is shown"
        )


def _name(shard: Shard) -> str:
    return f"tombstones/{shard.id}.parquet"
