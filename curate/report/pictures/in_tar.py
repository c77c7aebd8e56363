"""Pictures by key out of a shard's tar, a few of thousands: only their ranges are read, and only of those asked for.

The offset index says where they lie. It is a file like any other and may be damaged, so what it says is bounded, and a
picture that cannot be had is none: there is nothing here to raise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from curate.report.pictures.drawing import UNREADABLE
from curate.report.pictures.thumbnails import MOST_BYTES
from curate.shard import IMAGE_EXTENSIONS, Shard

__all__ = ["Read", "Wanted", "pictures_in_tar"]


class Wanted(NamedTuple):
    """A picture: the key that it lies under, and its member (`3.jpg`); without one, the first picture of a sample."""

    key: str
    member: str = ""


class Read(NamedTuple):
    """A picture's encoded bytes, and how many pictures lie under its key."""

    data: bytes
    of: int


def pictures_in_tar(shard: Shard, wanted: Collection[Wanted]) -> Iterator[tuple[Wanted, Read]]:
    """Those of the wanted pictures that can be read, in the order of the tar."""
    try:
        places = _places(shard, wanted) if wanted else {}
        if not places:
            return
        with shard.storage.open(shard.tar) as tar:
            for one, (offset, size, of) in sorted(places.items(), key=lambda own: own[1]):
                tar.seek(offset)
                yield one, Read(tar.read(size), of)
    except UNREADABLE:
        return


def _places(shard: Shard, wanted: Collection[Wanted]) -> dict[Wanted, tuple[int, int, int]]:
    """Where each lies, its bytes, and how many pictures lie under its key."""
    index = shard.table("index", ["key", "extension", "offset", "size"])
    keys = pa.array({one.key.encode("utf-8", "replace") for one in wanted}, pa.large_binary())
    rows = index.filter(pc.is_in(index["key"].cast(pa.large_binary()), value_set=keys)).to_pylist()
    members: dict[str, dict[str, tuple[int, int]]] = {}
    for row in rows:
        if row["offset"] >= 0 and 0 < row["size"] <= MOST_BYTES:
            members.setdefault(row["key"], {})[row["extension"]] = (row["offset"], row["size"])
    found = {}
    for one in wanted:
        own = members.get(one.key, {})
        pictures = dict.fromkeys([*(name for name in IMAGE_EXTENSIONS if name in own), *_numbered(own)])
        name = one.member or next(iter(pictures), "")
        if name in own:
            found[one] = (*own[name], len(pictures))
    return found


def _numbered(members: Collection[str]) -> list[str]:
    """Members such as `0.jpg`, of a sample with several pictures, the first one first."""
    return sorted((name for name in members if name.rpartition(".")[2] in IMAGE_EXTENSIONS), key=lambda n: (len(n), n))
