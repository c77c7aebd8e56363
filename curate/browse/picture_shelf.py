"""Pictures of a data set by shard and key: found in its tars, made small, or withheld with a word why.

What is sent is never what is stored: a picture is decoded within the bounds of `thumbnail` and written anew, so that no
byte of a stranger reaches the browser's own decoders. Pictures of hidden rows and of rows that were flagged as unsafe
are not read at all. A shard's places (some 30,000 rows) and flags are read once a minute, 10 ms a shard, so a picture
costs one read of a tar, and a tombstone that is set meanwhile holds within the minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import BoundedSemaphore
from time import monotonic

import pyarrow as pa
import pyarrow.compute as pc

from curate.browse.recent import Recent
from curate.document.read import IMAGE_MEMBER
from curate.errors import ShardError
from curate.listing import listed_shards
from curate.report.pictures.thumbnails import MOST_BYTES, thumbnail
from curate.report.pictures.withholding import Watch, watch, withheld_keys
from curate.shard import IMAGE_EXTENSIONS, Shard
from curate.storage import Storage

__all__ = ["NotShown", "PictureShelf"]

SHARDS, FLAGGED = 32, 1_024
"""Shards whose places are kept, 1 MB each, and those whose flagged keys are."""
INDEX = ("key", "extension", "offset", "size")
AT_ONCE = 2
"""Pictures that are decoded at a time; each may take 200 MB."""


class NotShown(Exception):
    """A picture or row that is not shown; its text says why. `status` is HTTP's: 403 withheld, 404 not there."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Place:
    """Where a picture lies in its shard's tar."""

    offset: int
    size: int


class PictureShelf:
    """The pictures of samples, and those of parts of documents, whose keys are `DOCUMENT.NUMBER`. `clock`: seconds, by
    which what was read is old."""

    def __init__(self, storage: Storage, clock: Callable[[], float] = monotonic) -> None:
        self.storage = storage
        self._flagged = Recent(FLAGGED, self._read_flagged, clock)
        self._has_parts = Recent(FLAGGED, lambda id: _has_parts(Shard(storage, id)), clock)
        self._index = Recent(SHARDS, lambda id: Shard(storage, id).table("index", INDEX), clock)
        self._parts = Recent(SHARDS, lambda id: _parts(Shard(storage, id)), clock)
        self._seen: tuple[Mapping[str, int], Watch] | None = None
        self._decoding = BoundedSemaphore(AT_ONCE)

    def why_not(self, shard: str, key: str) -> str:
        """What keeps the picture of a row from being shown: what flagged it; empty where nothing does."""
        return self._flagged.get(shard).get(key, "")

    def has(self, shard: str, key: str) -> bool:
        """Whether the tar has a picture of this row."""
        try:
            return self._place(shard, key) is not None
        except ShardError:
            return False

    def first_of(self, shard: str, document: str) -> str:
        """The key of the first part of a document whose picture is there and may be shown; empty for none."""
        try:
            parts = self._parts.get(shard)
        except ShardError:
            return ""
        keys = parts["key"].filter(pc.equal(parts["of"], document)).to_pylist()
        return next((key for key in keys if not self.why_not(shard, key)), "")

    def read(self, shard: str, key: str, side_px: int) -> bytes:
        """The picture as a WebP, its longer side at most `side_px`; no bytes where what is stored cannot be opened.
        Raises NotShown."""
        flagged = self.why_not(shard, key)
        if flagged:
            raise NotShown(403, f"The picture of {key} is withheld: {flagged}.")
        place = self._place(shard, key)
        if place is None:
            raise NotShown(404, f"There is no picture of {key} in shard {shard}.")
        if place.size > MOST_BYTES:
            return b""
        tar = Shard(self.storage, shard).tar
        with self._decoding:
            try:
                return thumbnail(self.storage.read_range(tar, place.offset, place.size), side_px)
            except FileNotFoundError:
                raise NotShown(404, f"The picture of {key} is not there: {tar} is gone.") from None

    def _place(self, shard: str, key: str) -> Place | None:
        """Of a part its own picture, of a sample its first; of a document none, for its parts are flagged singly."""
        document, dot, _ = key.rpartition(".")
        if not dot and self._has_parts.get(shard):
            return None
        rows = self._index.get(shard)
        rows = rows.filter(pc.equal(rows["key"], document if dot else key)).to_pylist()
        if dot:
            parts = self._parts.get(shard)
            members = parts[IMAGE_MEMBER].filter(pc.equal(parts["key"], key)).to_pylist()
            rows = [row for row in rows if row["extension"] in members]
        rows = [row for row in rows if row["extension"].rpartition(".")[2] in IMAGE_EXTENSIONS]
        return Place(rows[0]["offset"], rows[0]["size"]) if rows else None

    def _read_flagged(self, id: str) -> Mapping[str, str]:
        shard, seen = Shard(self.storage, id), self._watch()
        found = dict(withheld_keys(shard, seen))
        return found | dict(withheld_keys(shard.parts, seen)) if _has_parts(shard) else found

    def _watch(self) -> Watch:
        """What flags pictures of this data set: read again when its tombstones are others than they were."""
        tombstones = self.storage.files("tombstones")
        if self._seen is None or self._seen[0] != tombstones:
            self._seen = (tombstones, watch(listed_shards(self.storage)))
        return self._seen[1]


def _has_parts(shard: Shard) -> bool:
    return shard.storage.exists(shard.parts.table_name())


def _parts(shard: Shard) -> pa.Table:
    """The parts that have a picture: key, `image_member`, and `of`, the key of their document."""
    names = shard.parts.column_files if _has_parts(shard) else {}
    if IMAGE_MEMBER not in names:
        return pa.table({name: pa.array([], pa.string()) for name in ("key", IMAGE_MEMBER, "of")})
    parts = shard.parts.columns(["key", "document", IMAGE_MEMBER])
    parts = parts.filter(pc.is_valid(parts[IMAGE_MEMBER]))
    return parts.append_column("of", shard.columns(["key"])["key"].take(parts["document"])).drop(["document"])
