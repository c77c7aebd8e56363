"""Documents as they are told by their tables and their tar: what exports and `curate show` read.

The tables of a shard are in memory as Arrow (some 100 MB for 5,000 pages), documents are made of them one at a time,
and pictures are read from the tar as they are reached, by the offset index. So a shard with gigabytes of pictures
costs what its largest document has. Nothing here decides: what is kept is what a round of `select` wrote.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, Any

import numpy as np
import pyarrow.compute as pc

from curate.document.columns import IMAGE
from curate.document.select import prefix
from curate.errors import ShardError
from curate.fetch.members import python_values
from curate.sample import Document, Part, Picture, Text
from curate.shard import Shard

__all__ = [
    "IMAGE_MEMBER",
    "PictureFile",
    "document_row",
    "documents_at",
    "kept_rows",
    "read_document",
    "read_documents",
    "read_pictures",
]

IMAGE_MEMBER = "image_member"
"""Column of parts: the extension that a slot's picture has in the tar, such as `3.jpg`; null where there is none."""
CLOCKS = frozenset({"fetch_log", "pages_log"})
"""Families of columns that hold times: they are no part of a document, which is the same on every run."""
BATCH_PARTS = 2_000
FIELDS = frozenset({"document", "kind", "text", "block", "separator", "url", IMAGE_MEMBER})
"""What a part tells by its own fields or by its place."""


def read_documents(shard: Shard, kept: bool = True, round: str = "") -> Iterator[Document]:
    """The documents of a shard in the order of its rows.

    With `kept`, those that a round of decisions keeps, and of each the parts it keeps; without, every row and every
    part, boilerplate too. `round` is "read", "unique", or "" for the last word; while nothing has been decided, ""
    means all. A picture that is not there keeps its place, with its status. `Document.columns` is the document's row;
    `columns` of a part are those of its row that hold something and are no field of it. What was written by a clock
    is in neither. Raises ShardError.
    """
    rows = kept_rows(shard, round) if kept else np.arange(shard.rows())
    chosen = kept_rows(shard.parts, round) if kept else None
    return documents_at(shard, rows, chosen)


def read_document(shard: Shard, key: str, kept: bool = True, round: str = "") -> Document:
    """One document by its key, also one that is not kept; `kept` and `round` choose its parts. Raises ShardError."""
    chosen = kept_rows(shard.parts, round) if kept else None
    return next(documents_at(shard, np.array([document_row(shard, key)]), chosen))


def document_row(shard: Shard, key: str) -> int:
    """The number of a document's row. Raises ShardError where there is none of this key."""
    keys = shard.columns(["key"])["key"]
    row: int = pc.index(keys, key).as_py()
    if row < 0:
        span = f"its keys go from {keys[0]} to {keys[-1]}" if len(keys) else "it is empty"
        raise ShardError(f"shard {shard.id} in {shard.storage.root} has no document {key!r}; {span}")
    return row


def read_pictures(shard: Shard) -> Iterator[tuple[str, bytes]]:
    """Keys of parts and their encoded pictures, in the order of the parts; slots without a picture are left out."""
    parts = shard.parts.columns(["key", "document", IMAGE_MEMBER])
    parts = parts.filter(pc.is_valid(parts[IMAGE_MEMBER]))
    keys = shard.columns(["key"])["key"].take(parts["document"])
    with PictureFile(shard) as pictures:
        for batch in parts.append_column("of", keys).to_batches(BATCH_PARTS):
            for part in batch.to_pylist():
                yield part["key"], pictures.read(part["of"], part[IMAGE_MEMBER])


def kept_rows(rows: Shard, round: str = "") -> np.ndarray:
    """Numbers of the rows (of a shard, or of its parts) that a round keeps, int64, rising; all before any decision.

    Raises ShardError for a named round that was not decided.
    """
    name = f"{prefix(round)}keep"
    if not round and name not in rows.column_files:
        return np.arange(rows.rows())
    keep = rows.columns([name])[name].combine_chunks()
    return np.flatnonzero(np.asarray(pc.fill_null(keep, False)))


class PictureFile:
    """The pictures in a shard's tar, by document and member. A context; the tar is opened when the first is read."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._places: dict[tuple[str, str], tuple[int, int]] | None = None
        self._tar: IO[bytes] = io.BytesIO()
        self._stack = ExitStack()

    def __enter__(self) -> PictureFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(self, key: str, member: str) -> bytes:
        """The bytes of `KEY.MEMBER`. Raises ShardError where it is not there."""
        if self._places is None:
            self._places = self._open()
        if (key, member) not in self._places:
            raise ShardError(
                f"{self.shard.tar} has no {key}.{member}; delete commits/*/{self.shard.id}-*.json and run again"
            )
        offset, size = self._places[key, member]
        self._tar.seek(offset)
        return self._tar.read(size)

    def _open(self) -> dict[tuple[str, str], tuple[int, int]]:
        try:
            self._tar = self._stack.enter_context(self.shard.storage.open(self.shard.tar))
        except FileNotFoundError:
            raise ShardError(
                f"shard {self.shard.id} in {self.shard.storage.root} has no {self.shard.tar}; "
                "run the job again, which asks for its pictures"
            ) from None
        index = self.shard.table("index").to_pydict()
        places = zip(index["offset"], index["size"], strict=True)
        return dict(zip(zip(index["key"], index["extension"], strict=True), places, strict=True))


def documents_at(shard: Shard, rows: np.ndarray, chosen: np.ndarray | None) -> Iterator[Document]:
    """Documents by row, in the order of `rows`; `chosen` are the numbers of the parts that belong, rising, None for
    all. Raises ShardError."""
    documents = shard.columns(_told(shard)).take(rows)
    parts = shard.parts.columns(_told(shard.parts))
    parts = parts if chosen is None else parts.take(chosen)
    place = np.asarray(parts["document"].combine_chunks(), dtype=np.int64)
    starts, stops = np.searchsorted(place, rows), np.searchsorted(place, rows, side="right")
    with PictureFile(shard) as pictures:
        for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            columns = {name: python_values(documents[name][number : number + 1])[0] for name in documents.column_names}
            own = parts.slice(start, stop - start).to_pylist()
            key = columns["key"]
            yield Document(key, tuple(_part(key, part, pictures) for part in own), columns)


def _told(rows: Shard) -> Sequence[str]:
    return [name for name, family in rows.column_files.items() if family not in CLOCKS]


def _part(key: str, row: dict[str, Any], pictures: PictureFile) -> Part:
    told = {name: value for name, value in row.items() if value is not None and name not in FIELDS}
    if row["kind"] != IMAGE:
        return Text(row["text"] or "", row["block"] or "p", row["separator"] or "", told)
    member = row.get(IMAGE_MEMBER)
    data = pictures.read(key, member) if member else None
    extension = member.rpartition(".")[2] if member else ""
    return Picture(row["url"] or "", data, extension, row.get("fetch_status"), told)
