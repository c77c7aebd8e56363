"""An archive, or part of one, as a file on any fsspec URL: read by ranges, tried again, with one kind of error.

Object stores and web servers fail now and then, each client with exceptions of its own. A read is tried three times.
What is final then, an archive that is not there or not for us, is told of as a page's status. Anything else may be over
tomorrow: it fails the shard, which is tried again and set aside, so that an outage never becomes data.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import IO, Any, TypeVar, cast

import fsspec

from curate.errors import StorageError
from curate.storage import plain_errors

__all__ = ["UNREADABLE", "is_final", "open_archive", "read_range", "size_of"]

UNREADABLE = "archive_unreadable"
"""The status of a page that stands for what could not be opened or read."""

_PAUSES_S = (0.5, 4.0)
_FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, ValueError, ImportError)
_LATER = (408, 425, 429)
"""Answers of a web server that ask for patience."""
T = TypeVar("T")


def open_archive(url: str) -> IO[bytes]:
    """Open for reading, seekable. It and its reads raise StorageError, with the URL and the cause, and nothing else."""
    return cast(IO[bytes], _ArchiveFile(url))


def is_final(error: StorageError) -> bool:
    """Whether reading again cannot help: it is not there, not for us, or no archive's URL at all."""
    status = getattr(error.__cause__, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in _LATER
    return refused or isinstance(error.__cause__, (*_FINAL, FileNotFoundError))


def size_of(url: str) -> int | None:
    """Bytes of a file; None where that cannot be told."""
    try:
        with plain_errors(f"look at {url}"):
            fs, path = fsspec.core.url_to_fs(url)
            size = fs.size(path)
            return None if size is None else int(size)
    except (StorageError, FileNotFoundError):
        return None


def read_range(url: str, offset: int, size: int) -> bytes:
    """`size` bytes from `offset`, fewer at the file's end: one request, and no more is read. Raises StorageError."""

    def read() -> bytes:
        fs, path = fsspec.core.url_to_fs(url)
        if "http" not in fs.protocol:
            return bytes(fs.cat_file(path, start=offset, end=offset + size))
        with fs.open(path, "rb", size=offset + size, cache_type="none") as file:  # a web server may not know ranges
            file.seek(offset)
            return bytes(file.read(size))

    return _repeated(url, read)


class _ArchiveFile(io.RawIOBase):
    """A file whose reads are repeated when they fail."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._file = _repeated(url, lambda: _open(url))

    def read(self, size: int = -1) -> bytes:
        at = self._file.tell()
        return _repeated(self._url, lambda: _read(self._file, at, size))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()


def _repeated(url: str, call: Callable[[], T]) -> T:
    """What `call` returns, tried three times unless the answer is final. Raises StorageError."""
    for pause_s in (*_PAUSES_S, None):
        try:
            with plain_errors(f"read {url}"):
                return call()
        except FileNotFoundError as error:
            raise StorageError(f"cannot read {url}: there is no such file") from error
        except StorageError as error:
            if pause_s is None or is_final(error):
                raise
            time.sleep(pause_s)
    raise AssertionError


def _open(url: str) -> Any:
    fs, path = fsspec.core.url_to_fs(url)
    return fs.open(path, "rb")


def _read(file: Any, offset: int, size: int) -> bytes:
    file.seek(offset)
    return bytes(file.read(size))
