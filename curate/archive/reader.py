"""Reads web archives: WARC and ARC, plain or compressed by gzip, lz4 or zstd, and WACZ, told by their bytes.

A reader of our own, because each of the two that exist fails on what archives hold (53 files of many writers, 2,342
records): warcio stops at the first record that it cannot read, in five of them, and cannot undo brotli as that
package is now; FastWARC knows no ARC, and passes over records behind a wrong length without a word. Here every byte of
a file belongs to a record or to a problem with a place. In CPU time it is between warcio, of which it takes three
quarters, and FastWARC, which takes a third of it: 60 us for a page of Common Crawl, two thirds of them zlib's own.

A file can be cut at any offsets: each cut is moved forward to the next unit that begins with a record. The limit of
that: a range that begins inside a record which itself holds an archive, not compressed again, may begin with a record
of that inner archive.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, TypeAlias

from curate.archive.areas import Area, find_areas
from curate.archive.header import HEAD_BYTES, Header, find_record, starts_record
from curate.archive.http_message import HttpMessage, read_block
from curate.archive.record import Record
from curate.archive.stream import Stream

__all__ = ["MOST_BYTES", "read_record_at", "read_records"]

_Problem: TypeAlias = tuple[str, str] | None

MOST_BYTES = 64 << 20
"""Of a record, before and after decompression."""


def read_records(
    file: IO[bytes], start: int = 0, end: int | None = None, most_bytes: int = MOST_BYTES
) -> Iterator[Record]:
    """The records whose first byte lies in [start, end) of a seekable file, in order.

    Where a record does not begin a compressed unit (a file gzipped as a whole), it belongs to the range of its unit.
    Bytes that are no record come as one Record with a problem. Raises OSError where the file does, and nothing else.
    """
    for area in find_areas(file, start, end):
        if isinstance(area, Record):
            yield area
        else:
            yield from _read_area(area, most_bytes)


def read_record_at(file: IO[bytes], offset: int, length: int, most_bytes: int = MOST_BYTES) -> Record:
    """The record at `offset` of a seekable file, as an index points to it. Of several, the first.

    Raises OSError where the file does; where there is no record, that is its problem.
    """
    file.seek(offset)
    data = file.read(length)
    for record in read_records(io.BytesIO(data), most_bytes=most_bytes):
        return replace(record, offset=offset + record.offset)
    detail = f"{len(data)} of {length} bytes are there, and no record begins in them"
    return Record(
        "", None, offset, length, problem="truncated" if len(data) < length else "not_a_record", detail=detail
    )


def _read_area(area: Area, most: int) -> Iterator[Record]:
    window, codec = area.window, area.codec
    stop = window.end if area.end is None else min(area.end, window.end)
    first = window.begin if area.start <= window.begin else codec.find(window, area.start, stop)
    if first is None:
        return
    stream = Stream(window, codec, first)
    while stream.begin():
        if area.end is not None and stream.place[0] >= area.end and stream.is_cut():
            return
        record = _read(stream, most)
        yield (
            record
            if area.container is None
            else replace(record, offset=area.container, length=0, inner_offset=record.offset)
        )


def _read(stream: Stream, most: int) -> Record:
    """The record, or what is no record, at the place where the stream stands."""
    place = stream.place
    if stream.problem:
        return _no_record(stream, place, stream.problem)
    header = stream.header()
    if header is None:
        begun = stream.starts_record()
        skipped = stream.skip_to_record(most)
        endless = ("bad_header", f"{skipped} bytes of a header without an end")
        garbage = ("not_a_record", f"{skipped} bytes that are no record")
        return _no_record(stream, place, stream.problem or (endless if begun else garbage))
    if header.length is None:
        passed = 0 if stream.at_record_end() else stream.skip_to_record(most)
        problem: _Problem = ("bad_header", f"no length that is a number; {passed} bytes passed over")
        block = b""
    else:
        block, problem = _take_block(stream, place, header.length, most)
    return _record(stream, place, header, read_block(header, block, most), problem)


def _take_block(stream: Stream, place: tuple[int, int], length: int, most: int) -> tuple[bytes, _Problem]:
    """The block of a record, and what does not fit: its length, its end, or what follows it."""
    block = stream.take(min(length, most))
    if len(block) == most < length:
        stream.skip_rest(place, length - most)
        return block, ("too_large", f"{length} bytes, of which the first {most} are kept")
    missing = length - len(block)
    if stream.at_record_end() and not missing:
        return block, stream.problem
    if not stream.is_in_unit(place):
        stream.skip_to_record(most)
        return block, stream.problem or ("bad_length", f"{len(block)} of {length} bytes, over several compressed units")
    inner = 0 if starts_record(block) else find_record(block)
    if inner is not None:
        stream.give_back(block[inner:])
        return block[:inner], ("bad_length", f"a length of {length}, and a record begins after {inner} bytes")
    if not missing and stream.is_closed():
        return block, None  # what follows is no part of this record
    if missing:
        return block, stream.problem or ("truncated", f"ends after {len(block)} of {length} bytes")
    tail = block[-HEAD_BYTES:]  # a header may begin in it and end behind it
    stream.give_back(tail)
    behind = stream.skip_to_record(most) - len(tail)
    block = block[: min(length, length + behind)]
    return block, ("bad_length", f"a length of {length}, and {behind:+} bytes up to the next record")


def _record(stream: Stream, place: tuple[int, int], header: Header, message: HttpMessage, problem: _Problem) -> Record:
    if stream.problem:
        stream.leave_unit()
    cut = header.fields.get("warc-truncated")
    body = message.body
    inside = (body.problem, body.detail) if body.problem else ("truncated", f"WARC-Truncated: {cut}") if cut else None
    code, detail = problem or inside or (None, "")
    return Record(
        type=header.type,
        url=header.url,
        offset=place[0],
        length=stream.length_since(place),
        inner_offset=place[1],
        date=header.date,
        headers=header.fields,
        http_status=message.status,
        http_headers=message.headers,
        entity=message.entity,
        payload=body.data,
        problem=code,
        detail=detail,
    )


def _no_record(stream: Stream, place: tuple[int, int], problem: tuple[str, str]) -> Record:
    if stream.problem:
        stream.leave_unit()
    return Record("", None, place[0], stream.length_since(place), place[1], problem=problem[0], detail=problem[1])
