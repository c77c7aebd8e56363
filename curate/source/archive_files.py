"""Which archives a source means: files on any fsspec URL, or Common Crawl's lists of paths under a prefix."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from curate.errors import SourceError
from curate.source.files import input_files
from curate.source.open_archive import size_of
from curate.source.url_table import UrlTable

__all__ = ["COMMON_CRAWL", "ArchiveFile", "ArchiveFiles", "under"]

COMMON_CRAWL = "https://data.commoncrawl.org/"
FORMATS = ("warc", "arc", "wacz", "wet", "wat", "lz4", "zst")
_AT_ONCE = 64
_THREADS = 8


@dataclass(frozen=True)
class ArchiveFile:
    """One archive: its URL, and its bytes where they are known."""

    url: str
    size: int | None


@dataclass(frozen=True)
class ArchiveFiles:
    """`path` (a file, a folder, a glob) or `paths_file` (a text, plain or .gz, a path a line, put behind `prefix`)."""

    path: str | None
    paths_file: str | None
    prefix: str

    def __post_init__(self) -> None:
        if (self.path is None) == (self.paths_file is None):
            raise ValueError("needs either path or paths_file")

    def identity(self) -> dict[str, Any]:
        """Each file's name, size and mark; of a list of paths those of the list itself and the prefix."""
        if self.paths_file is not None:
            return {"settings": [self.prefix], "files": [f.identity() for f in input_files(self.paths_file, ("txt",))]}
        return {"settings": [], "files": [f.identity() for f in input_files(self.path or "", FORMATS, mixed=True)]}

    def list(self) -> Iterator[ArchiveFile]:
        """The archives in order. Sizes of a list's files are asked for as they are needed, 64 at a time."""
        if self.paths_file is None:
            for file in input_files(self.path or "", FORMATS, mixed=True):
                yield ArchiveFile(file.path, file.size or size_of(file.path))
            return
        urls = (under(self.prefix, path) for path in self._paths(self.paths_file))
        with ThreadPoolExecutor(_THREADS) as threads:
            while some := list(islice(urls, _AT_ONCE)):
                for url, size in zip(some, threads.map(size_of, some), strict=True):
                    yield ArchiveFile(url, size)

    def _paths(self, paths_file: str) -> Iterator[str]:
        found = False
        for part in UrlTable(paths_file, format="txt").parts():
            for batch in part:
                for path in batch.column("url").to_pylist():
                    found = True
                    yield path
        if not found:
            raise SourceError(f"{paths_file} has no paths; check [source] paths_file")


def under(prefix: str, path: str) -> str:
    """A path behind the prefix; as it is where it says by itself where it lies."""
    path = path.strip()
    return path if "://" in path or path.startswith("/") else f"{prefix.rstrip('/')}/{path}"
