"""The compressed units of an archive, one after the other: gzip members, or a plain file as a single unit.

A codec reads one unit as pieces of decompressed bytes and can say where the next unit that begins with a record lies.
The second is what lets an archive be cut into ranges: a cut is moved forward to the next such place, by the reader of
the range before it and by that of the range behind it alike.

zlib's own speed is the floor here: it takes two thirds of the time in which we read a page.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from curate.archive.header import HEAD_BYTES, MOST_HEADER_BYTES, find_record, read_header, starts_record
from curate.archive.window import Window

__all__ = ["Codec", "Gzip", "Piece", "Plain", "find_unit"]

STEP_BYTES = 16_384
PIECE_BYTES = 1 << 20
MOST_TRIES = 50_000
_MANDATORY = frozenset(("warc-record-id", "archive-length"))
"""One of them is in every WARC or ARC header; a page that shows a header as an example seldom has it."""


class Piece(NamedTuple):
    """Decompressed bytes of a unit. `end` is the file's offset behind the unit, in its last piece alone.

    `problem` (with `detail`) says that the unit cannot be read further; then `end` is None.
    """

    data: bytes
    end: int | None = None
    problem: str | None = None
    detail: str = ""


class Codec(Protocol):
    """One way in which an archive may be compressed."""

    plain: bool
    """Whether offsets in the unit are offsets of the file."""

    def pieces(self, window: Window, offset: int) -> Iterator[Piece]:
        """The unit at `offset`, in pieces of about a MiB."""
        ...

    def starts(self, window: Window, offset: int) -> bool:
        """Whether a unit that begins with a record lies at `offset`: a place to which a cut may be moved."""
        ...

    def find(self, window: Window, offset: int, stop: int) -> int | None:
        """The first place from `offset` on, and before `stop`, of which `starts` is true."""
        ...


class Plain:
    """A file that is not compressed: one unit, from wherever one begins to read to its end."""

    plain = True

    def pieces(self, window: Window, offset: int) -> Iterator[Piece]:
        while offset < window.end and (data := window.at(offset, PIECE_BYTES).tobytes()):
            offset += len(data)
            yield Piece(data, offset if offset >= window.end else None)

    def starts(self, window: Window, offset: int) -> bool:
        """Whether a line begins a record whose length fits: behind it lies another one, or the end of the file."""
        if offset > window.begin and find_record(window.at(offset - 1, HEAD_BYTES).tobytes()) != 1:
            return False
        found = read_header(window.at(offset, MOST_HEADER_BYTES).tobytes())
        if found is None or found[0].length is None or not _MANDATORY & found[0].fields.keys():
            return False
        end = offset + found[1] + found[0].length
        behind = window.at(end, HEAD_BYTES).tobytes().lstrip(b"\r\n")
        return starts_record(behind) if behind else end <= window.end

    def find(self, window: Window, offset: int, stop: int) -> int | None:
        if offset <= window.begin and self.starts(window, offset):
            return offset
        position = _find_line(window, max(offset - 1, window.begin), stop)
        while position is not None and not self.starts(window, position):
            position = _find_line(window, position, stop)
        return position


class Gzip:
    """RFC 1952, any number of members."""

    plain = False

    def pieces(self, window: Window, offset: int) -> Iterator[Piece]:
        engine, held, position = zlib.decompressobj(31), 0, offset
        parts: list[bytes] = []
        while True:
            step = window.at(position, STEP_BYTES)
            if not step:
                yield Piece(b"".join(parts), None, "truncated", "the file ends within a gzip member")
                return
            try:
                part = engine.decompress(step)
            except zlib.error as error:
                yield Piece(
                    b"".join(parts) + _before_error(window, offset, position), None, "bad_compression", str(error)
                )
                return
            parts.append(part)
            held += len(part)
            position += len(step)
            if engine.eof:
                yield Piece(parts[0] if len(parts) == 1 else b"".join(parts), position - len(engine.unused_data))
                return
            if held >= PIECE_BYTES:
                yield Piece(b"".join(parts))
                parts, held = [], 0

    def starts(self, window: Window, offset: int) -> bool:
        try:
            head = zlib.decompressobj(31).decompress(window.at(offset, STEP_BYTES), HEAD_BYTES)
        except zlib.error:
            return False
        return starts_record(head)

    def find(self, window: Window, offset: int, stop: int) -> int | None:
        return find_unit(self, window, (offset, stop), b"\x1f\x8b\x08")


def find_unit(codec: Codec, window: Window, span: tuple[int, int], magic: bytes) -> int | None:
    """The first place in `span` where `magic` begins a unit that begins with a record.

    None also where MOST_TRIES such places in this window began none: a file that holds nothing but magic numbers would
    take 5 us for each of its bytes. By chance there is one in 16 MB.
    """
    offset, stop = span
    while window.tries < MOST_TRIES and (found := window.find(magic, offset, stop)) is not None:
        if codec.starts(window, found):
            return found
        window.tries += 1
        offset = found + 1
    return None


def _find_line(window: Window, offset: int, stop: int) -> int | None:
    """Where a line that seems to begin a record starts, behind `offset` and before `stop`. Blocks overlap by a head."""
    while offset < stop and (block := window.at(offset, PIECE_BYTES).tobytes()):
        if (found := find_record(block)) is not None:
            return offset + found if offset + found < stop else None
        offset += len(block) if offset + len(block) >= window.end else max(len(block) - HEAD_BYTES, 1)
    return None


def _before_error(window: Window, start: int, failed: int) -> bytes:
    """What the step at `failed` gives up to the byte that cannot be decompressed: zlib throws away the whole step."""
    engine = zlib.decompressobj(31)
    for position in range(start, failed, STEP_BYTES):
        engine.decompress(window.at(position, min(STEP_BYTES, failed - position)))
    parts = []
    step = window.at(failed, STEP_BYTES).tobytes()
    for position in range(len(step)):
        try:
            parts.append(engine.decompress(step[position : position + 1]))
        except zlib.error:
            break
    return b"".join(parts)
