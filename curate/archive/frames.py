"""lz4 and zstd archives: frames whose blocks say how long they are, so that a frame's end is found without its data.

Arrow decompresses, and knows nothing of where a frame ends. So the blocks' own headers are walked while Arrow asks
for bytes, and it is told that the file ends where the frame does. A frame of any size passes through once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pyarrow as pa

from curate.archive.header import HEAD_BYTES, starts_record
from curate.archive.units import PIECE_BYTES, Piece, find_unit
from curate.archive.window import Window

__all__ = ["LZ4_MAGIC", "ZSTD_DICTIONARY_MAGIC", "ZSTD_MAGIC", "Frames", "is_skippable"]

LZ4_MAGIC = b"\x04\x22\x4d\x18"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"
"""The frame that holds the dictionary, first in a file (the WARC zstd specification of IIPC and Archive Team)."""

_LZ4_BLOCK_BITS, _LZ4_RAW = 0x7FFFFFFF, 0x80000000
_ZSTD_SIZE_BYTES = (0, 2, 4, 8)
_ZSTD_DICTIONARY_BYTES = (0, 1, 2, 4)
_RUN_BLOCK, _RESERVED_BLOCK = 1, 3


class FrameError(ValueError):
    """What is wrong with a frame's own headers."""


class Frames:
    """Archives of lz4 or zstd frames, each with one record or more. Frames to be skipped are empty units."""

    plain = False

    def __init__(self, kind: Literal["lz4", "zstd"]) -> None:
        self._kind = kind
        self._magic = LZ4_MAGIC if kind == "lz4" else ZSTD_MAGIC
        self._spans = _lz4_spans if kind == "lz4" else _zstd_spans

    def pieces(self, window: Window, offset: int) -> Iterator[Piece]:
        try:
            yield from self._pieces(window, offset)
        except (OSError, FrameError, pa.ArrowException) as error:
            yield Piece(b"", None, "bad_compression", str(error).split("\n", 1)[0][:200])

    def _pieces(self, window: Window, offset: int) -> Iterator[Piece]:
        magic = window.at(offset, 4).tobytes()
        if is_skippable(magic):
            end = offset + 8 + _number(window, offset + 4, 4)
            if end > window.end:
                raise FrameError("the file ends in a frame")
            yield Piece(b"", end)
            return
        if magic != self._magic:
            raise FrameError(f"{magic!r} begins no {self._kind} frame")
        frame = _Frame(window, self._spans(window, offset))
        stream = pa.CompressedInputStream(pa.PythonFile(frame, "r"), self._kind)
        while data := stream.read(PIECE_BYTES):
            yield Piece(data)
        frame.drain()
        if frame.end > window.end:
            raise FrameError("the file ends in a frame")
        yield Piece(b"", frame.end)

    def starts(self, window: Window, offset: int) -> bool:
        if window.at(offset, 4) != self._magic:
            return False
        frame = _Frame(window, self._spans(window, offset))
        try:
            head = pa.CompressedInputStream(pa.PythonFile(frame, "r"), self._kind).read(HEAD_BYTES)
        except (OSError, FrameError, pa.ArrowException):
            return False
        return starts_record(head)

    def find(self, window: Window, offset: int, stop: int) -> int | None:
        return find_unit(self, window, (offset, stop), self._magic)


class _Frame:
    """A frame as a file that Arrow may read. `end` is how far its headers were followed."""

    closed = False

    def __init__(self, window: Window, spans: Iterator[tuple[int, int]]) -> None:
        self._window, self._spans = window, spans
        self.end = self._at = 0

    def read(self, size: int) -> bytes:
        if self._at >= self.end:
            self._at, self.end = next(self._spans, (self.end, self.end))
        data = self._window.at(self._at, min(size, self.end - self._at)).tobytes()
        if self._at < self.end and not data:
            raise FrameError("the file ends in a frame")
        self._at += len(data)
        return data

    def drain(self) -> None:
        """Follow the headers to the frame's end: Arrow may stop before it has asked for the last bytes."""
        for _, end in self._spans:
            self.end = end

    def close(self) -> None:
        """Arrow closes what it has read; the archive stays open."""

    def readable(self) -> bool:
        return True


def is_skippable(magic: bytes) -> bool:
    """Whether a frame of lz4 or zstd holds something that is not data."""
    return len(magic) == 4 and 0x50 <= magic[0] <= 0x5F and magic[1:] == b"\x2a\x4d\x18"


def _lz4_spans(window: Window, offset: int) -> Iterator[tuple[int, int]]:
    """The frame at `offset` as (start, end) of its header, its blocks and its trailer."""
    flags = _number(window, offset + 4, 1)
    at = offset + 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
    yield offset, at
    while size := _number(window, at, 4):
        end = at + 4 + (size & _LZ4_BLOCK_BITS) + (4 if flags & 0x10 else 0)
        yield at, end
        at = end
    yield at, at + 4 + (4 if flags & 0x04 else 0)


def _zstd_spans(window: Window, offset: int) -> Iterator[tuple[int, int]]:
    descriptor = _number(window, offset + 4, 1)
    single = bool(descriptor & 0x20)
    size_bytes = _ZSTD_SIZE_BYTES[descriptor >> 6] or int(single)
    at = offset + 5 + (0 if single else 1) + _ZSTD_DICTIONARY_BYTES[descriptor & 3] + size_bytes
    yield offset, at
    last = False
    while not last:
        header = _number(window, at, 3)
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == _RESERVED_BLOCK:
            raise FrameError("a zstd block of a kind that does not exist")
        end = at + 3 + (1 if kind == _RUN_BLOCK else size)
        yield at, end
        at = end
    if descriptor & 0x04:
        yield at, at + 4


def _number(window: Window, offset: int, size: int) -> int:
    data = window.at(offset, size)
    if len(data) < size:
        raise FrameError("the file ends in a frame")
    return int.from_bytes(data, "little")
