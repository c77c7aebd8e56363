"""The parts of a file that are archives: the whole file, or the archives inside a WACZ (a zip).

The archives in a WACZ are stored, not compressed again, so their records have offsets in the file itself and are read
like any others. One that is compressed nevertheless is read as a stream, and its records share the member's offset.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from curate.archive.frames import LZ4_MAGIC, ZSTD_DICTIONARY_MAGIC, ZSTD_MAGIC, Frames, is_skippable
from curate.archive.header import HEAD_BYTES, starts_record
from curate.archive.record import Record
from curate.archive.units import Codec, Gzip, Plain
from curate.archive.window import Window

__all__ = ["Area", "find_areas"]

_ZIP_MAGIC, _GZIP_MAGIC = b"PK\x03\x04", b"\x1f\x8b\x08"
_LOCAL_HEADER = struct.Struct("<26xHH")
_SEARCH_BYTES = 1 << 20
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, NotImplementedError, EOFError, struct.error)


@dataclass(frozen=True)
class Area:
    """An archive: its bytes, how they are compressed, and the range of them that is asked for.

    `container` is the offset of the zip member that these bytes come out of, where they do not lie in the file.
    """

    window: Window
    codec: Codec
    start: int
    end: int | None
    container: int | None = None


def find_areas(file: IO[bytes], start: int, end: int | None) -> Iterator[Area | Record]:
    """The archives of a file that reach into [start, end), or the problem that hides them."""
    window = Window(file)
    if window.at(0, 4) == _ZIP_MAGIC:
        yield from _zip_areas(file, window, start, end)
    elif start < window.end:
        yield from _area(window, start, end)


def _area(window: Window, start: int, end: int | None, container: int | None = None) -> Iterator[Area | Record]:
    codec = _codec(window)
    if window.at(window.begin, 4) == ZSTD_DICTIONARY_MAGIC:
        problem = "zstd_dictionary", "the frames need the dictionary at the file's start, which Arrow cannot use"
    elif codec is None:
        problem = "not_an_archive", f"begins with {window.at(window.begin, 16).tobytes()!r}"
    else:
        yield Area(window, codec, start, end, container)
        return
    if start <= window.begin < window.end:
        yield Record("", None, window.begin, window.end - window.begin, problem=problem[0], detail=problem[1])


def _codec(window: Window) -> Codec | None:
    """By the first bytes; where they say nothing, by the first record of any kind within a MiB."""
    if starts_record(window.at(window.begin, HEAD_BYTES).tobytes()):
        return Plain()
    head = window.at(window.begin, 4).tobytes()
    if head.startswith(_GZIP_MAGIC):
        return Gzip()
    if head == LZ4_MAGIC:
        return Frames("lz4")
    if head == ZSTD_MAGIC or is_skippable(head):
        return Frames("zstd")
    search = window.part(window.begin, window.begin + _SEARCH_BYTES)
    kinds: tuple[Codec, ...] = (Plain(), Gzip(), Frames("lz4"), Frames("zstd"))
    found = {kind: at for kind in kinds if (at := kind.find(search, search.begin, search.end)) is not None}
    return min(found, key=lambda kind: found[kind], default=None)


def _zip_areas(file: IO[bytes], window: Window, start: int, end: int | None) -> Iterator[Area | Record]:
    try:
        archive = zipfile.ZipFile(file)
        members = sorted(archive.infolist(), key=lambda m: m.header_offset)
    except _ZIP_ERRORS as error:
        if start == 0:
            yield Record("", None, 0, window.end, problem="bad_zip", detail=str(error))
        return
    members = [m for m in members if m.filename.startswith("archive/") and not m.is_dir()]
    if not members and start == 0:
        yield Record("", None, 0, window.end, problem="bad_zip", detail="no archive in a folder archive/")
    free = 0
    for member in members:
        try:
            _refuse_odd(member, free)
            yield from _member_areas(archive, member, window, (start, end))
            free = member.header_offset + member.compress_size
        except _ZIP_ERRORS as error:
            if start <= member.header_offset and (end is None or member.header_offset < end):
                detail = f"{member.filename}: {error}"
                yield Record("", None, member.header_offset, member.compress_size, problem="bad_zip", detail=detail)


def _refuse_odd(member: zipfile.ZipInfo, free: int) -> None:
    """Raise ValueError for what no WACZ has: other compression, or members that share bytes (a bomb)."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"compressed by method {member.compress_type}")
    if member.header_offset < free:
        raise ValueError("shares bytes with the member before")


def _member_areas(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, window: Window, wanted: tuple[int, int | None]
) -> Iterator[Area | Record]:
    start, end = wanted
    offset = member.header_offset
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        if start <= offset and (end is None or offset < end):
            stream = _ZipStream(archive.open(member))
            if member.file_size and not stream.read(1):
                raise ValueError("cannot be decompressed")
            yield from _area(Window(stream, 0, member.file_size), 0, None, offset)  # type: ignore[arg-type]
        return
    name_bytes, extra_bytes = _LOCAL_HEADER.unpack(window.at(offset, _LOCAL_HEADER.size))
    begin = offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    inside = window.part(begin, begin + member.file_size)
    if end is None or begin < end:
        yield from _area(inside, start, end)


class _ZipStream:
    """A compressed zip member as a file that ends where it cannot be read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except _ZIP_ERRORS:
            return b""
