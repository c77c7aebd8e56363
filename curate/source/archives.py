"""Web archives as a source of pages: WARC, ARC, WACZ, from a disk, a bucket or Common Crawl's servers.

An archive is cut into ranges of its compressed bytes by its size alone, so a run over 90,000 archives starts at once,
and one of 1 GB is read by sixteen workers. Where a range begins is found by its reader, and a range stops where the
next one starts. 64 MB are about 4,000 pages of Common Crawl. A file that was gzipped as a whole is read by the first
of its ranges; the others find that no record begins in theirs, at the speed of a search for three bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from curate.archive.reader import MOST_BYTES, read_records
from curate.archive.record import Record
from curate.errors import StorageError
from curate.shard import Shard
from curate.source.archive_files import COMMON_CRAWL, ArchiveFile, ArchiveFiles
from curate.source.open_archive import UNREADABLE, is_final, open_archive
from curate.source.raw_page import RawPage
from curate.source.record_page import record_page
from curate.source.source import no_service

__all__ = ["Archives"]

EMPTY = "not_an_archive"
"""The status of a page that stands for a file of no bytes: what a download that failed leaves behind."""

_SCHEMA = pa.schema([("archive", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("url", pa.string())])


@dataclass(frozen=True)
class Archives:
    """The `[source]` table with `kind = "archives"`.

    `path` is a file, a folder or a glob on any fsspec URL; or `paths_file` lists paths as Common Crawl publishes them
    (`warc.paths.gz`), each put behind `prefix`, which may be a bucket or a folder. `range_mb` (10^6 bytes of the
    compressed file) is what one row of a slice stands for.
    """

    version: ClassVar[int] = 1

    path: str | None = None
    paths_file: str | None = None
    prefix: str = COMMON_CRAWL
    range_mb: int = 64

    def __post_init__(self) -> None:
        self._files()
        if self.range_mb < 1:
            raise ValueError(f"range_mb = {self.range_mb} must be at least 1")

    def identity(self) -> Any:
        """The files, and how they are cut."""
        return self._files().identity() | {"range_mb": self.range_mb}

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        """Per archive its ranges: `archive`, `start` and `end` (null for the file's end), and a `url` that is null.

        Raises SourceError.
        """
        for file in self._files().list():
            yield iter([self._ranges(file)])

    def known_columns(self) -> tuple[str, ...]:
        return tuple(_SCHEMA.names)

    def serve(self) -> AbstractContextManager[Any]:
        """Archives are read where they lie."""
        return no_service()

    def pages(self, rows: pa.Table, shard: Shard) -> Iterator[RawPage]:
        """A page for each record that is one, was to be one, or is broken, in the order of the file.

        What cannot be opened or read on is one page with the status `archive_unreadable`; a file without bytes is one
        that is `not_an_archive`.
        """
        for row in rows.select(["archive", "start", "end"]).to_pylist():
            yield from self._range_pages(row["archive"], row["start"], row["end"])

    def page_identity(self) -> Any:
        """The version of the reader and its bound."""
        return {"reader": self.version, "most_bytes": MOST_BYTES}

    def page(self, record: Record, archive: str) -> RawPage | None:
        """What a record is; None for one to pass over."""
        return record_page(record, archive)

    def _files(self) -> ArchiveFiles:
        return ArchiveFiles(self.path, self.paths_file, self.prefix)

    def _ranges(self, file: ArchiveFile) -> pa.RecordBatch:
        step = self.range_mb * 1_000_000
        starts = list(range(0, file.size, step)) if file.size else [0]
        ends = [*starts[1:], None]
        empty = [None] * len(starts)
        return pa.record_batch([[file.url] * len(starts), starts, ends, empty], schema=_SCHEMA)

    def _range_pages(self, archive: str, start: int, end: int | None) -> Iterator[RawPage]:
        try:
            with closing(open_archive(archive)) as file:
                if start == 0 and end is None and not file.read(1):
                    yield RawPage(None, status=EMPTY, detail="the file has no bytes", file=archive, offset=0)
                for record in read_records(file, start, end):
                    page = self.page(record, archive)
                    if page is not None:
                        yield page
        except StorageError as error:
            if not is_final(error):
                raise
            yield RawPage(None, status=UNREADABLE, detail=str(error), file=archive, offset=start)
