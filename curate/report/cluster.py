"""The rows of one cluster of copies, the one that is kept first: what `curate show --cluster` tells and shows.

One column of every shard is read, so a cluster of the whole data set is found wherever its rows lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ShardError
from curate.sample import Document, Part, Picture
from curate.shard import Shard, list_shards
from curate.tombstones import refuse_hidden

__all__ = ["SHOWN", "cluster_document", "cluster_rows"]

SHOWN = 100
"""Rows of a cluster that are told and shown; how many it has in all is said as well."""

SUFFIX = "_duplicate_of"
TOLD = ("url", "caption", "width", "height", "original_width", "original_height", "sha256", "drop_reason")


def cluster_rows(shard: Shard, key: str, name: str = "") -> dict[str, Any]:
    """The cluster that this row is in, by `name` ("bytes", "text"); without one, of the first kind that has copies.

    Raises ShardError when there is no such key, and when no step has looked for copies of this kind.
    """
    kinds = [c.removesuffix(SUFFIX) for c in shard.column_files if c.endswith(SUFFIX)]
    if name and name not in kinds:
        raise ShardError(f"shard {shard.id} has no column {name}{SUFFIX}; {_there(kinds)}")
    if not kinds:
        raise ShardError(f"shard {shard.id} has no column that ends in {SUFFIX}; add a filter that looks for copies")
    found = shard.columns(["key", *(f"{kind}{SUFFIX}" for kind in kinds)])
    rows = found.filter(pc.equal(found["key"], key)).to_pylist()
    if not rows:
        raise ShardError(f"shard {shard.id} has no key {key!r}")
    for kind in [name] if name else kinds:
        kept = rows[0][f"{kind}{SUFFIX}"] or key
        total, members = _members(shard, f"{kind}{SUFFIX}", kept)
        if name or total > 1:
            return {"cluster": kind, "kept": kept, "rows": total, "members": members}
    return {"cluster": kinds[0], "kept": key, "rows": 1, "members": _members(shard, f"{kinds[0]}{SUFFIX}", key)[1]}


def cluster_document(shard: Shard, cluster: dict[str, Any]) -> Document:
    """The pictures of a cluster as a page, each with what tells the rows apart."""
    parts: list[Part] = []
    for member in cluster["members"]:
        own = Shard(shard.storage, member["shard"])
        mark = "kept" if member["key"] == cluster["kept"] else member.get("drop_reason") or "a copy"
        size = "x".join(str(member[n]) for n in ("original_width", "original_height") if member.get(n))
        words = [mark, member["key"], size, str(member.get("caption") or "")]
        columns: dict[str, object] = {
            "caption": " · ".join(filter(None, words)),
            "alt": str(member.get("caption") or ""),
        }
        parts.append(_picture(own, member, columns))
    title = f"{cluster['rows']:,} copies by {cluster['cluster']}, of which {cluster['kept']} is kept"
    return Document(cluster["kept"], tuple(parts), {"title": title})


def _picture(shard: Shard, member: dict[str, Any], columns: dict[str, object]) -> Picture:
    url = str(member.get("url") or "")
    try:
        sample = shard.sample(member["key"])
    except ShardError:
        return Picture(url, None, "", "no picture", columns)
    return Picture(url, sample.image, sample.extension, "success", columns)


def _members(shard: Shard, column: str, kept: str) -> tuple[int, list[dict[str, Any]]]:
    """How many rows a cluster has here, and the first of them."""
    total, members = 0, []
    for other, rows in _of_cluster(shard, column, kept):
        total += len(rows)
        refuse_hidden(other, rows["key"].to_pylist())
        own = sorted(rows.to_pylist(), key=lambda row: row["key"] != kept)[:SHOWN]
        members += [{"shard": other.id, **row} for row in own]
        members = sorted(members, key=lambda row: (row["key"] != kept, row["key"]))[:SHOWN]
    return total, [{n: v for n, v in row.items() if v is not None} for row in members]


def _of_cluster(shard: Shard, column: str, kept: str) -> Iterator[tuple[Shard, pa.Table]]:
    for other in list_shards(shard.storage):
        if column not in other.column_files:
            continue
        own = other.columns(["key", column])
        inside = pc.or_(pc.equal(own["key"], kept), pc.fill_null(pc.equal(own[column], kept), False))
        if pc.any(inside).as_py():
            names = ["key", *(n for n in TOLD if n in other.column_files)]
            yield other, other.columns(names).filter(inside)


def _there(kinds: list[str]) -> str:
    return f"it knows copies by {', '.join(kinds)}" if kinds else "no filter has looked for copies"
