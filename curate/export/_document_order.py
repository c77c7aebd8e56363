"""Which documents leave, in which order: the part of an export that sees all shards at once.

The driver holds a key and some numbers per document, 50 bytes, and the hash of its URL, to tell which URLs leave twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.manifest import Manifest
from curate.shard import Shard
from curate.source.raw_page import OK
from curate.storage import Storage
from curate.tombstones import alive

__all__ = ["digest", "find_documents"]


def find_documents(shards: Sequence[Shard], seed: int | None) -> pa.Table:
    """A row per document that leaves: `shard`, `row` in it, `key`, `copy` (0, 1, ...), `url_repeats` (its page's URL
    leaves more than once)."""
    order = list(shards) if seed is None else sorted(shards, key=lambda s: _hash(f"{seed} {s.id}"))
    tables = [_kept_of(shard) for shard in order]
    if not tables:
        return pa.table({"shard": pa.array([], pa.string()), "key": pa.array([], pa.string())})
    table = pa.concat_tables(tables)
    _, place, times = np.unique(table["url"].to_numpy(), return_inverse=True, return_counts=True)
    return table.drop_columns("url").append_column("url_repeats", pa.array(times[place] > 1))


def _kept_of(shard: Shard) -> pa.Table:
    there = [n for n in ("key", "keep", "multiplicity", "document_status", "url") if n in shard.column_files]
    rows = shard.columns(there)
    copies = np.ones(len(rows), np.int64)
    if "multiplicity" in there:
        copies *= np.asarray(pc.fill_null(rows["multiplicity"].combine_chunks(), 0), np.int64)
    if "keep" in there:
        copies *= np.asarray(pc.fill_null(rows["keep"].combine_chunks(), False))
    elif "document_status" in there:
        copies *= np.asarray(pc.equal(rows["document_status"].combine_chunks(), OK))
    copies *= alive(shard, rows["key"].combine_chunks())
    chosen = np.repeat(np.arange(len(rows)), copies)
    copy = np.arange(len(chosen)) - np.repeat(np.cumsum(copies) - copies, copies)
    urls = rows["url"].to_pylist() if "url" in there else rows["key"].to_pylist()
    hashes = np.array([_hash(url or key) for url, key in zip(urls, rows["key"].to_pylist(), strict=True)], np.uint64)
    columns = {"shard": pa.array([shard.id] * len(chosen), pa.string()), "key": rows["key"].take(pa.array(chosen))}
    columns["row"] = pa.array(chosen, pa.int64())
    return pa.table({**columns, "copy": pa.array(copy, pa.int32()), "url": pa.array(hashes[chosen], pa.uint64())})


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def digest(source: Storage, chosen: pa.Table) -> str:
    """16 hex digits for the documents, their order, and all the work that made them what they are."""
    shards = {*pc.unique(chosen["shard"]).to_pylist()}
    made = [e.place for e in Manifest.read(source).entries if e.shard in shards or e.shard == "all"]
    found = hashlib.sha256(json.dumps(made).encode())
    for batch in chosen.to_batches(10_000):
        found.update(json.dumps(batch.to_pydict()).encode())
    return found.hexdigest()[:16]
