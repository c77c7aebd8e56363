"""Copies of what is hidden: a hash list has one file, and the data has it encoded anew, scaled and cropped.

Whatever looked for copies wrote which row is kept of each cluster. A cluster with a row on a hash list is hidden as a
whole, and so are our copies of a row of an earlier data set that is on one there. Only where there is a list are the
columns of copies read; then they are those of all shards of the folder, for a cluster may lie anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.listing import listed_shards
from curate.report.cluster import SUFFIX, WITHIN
from curate.report.pictures.drawing import UNREADABLE
from curate.shard import Shard
from curate.storage import Storage
from curate.tombstones import HASH_LIST_MATCH, hidden_keys

__all__ = ["HiddenCopies", "hidden_copies"]

Clusters = Mapping[str, Mapping[str, frozenset[str]]]
"""By kind of copies, by the folder of the kept row ("" for this data set): keys of kept rows."""


@dataclass(frozen=True)
class HiddenCopies:
    """Clusters that nobody is shown."""

    clusters: Clusters = field(default_factory=dict)

    def rows(self, shard: Shard) -> Sequence[int]:
        """The rows of a shard that are in one of them."""
        found = np.zeros(shard.rows() if self.clusters else 0, bool)
        for kind, places in self.clusters.items():
            if f"{kind}{SUFFIX}" in shard.column_files:
                kept, within = _kept(shard, kind)
                for place, keys in places.items():
                    listed = pc.is_in(kept, value_set=pa.array(sorted(keys), pa.string()))
                    found |= np.asarray(pc.and_(listed, pc.equal(within, place)), bool)
        rows: list[int] = np.flatnonzero(found).tolist()
        return rows


def hidden_copies(shards: Sequence[Shard]) -> HiddenCopies:
    """The clusters that have a row on a hash list, in the data set of these shards or in an earlier one they name."""
    found: dict[str, dict[str, set[str]]] = {}
    earlier: set[str] = set()
    is_listed = _is_listed(shards)
    for shard in _all(shards) if is_listed else shards:
        try:
            if is_listed:
                _add(found, shard, "")
            earlier.update(place for kind in _kinds(shard) for place in _places(shard, kind))
        except UNREADABLE:  # then `withheld_keys` of it withholds all that it has
            continue
    for place in sorted(earlier):
        for shard in _shards(place, shards[0].storage):
            try:
                _add(found, shard, place)
            except UNREADABLE:
                continue
    return HiddenCopies({k: {p: frozenset(keys) for p, keys in own.items()} for k, own in found.items()})


def _is_listed(shards: Sequence[Shard]) -> bool:
    """Whether a hash list was used on this data set; a run uses it on all shards."""
    if shards and shards[0].storage.files("tombstones"):
        return True
    return any(HASH_LIST_MATCH in _columns(shard) for shard in shards)


def _all(shards: Sequence[Shard]) -> Sequence[Shard]:
    """The shards of the folder; those that are given know their columns already."""
    own = {shard.id: shard for shard in shards}
    return [own.get(shard.id, shard) for shard in listed_shards(shards[0].storage)]


def _columns(shard: Shard) -> Mapping[str, str]:
    try:
        return shard.column_files
    except UNREADABLE:
        return {}


def _add(found: dict[str, dict[str, set[str]]], shard: Shard, place: str) -> None:
    hidden = hidden_keys(shard)
    for kind in _kinds(shard) if hidden else ():
        kept, within = _kept(shard, kind)
        listed = pc.is_in(shard.columns(["key"])[0].cast(pa.string()), value_set=pa.array(sorted(hidden), pa.string()))
        for key, inside in zip(kept.filter(listed).to_pylist(), within.filter(listed).to_pylist(), strict=True):
            found.setdefault(kind, {}).setdefault(inside or place, set()).add(key)


def _kept(shard: Shard, kind: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Of each row the key of the row that its cluster keeps, and the earlier data set that this one is in or ""."""
    names = [f"{kind}{SUFFIX}", *({f"{kind}{WITHIN}"} & shard.column_files.keys())]
    columns = shard.columns(["key", *names])
    kept = pc.coalesce(columns[names[0]].cast(pa.string()), columns["key"].cast(pa.string()))
    if len(names) == 1:
        return kept, pa.chunked_array([pa.repeat("", len(columns))])
    return kept, pc.fill_null(columns[names[1]].cast(pa.string()), "")


def _kinds(shard: Shard) -> Iterator[str]:
    return (name.removesuffix(SUFFIX) for name in shard.column_files if name.endswith(SUFFIX))


def _places(shard: Shard, kind: str) -> list[str]:
    if f"{kind}{WITHIN}" not in shard.column_files:
        return []
    places: list[str] = pc.unique(shard.columns([f"{kind}{WITHIN}"])[0].cast(pa.string()).drop_null()).to_pylist()
    return places


def _shards(place: str, own: Storage) -> Sequence[Shard]:
    """The shards of an earlier data set, on a disk or where our own are: a column may name any place of the web."""
    scheme = place.partition("://")[0] + "://"
    if scheme in place and not own.root.startswith(scheme):
        return ()
    try:
        return listed_shards(Storage(place))
    except UNREADABLE:
        return ()
