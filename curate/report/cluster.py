"""The rows of one cluster of copies, the one that is kept first: what `curate show --cluster` tells and shows.

One column of every shard is read, so a cluster of the whole data set is found wherever its rows lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ShardError
from curate.sample import Document, Part, Picture
from curate.shard import Shard, list_shards
from curate.storage import Storage
from curate.tombstones import HASH_LIST_MATCH, refuse_hidden

__all__ = ["SHOWN", "cluster_document", "cluster_rows", "refuse_hidden_copies"]

SHOWN = 100
"""Rows of a cluster that are told and shown; how many it has in all is said as well."""

SUFFIX, WITHIN = "_duplicate_of", "_duplicate_in"
TOLD = ("url", "caption", "width", "height", "original_width", "original_height", "sha256", "drop_reason")


class _Kept(NamedTuple):
    """The row that a cluster keeps: its key, and the earlier data set that it is in, None for this one."""

    key: str
    data_set: str | None


def cluster_rows(shard: Shard, key: str, name: str = "") -> dict[str, Any]:
    """The cluster that this row is in, by `name` ("bytes", "near_image"); without one, of the first kind that has
    copies. Of earlier data sets the row that is kept is told, as `data_set` says.

    Raises ShardError when there is no such key, and when no step has looked for copies of this kind.
    """
    kinds = [c.removesuffix(SUFFIX) for c in shard.column_files if c.endswith(SUFFIX)]
    if name and name not in kinds:
        raise ShardError(f"shard {shard.id} has no column {name}{SUFFIX}; {_there(kinds)}")
    if not kinds:
        raise ShardError(f"shard {shard.id} has no column that ends in {SUFFIX}; add a filter that looks for copies")
    answer: dict[str, Any] = {}
    for kind in [name] if name else kinds:
        kept = _kept_of(shard, key, kind)
        total, members = _members(shard, kind, kept)
        if not answer or total > 1:
            answer = {"cluster": kind, "kept": kept.key, "rows": total, "members": members}
        if total > 1:
            break
    return answer


def refuse_hidden_copies(shard: Shard, key: str) -> None:
    """Raise ShardError when a copy of this row, of any kind, is on a hash list. All shards are read, but only where
    there is a list."""
    if HASH_LIST_MATCH not in shard.column_files and not shard.storage.files("tombstones"):
        return
    for column in (c for c in shard.column_files if c.endswith(SUFFIX)):
        kind = column.removesuffix(SUFFIX)
        for other, rows in _of_cluster(shard, kind, _kept_of(shard, key, kind)):
            refuse_hidden(other, rows["key"].to_pylist())


def cluster_document(shard: Shard, cluster: dict[str, Any]) -> Document:
    """The pictures of a cluster as a page, each with what tells the rows apart; the first is the one that is kept."""
    parts: list[Part] = []
    for number, member in enumerate(cluster["members"]):
        own = Shard(Storage(member["data_set"]) if "data_set" in member else shard.storage, member["shard"])
        mark = member.get("drop_reason") or "a copy" if number else "kept"
        size = "x".join(str(member[n]) for n in ("original_width", "original_height") if member.get(n))
        words = [mark, member.get("data_set", ""), member["key"], size, str(member.get("caption") or "")]
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


def _kept_of(shard: Shard, key: str, kind: str) -> _Kept:
    """The row that is kept of the cluster that this row is in."""
    names = [f"{kind}{SUFFIX}", *({f"{kind}{WITHIN}"} & shard.column_files.keys())]
    found = shard.columns(["key", *names])
    rows = found.filter(pc.equal(found["key"], key)).to_pylist()
    if not rows:
        raise ShardError(f"shard {shard.id} has no key {key!r}")
    of = rows[0][f"{kind}{SUFFIX}"]
    return _Kept(of, rows[0].get(f"{kind}{WITHIN}")) if of else _Kept(key, None)


def _members(shard: Shard, kind: str, kept: _Kept) -> tuple[int, list[dict[str, Any]]]:
    """How many rows a cluster has, of earlier data sets the kept one alone; and the first of them."""
    total = 0
    first: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for other, rows in _of_cluster(shard, kind, kept):
        total += len(rows)
        refuse_hidden(other, rows["key"].to_pylist())
        is_first = (other.storage.root == Storage(kept.data_set).root) if kept.data_set else None
        place = {"data_set": kept.data_set} if is_first else {}
        told = [{**place, "shard": other.id, **row} for row in rows.slice(0, SHOWN + 1).to_pylist()]
        best = [row for row in told if is_first or (is_first is None and row["key"] == kept.key)]
        first += best
        others = sorted([*others, *(row for row in told if row not in best)], key=lambda row: row["key"])[:SHOWN]
    if not first:
        where = kept.data_set or shard.storage.root
        raise ShardError(f"{kept.key}, the row that is kept, is not in {where}; its cluster cannot be told without it")
    return total, [{n: v for n, v in row.items() if v is not None} for row in [*first, *others][:SHOWN]]


def _of_cluster(shard: Shard, kind: str, kept: _Kept) -> Iterator[tuple[Shard, pa.Table]]:
    """The shards that have rows of a cluster, and these: of an earlier data set the row that is kept, then our own."""
    if kept.data_set is not None:
        for other in list_shards(Storage(kept.data_set)):
            own = other.columns(["key", *({f"{kind}{SUFFIX}"} & other.column_files.keys())])
            is_copy = pc.fill_null(pc.equal(own[own.num_columns - 1], kept.key), False)
            refuse_hidden(other, own["key"].filter(is_copy).to_pylist())
            yield from _told(other, pc.equal(own["key"], kept.key))
    for other in list_shards(shard.storage):
        if f"{kind}{SUFFIX}" not in other.column_files:
            continue
        own = other.columns(["key", f"{kind}{SUFFIX}"])
        inside = pc.equal(own[f"{kind}{SUFFIX}"], kept.key)
        if f"{kind}{WITHIN}" in other.column_files:
            within = other.columns([f"{kind}{WITHIN}"])[0]
            inside = pc.and_(inside, pc.equal(pc.fill_null(within, ""), kept.data_set or ""))
        inside = pc.fill_null(inside, False)
        yield from _told(other, inside if kept.data_set else pc.or_(inside, pc.equal(own["key"], kept.key)))


def _told(shard: Shard, inside: pa.ChunkedArray) -> Iterator[tuple[Shard, pa.Table]]:
    if pc.any(inside).as_py():
        yield shard, shard.columns(["key", *(n for n in TOLD if n in shard.column_files)]).filter(inside)


def _there(kinds: list[str]) -> str:
    return f"it knows copies by {', '.join(kinds)}" if kinds else "no filter has looked for copies"
