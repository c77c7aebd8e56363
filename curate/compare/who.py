"""Who a row is: a sample by URL, caption and the SHA-256 of its picture, a page by its URL, a part by its page and what
it says or shows.

The digests of samples are those of `curate.dedup.identity`; the one without the picture comes along for nothing. A
million rows take 1.5 s, nearly all of it for captions.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.digest import Digests, digest_strings, join_digests
from curate.errors import ShardError
from curate.shard import Shard

__all__ = ["DOCUMENTS", "PARTS", "SAMPLES", "Who", "who"]

SAMPLES, DOCUMENTS, PARTS = "samples", "documents", "parts"
"""What can be decided on."""

Who: TypeAlias = tuple[Digests, Digests]
"""Digests of rows, uint64 (rows, 2): of all that tells who a row is, and of URL and caption alone. They are the same
for rows without a URL, for documents and for parts."""


def who(shard: Shard, unit: str) -> Who:
    """The digests of all rows of a shard, or of its parts; a column that is not there counts as empty. Raises
    ShardError where one is damaged, or holds no text."""
    try:
        return _samples(shard) if unit == SAMPLES else _documents(shard) if unit == DOCUMENTS else _parts(shard)
    except pa.ArrowException as error:
        raise ShardError(
            f"who the {unit} of shard {shard.id} in {shard.storage.root} are cannot be read: {error}"
        ) from (error)


def _samples(shard: Shard) -> Who:
    url, caption, sha256 = _texts(shard, ("url", "caption", "sha256"))
    wider = join_digests(digest_strings(url), digest_strings(caption))
    identity = join_digests(wider, digest_strings(sha256))
    return identity, np.where(np.asarray(pc.equal(url, ""), bool)[:, None], identity, wider)


def _documents(shard: Shard) -> Who:
    own = digest_strings(_texts(shard, ("url",))[0])
    return own, own


def _parts(shard: Shard) -> Who:
    text, url, kind = _texts(shard.parts, ("text", "url", "kind"))
    says = digest_strings(pc.if_else(pc.equal(kind, "image"), url, text))
    page = shard.parts.table("", ["document"])["document"]
    rows, _ = _documents(shard)
    of = np.asarray(pc.fill_null(page, -1)).astype(np.int64)
    if len(of) and (of.min() < 0 or of.max() >= len(rows)):
        raise ShardError(f"parts of shard {shard.id} in {shard.storage.root} belong to no row of it; run it again")
    own = join_digests(rows[of], join_digests(digest_strings(kind), says))
    return own, own


def _texts(table: Shard, names: tuple[str, ...]) -> list[pa.ChunkedArray]:
    """Columns of text without nulls; empty texts for a column that is not there."""
    found = _columns(table, names)
    nothing = pa.chunked_array([pa.nulls(len(found) if len(found.column_names) else table.rows(), pa.large_string())])
    columns = [found[name] if name in found.column_names else nothing for name in names]
    return [pc.fill_null(column.cast(pa.large_string()), "") for column in columns]


def _columns(table: Shard, names: tuple[str, ...]) -> pa.Table:
    """Those of the columns that are there. Where another column file is damaged, the sample table's."""
    try:
        return table.columns([name for name in names if name in table.column_files])
    except ShardError:
        return table.table("", [name for name in names if name in table.schema().names])
