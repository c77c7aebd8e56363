"""Pages by pointers: a table that says in which archive each page lies, and at which bytes.

Common Crawl's columnar index is such a table, and so is what OBELICS calls its pointers. Each page is one range
request, a few at a time, in the order of the table.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa

from curate.archive.reader import MOST_BYTES, read_record_at
from curate.errors import StorageError
from curate.shard import Shard
from curate.source.archive_files import COMMON_CRAWL, under
from curate.source.open_archive import UNREADABLE, is_final, read_range
from curate.source.raw_page import RawPage
from curate.source.record_page import record_page
from curate.source.source import no_service
from curate.source.url_table import UrlTable

__all__ = ["RecordTable"]

_VERSION = 1
_SCHEMA = pa.schema([("archive", pa.string()), ("offset", pa.int64()), ("length", pa.int64()), ("url", pa.string())])


@dataclass(frozen=True)
class RecordTable:
    """The `[source]` table with `kind = "record_table"`.

    `path` names parquet, csv, tsv or jsonl files as `url_table` reads them; the column names are those of Common
    Crawl's index and of OBELICS. File names are put behind `prefix`, which may be a bucket or a folder. `at_once`
    range requests (1 to 64) are under way together.
    """

    path: str
    format: Literal["auto", "parquet", "csv", "tsv", "json", "jsonl"] = "auto"
    prefix: str = COMMON_CRAWL
    url_column: str = "url"
    file_column: str = "warc_filename"
    offset_column: str = "warc_record_offset"
    length_column: str = "warc_record_length"
    at_once: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.at_once <= 64:
            raise ValueError(f"at_once = {self.at_once} is out of range: from 1 to 64")

    def identity(self) -> Any:
        """What the table is, and where its files lie."""
        return self._table().identity() | {"prefix": self.prefix}

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        """Batches per file: `archive`, `offset`, `length`, `url`. Raises SourceError."""
        for part in self._table().parts():
            yield (self._pointers(batch) for batch in part)

    def known_columns(self) -> tuple[str, ...]:
        return tuple(_SCHEMA.names)

    def serve(self) -> AbstractContextManager[Mapping[str, str]]:
        """Archives are read where they lie."""
        return no_service()

    def pages(self, rows: pa.Table, shard: Shard) -> Iterator[RawPage]:
        """One page per row, in order; where there is none, its status and the pointer."""
        waiting: deque[Future[RawPage]] = deque()
        with ThreadPoolExecutor(self.at_once) as threads:
            for number, row in enumerate(rows.select(_SCHEMA.names).to_pylist()):
                waiting.append(threads.submit(_page, number, row))
                if len(waiting) > self.at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def page_identity(self) -> Any:
        """The version of the reader and its bound."""
        return {"reader": _VERSION, "most_bytes": MOST_BYTES}

    def _table(self) -> UrlTable:
        columns = (self.file_column, self.offset_column, self.length_column)
        types: Mapping[str, Literal["int"]] = {self.offset_column: "int", self.length_column: "int"}
        return UrlTable(self.path, self.format, self.url_column, columns=columns, types=types)

    def _pointers(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        files, offsets, lengths, urls = batch.columns
        archives = [under(self.prefix, str(file)) if file else None for file in files.to_pylist()]
        columns = [pa.array(archives, pa.string()), _numbers(offsets), _numbers(lengths), urls]
        return pa.record_batch(columns, schema=_SCHEMA)


def _numbers(values: pa.Array) -> pa.Array:
    """Offsets or lengths in bytes, int64; null where a cell is no whole number."""
    try:
        return values.cast(pa.int64())
    except pa.ArrowException:
        return pa.array([_whole(value) for value in values.to_pylist()], pa.int64())


def _whole(value: Any) -> int | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else None


def _page(number: int, row: Mapping[str, Any]) -> RawPage:
    """The page of the slice's row `number`."""
    archive, offset, length, url = (row[name] for name in _SCHEMA.names)
    place = RawPage(url, file=archive, offset=offset, length=length, row=number)
    if archive is None or offset is None or length is None or offset < 0 or length < 1:
        return replace(place, status="bad_pointer", detail="no file name, offset of 0 or more and length of 1 or more")
    if length > MOST_BYTES:
        return replace(place, status="too_large", detail=f"a record of {length} bytes, at most {MOST_BYTES} are read")
    try:
        data = read_range(archive, offset, length)
    except StorageError as error:
        if not is_final(error):
            raise
        return replace(place, status=UNREADABLE, detail=str(error))
    record = read_record_at(io.BytesIO(data), 0, length)
    page = record_page(record, archive)
    if page is None:
        return replace(place, status="not_a_page", detail=f"a record of type {record.type!r}")
    return replace(page, url=page.url or url, offset=offset, length=length, row=number)
