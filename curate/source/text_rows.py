"""Rows of csv, tsv, txt, jsonl and json files, one at a time, from files that anybody may have written.

A row that cannot be read is None: it keeps its place, so that later rows keep their keys, and ends as an invalid
URL. Bytes that are no UTF-8 become U+FFFD. Python's own csv reader is used rather than Arrow's, which infers types
from the first block and ends the whole job at the first value that differs; it reads 0.5 M rows/s, a hundred times
what a machine fetches.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from typing import IO, Any, TextIO

__all__ = ["MOST_ROW_CHARS", "Record", "read_records"]

Record = dict[str, Any]

MOST_ROW_CHARS = 16 << 20
"""A longer line or object is not a row of ours but a file of another kind."""

CHUNK_CHARS = 1 << 20
PEEK_BYTES = 256
BETWEEN = re.compile(r"[\s,]*")


def read_records(handle: IO[bytes], kind: str) -> Iterator[Record | None]:
    """The rows of an open, uncompressed file. `kind` is csv, tsv, txt, jsonl or json; a txt row has the one key `url`.

    Blank lines are passed over. UTF-16 is read where the file begins with its mark, and a file called json that holds
    an object per line is read as such. Raises ValueError for a json file that is neither that nor an array of objects.
    """
    start = handle.read(PEEK_BYTES)
    handle.seek(0)
    encoding = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    text = io.TextIOWrapper(handle, encoding=encoding, errors="replace", newline="")
    if kind == "csv":
        return _csv(text, ",")
    if kind == "tsv":
        return _csv(text, "\t")
    if kind == "txt":
        return ({"url": line.strip()} for line in _lines(text))
    if kind == "jsonl" or start.decode(encoding, "replace").lstrip().startswith("{"):
        return _json_lines(_lines(text))
    return _json_array(text)


def _lines(text: TextIO) -> Iterator[str]:
    """Lines that are not blank, each cut at MOST_ROW_CHARS."""
    while line := text.readline(MOST_ROW_CHARS):
        rest = line
        while rest and len(rest) == MOST_ROW_CHARS and not rest.endswith("\n"):
            rest = text.readline(MOST_ROW_CHARS)
        if line.strip():
            yield line


def _csv(text: TextIO, delimiter: str) -> Iterator[Record | None]:
    """Rows by the header's names. A row with more fields than the header has is unreadable: a comma without quotes."""
    reader = csv.reader(iter(lambda: text.readline(MOST_ROW_CHARS), ""), delimiter=delimiter)
    header = _header(reader)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:  # a field above 128 KiB, a quote that was never closed; it starts anew on the next line
            yield None
            continue
        if row:
            yield None if any(row[len(header) :]) else dict(zip(header, row, strict=False))


def _header(reader: Iterator[list[str]]) -> list[str]:
    """The first row that is not blank. Raises ValueError where it is none."""
    try:
        return next(filter(None, reader), [])
    except csv.Error as error:
        raise ValueError(f"it does not begin with the names of columns: {error}") from error


def _json_lines(lines: Iterator[str]) -> Iterator[Record | None]:
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        yield record if isinstance(record, dict) else None


def _json_array(text: TextIO) -> Iterator[Record]:
    """Objects of an array, decoded as it is read."""
    buffer = text.read(CHUNK_CHARS).lstrip()
    if not buffer.startswith("["):
        raise ValueError("not an array of objects; give jsonl, one object per line")
    decoder, position = json.JSONDecoder(), 1
    while True:
        gap = BETWEEN.match(buffer, position)
        position = gap.end() if gap else position
        if buffer[position : position + 1] == "]":
            return
        try:
            if buffer[position : position + 1] not in ("{", ""):
                raise ValueError(f"an element of the array is no object: {buffer[position : position + 40]!r}")
            record, position = decoder.raw_decode(buffer, position)
            yield record
        except (json.JSONDecodeError, RecursionError) as error:
            more = text.read(CHUNK_CHARS)
            if not more or len(buffer) - position > MOST_ROW_CHARS:
                raise ValueError(f"broken JSON at {buffer[position : position + 40]!r}") from error
            buffer, position = buffer[position:] + more, 0
