"""A folder of HTML files as a source of documents, with the pictures beside them where they are wanted.

`base_url` gives the files their place on the web, so that relative links mean something; a file's own `file:` URL does
not, since pictures are only ever asked for by http. With `serve_files` a server on the loopback stands in for that
place, and the pictures beside the pages are fetched like any others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

import fsspec
import pyarrow as pa
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from curate.config import require_range
from curate.errors import SourceError
from curate.fetch.url import parse_url
from curate.shard import Shard
from curate.source.files import mark_of
from curate.source.folder_server import inside, serve_folder
from curate.source.raw_page import RawPage

__all__ = ["HtmlFiles"]

ENDINGS = (".html", ".htm", ".xhtml")
_BATCH_ROWS = 10_000
_SCHEMA = pa.schema([("url", pa.string()), ("path", pa.string()), ("size", pa.int64()), ("mark", pa.string())])


@dataclass(frozen=True)
class HtmlFiles:
    """The `[source]` table with `kind = "html_files"`.

    `path` is a folder (with all below it), a file or a glob, on any fsspec URL; files that end in .html, .htm or
    .xhtml are pages. `base_url` is where the folder is said to lie on the web; `serve_files` answers for it on the
    loopback. A file above `max_file_bytes` is not read. Links that lead out of the folder are not followed.
    """

    fetches_pages: ClassVar[bool] = False

    path: str
    base_url: str = ""
    serve_files: bool = False
    max_file_bytes: int = 50_000_000

    def __post_init__(self) -> None:
        require_range("max_file_bytes", self.max_file_bytes, 1, 1 << 30)
        target = parse_url(self.base_url) if self.base_url else None
        if self.serve_files and (target is None or target.scheme != "http" or target.is_address):
            raise ValueError(f"base_url = {self.base_url!r} cannot be served; set one such as http://books.test/")

    def identity(self) -> Any:
        """The settings that change rows, and each file's path in the folder, size and modification mark."""
        return {"settings": [self.base_url], "files": [list(found) for found in self._files()]}

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        """One part; per file `url`, `path` in the folder, `size` in bytes, modification `mark`. Raises SourceError."""
        yield self._batches()

    def known_columns(self) -> tuple[str, ...]:
        return tuple(_SCHEMA.names)

    @contextmanager
    def serve(self) -> Iterator[Mapping[str, str]]:
        """With `serve_files`, the folder under the host of `base_url`."""
        if not self.serve_files:
            yield {}
            return
        if not self._is_local:
            raise SourceError(f"{self.path} is no folder on this disk, and serve_files serves no other; remove it")
        with serve_folder(Path(self._root), unquote(urlsplit(self._base).path)) as address:
            yield {parse_url(self._base).host: address}

    def pages(self, rows: pa.Table, shard: Shard) -> Iterator[RawPage]:
        """One per row. A file that is gone, leads out of the folder or cannot be read says so in its status."""
        for url, path in zip(rows["url"].to_pylist(), rows["path"].to_pylist(), strict=True):
            yield self._page(url, path)

    def page_identity(self) -> Any:
        """How much of a file is read."""
        return {"max_file_bytes": self.max_file_bytes}

    @property
    def _base(self) -> str:
        return self.base_url if self.base_url.endswith("/") else f"{self.base_url}/"

    @property
    def _place(self) -> tuple[Any, str]:
        fs, path = fsspec.core.url_to_fs(self.path)
        return fs, str(path)

    @property
    def _is_local(self) -> bool:
        return isinstance(self._place[0], LocalFileSystem)

    @cached_property
    def _root(self) -> str:
        """The folder that paths are told from."""
        fs, path = self._place
        if not has_magic(path):
            return (path if fs.isdir(path) else os.path.dirname(path)).rstrip("/")
        steps = path.split("/")
        first = next(n for n, step in enumerate(steps) if has_magic(step))
        return "/".join(steps[:first])

    def _files(self) -> list[tuple[str, int, str]]:
        """Path in the folder, size and mark of each file, sorted. Raises SourceError."""
        fs, path = self._place
        try:
            if has_magic(path):
                infos = fs.glob(path, detail=True)
            else:
                infos = {path: fs.info(path)} if fs.isfile(path) else fs.find(path, detail=True)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot look into {self.path}: {error}; check [source] path") from error
        found = sorted(_file(info, self._root) for info in infos.values() if info["type"] != "directory")
        pages = [file for file in found if file[0].lower().endswith(ENDINGS)]
        if not pages:
            raise SourceError(f"no file that ends in {', '.join(ENDINGS)} at {self.path}; check [source] path")
        return pages

    def _batches(self) -> Iterator[pa.RecordBatch]:
        files = self._files()
        for start in range(0, len(files), _BATCH_ROWS):
            rows = [(self._url(path), path, size, mark) for path, size, mark in files[start : start + _BATCH_ROWS]]
            yield pa.record_batch([list(values) for values in zip(*rows, strict=True)], schema=_SCHEMA)

    def _url(self, path: str) -> str:
        if self.base_url:
            return self._base + quote(path)
        full = f"{self._root}/{path}"
        return Path(full).as_uri() if self._is_local else str(self._place[0].unstrip_protocol(full))

    def _page(self, url: str, path: str) -> RawPage:
        try:
            with self._open(path) as file:
                body = file.read(self.max_file_bytes + 1)
        except FileNotFoundError:
            return RawPage(url, status="file_gone", detail=f"{path} is no file inside {self._root}", file=path)
        except Exception as error:  # noqa: BLE001 - every store's client has exceptions of its own
            return RawPage(url, status="file_unreadable", detail=f"{type(error).__name__}: {error}"[:200], file=path)
        if len(body) > self.max_file_bytes:
            return RawPage(url, status="too_large", detail=f"more than {self.max_file_bytes} bytes", file=path)
        return RawPage(url, body, file=path)

    def _open(self, path: str) -> IO[bytes]:
        if self._is_local:
            found = inside(Path(self._root), path)
            if found is None:
                raise FileNotFoundError(path)
            return open(found, "rb")
        handle: IO[bytes] = self._place[0].open(f"{self._root}/{path}", "rb")
        return handle


def _file(info: Mapping[str, Any], root: str) -> tuple[str, int, str]:
    path = str(info["name"]).removeprefix(f"{root}/").encode("utf-8", "replace").decode()
    return path, int(info["size"] or 0), mark_of(info)
