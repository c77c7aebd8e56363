"""Rows of annotation files, as text, dealt to shards: a million rows (430 MB) in 300 MB of memory and 6 s of one core.

A slice holds its rows as they stood in the file, compressed, so the file is not needed once it is cut. The file is read
twice: once for a hash of each row, which gives the order, once to deal the rows to their shards, through files on disk.
Rows are parsed where they are packed, by every worker: a line that is no JSON is one row's trouble. A JSON array has no
lines and is walked through by the parser, which takes half as long again; what breaks it ends the file, and the run.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TextIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.bins import Bins
from curate.errors import SourceError
from curate.handover.compose_source import Facts, ShardSettings
from curate.source.files import InputFile

__all__ = ["KEY", "PLACE", "ROW", "dealt", "text_rows", "text_tables"]

KEY, PLACE, ROW = "source_key", "place", "row_text"
POSITION = "position"
SCHEMA = pa.schema({KEY: pa.string(), PLACE: pa.string(), ROW: pa.large_string()})

MOST_ROW_CHARS = 4 << 20
"""A longer row is no annotation; it is left out."""
CHUNK_CHARS = 1 << 20
BATCH_ROWS = 2_000
BATCH_CHARS = 16 << 20
BETWEEN = re.compile(r"[\s,]*")
WRAPPED = re.compile(r"\s*\{[^\S\n]*\n")
"""A file called json that opens a brace on a line of its own: an object around the rows, whose lines are no rows."""

Numbers = npt.NDArray[np.int64]


def text_tables(files: Sequence[InputFile], samples: int, shards: ShardSettings, facts: Facts) -> Iterator[pa.Table]:
    """A table per output shard: `source_key`, `place` ("set.jsonl:17"), `row_text` (null for one that is too long).

    Raises SourceError.
    """
    order = dealt(np.frombuffer(_hashes(files, shards.seed), np.uint64), samples, shards.shuffle)
    facts["examples"] = int((order >= 0).sum())
    with TemporaryDirectory(prefix="curate-") as folder:
        bins, first = Bins(Path(folder) / "rows"), 0
        for table in _batches(files):
            places = order[first : first + len(table)]
            if len(places) != len(table):
                raise SourceError(f"{files[0].path} grew while it was read; run again")
            first += len(table)
            there = places >= 0
            own = table.filter(pa.array(there)).append_column(POSITION, pa.array(places[there]))
            bins.add(places[there] // shards.samples, own)
        if first != len(order):
            raise SourceError(f"{files[0].path} shrank while it was read; run again")
        for number in range(-(-facts["examples"] // shards.samples)):
            rows = bins.read(number)
            assert rows is not None
            rows = rows.take(pc.sort_indices(rows[POSITION])).drop_columns([POSITION])  # one copy, while it is written
            yield rows


def dealt(hashes: npt.NDArray[np.uint64], samples: int, shuffle: bool) -> Numbers:
    """The place of each row in the output, int64 (n,), -1 for one that does not leave: in the order of hashes, or of
    the input. `samples` (0: all) takes the rows of the smallest hashes."""
    order = np.argsort(hashes, kind="stable")[: samples or None]
    if not shuffle:
        order = np.sort(order)
    places = np.full(len(hashes), -1, np.int64)
    places[order] = np.arange(len(order))
    return places


def text_rows(file: InputFile) -> Iterator[tuple[int, str | None]]:
    """The rows of a file, jsonl or json, with their numbers from 1: of a jsonl the line's, of an array the element's.

    Blank lines are passed over. Bytes that are no UTF-8 become U+FFFD. A file called json that holds an object per line
    is read as such. None for a row of more than MOST_ROW_CHARS. Raises SourceError.
    """
    with _failing(file), file.open() as raw, closing(_unpacked(raw, file)) as handle:
        text = io.TextIOWrapper(handle, encoding="utf-8-sig", errors="replace", newline="\n")
        if file.format == "jsonl":
            yield from _lines(text, "")
            return
        head = text.read(CHUNK_CHARS)
        if head.lstrip().startswith("["):
            yield from _elements(text, head.lstrip()[1:])
            return
        if WRAPPED.match(head):
            raise ValueError("it holds one object over several lines; write an array, or an object a line")
        yield from _lines(text, head)


def _hashes(files: Sequence[InputFile], seed: int) -> array[int]:
    """A number for each row, of the seed and of what the row says."""
    found = array("Q")
    salt = str(seed).encode()
    for file in files:
        for _, row in text_rows(file):
            data = b"" if row is None else row.encode("utf-8", "surrogatepass")
            found.append(int.from_bytes(hashlib.blake2b(data, digest_size=8, key=salt).digest()))
    return found


def _batches(files: Sequence[InputFile]) -> Iterator[pa.Table]:
    for number, file in enumerate(files):
        for batch in _groups(text_rows(file)):
            keys = [f"{number:05d}{row:09d}" for row, _ in batch]
            places = [f"{file.name}:{row}" for row, _ in batch]
            yield pa.table([keys, places, [text for _, text in batch]], schema=SCHEMA)


def _groups(rows: Iterator[tuple[int, str | None]]) -> Iterator[list[tuple[int, str | None]]]:
    """Up to BATCH_ROWS rows at once, fewer where they are long: books would be gigabytes."""
    batch, chars = [], 0
    for row in rows:
        batch.append(row)
        chars += len(row[1] or "")
        if len(batch) == BATCH_ROWS or chars >= BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _lines(text: TextIO, head: str) -> Iterator[tuple[int, str | None]]:
    number = 0
    while True:
        line, head = _line(text, head)
        if not line:
            return
        number += 1
        rest = line
        while len(rest) > MOST_ROW_CHARS and not rest.endswith("\n"):
            rest = text.readline(MOST_ROW_CHARS + 1)
        if len(line) > MOST_ROW_CHARS:
            yield number, None
        elif stripped := line.strip():
            yield number, stripped


def _line(text: TextIO, head: str) -> tuple[str, str]:
    """The next line and what is left of `head`, which was read before it; a part of it where it is too long."""
    line, end, rest = head.partition("\n")
    return (line + end, rest) if end else (line + text.readline(MOST_ROW_CHARS + 1), "")


def _elements(text: TextIO, buffer: str) -> Iterator[tuple[int, str | None]]:
    """The elements of an array whose first bracket is gone. Raises ValueError where it breaks."""
    decoder, position, number = json.JSONDecoder(), 0, 0
    while True:
        gap = BETWEEN.match(buffer, position)
        position = gap.end() if gap else position
        if buffer[position : position + 1] == "]":
            _require_end(text, buffer[position + 1 :], number)
            return
        try:
            end = decoder.raw_decode(buffer, position)[1]
            if end == len(buffer) and (more := text.read(CHUNK_CHARS)):
                buffer, position = buffer[position:] + more, 0
                continue
        except (ValueError, RecursionError) as error:
            more = text.read(CHUNK_CHARS)
            if not more or len(buffer) - position > 4 * MOST_ROW_CHARS:
                raise ValueError(f"the array breaks behind element {number}: {error}") from None
            buffer, position = buffer[position:] + more, 0
            continue
        number += 1
        row = buffer[position:end]
        yield number, row if len(row) <= MOST_ROW_CHARS else None
        position = end


def _require_end(text: TextIO, rest: str, number: int) -> None:
    """Raises ValueError where more than white space is behind an array of so many elements: it would be lost."""
    while rest:
        if rest.strip():
            raise ValueError(f"more follows behind the array of {number}; write one array, or an object a line")
        rest = text.read(CHUNK_CHARS)


def _unpacked(raw: IO[bytes], file: InputFile) -> IO[bytes]:
    return gzip.GzipFile(fileobj=raw) if file.path.endswith(".gz") else raw  # type: ignore[return-value]


@contextmanager
def _failing(file: InputFile) -> Iterator[None]:
    """One line for whatever a file is not."""
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SourceError(f"{file.path} cannot be read as {file.format}: {error}") from error
