"""Which files a source's `path` means, and what marks them: the same words for lists of URLs and for tars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import fsspec
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from curate.errors import SourceError

__all__ = ["InputFile", "input_files", "mark_of"]

MARKS = ("ETag", "etag", "checksum", "mtime", "LastModified", "last_modified", "updated", "created")
"""Where file systems keep what changes with a file, the surest first."""


@dataclass(frozen=True)
class InputFile:
    """One file of an input. `path` is its full URL, `mark` changes when its bytes do."""

    path: str
    format: str
    size: int
    mark: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    def identity(self) -> list[Any]:
        """Name, size and mark, JSON-like; without the folder, which may be moved."""
        return [self.name, self.size, self.mark]

    def open(self) -> IO[bytes]:
        """Open for reading, seekable."""
        fs, path = fsspec.core.url_to_fs(self.path)
        handle: IO[bytes] = fs.open(path, "rb")
        return handle


def input_files(path: str, formats: Sequence[str], mixed: bool = False) -> list[InputFile]:
    """The files that `path` names, sorted: a file, a folder, or a glob, on any fsspec URL.

    A format is told by the ending, plain or with `.gz`; when one format is asked for, or `mixed` ones are, a file or a
    glob may have any ending. Raises SourceError when there is no file, or when several formats are there, not `mixed`.
    """
    try:
        found = sorted(_found(path, formats, mixed), key=lambda f: f.path)
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"cannot look into {path}: {error}; check [source] path") from error
    if not found:
        raise SourceError(f"no {' or '.join(formats)} file at {path}; check [source] path and format")
    kinds = sorted({f.format for f in found})
    if len(kinds) > 1 and not mixed:
        raise SourceError(f"{path} holds {' and '.join(kinds)} files; say which in [source] format")
    return found


def mark_of(info: Mapping[str, Any]) -> str:
    """What changes with a file, of all that its file system says of it; "" where that says nothing."""
    return next((str(info[name]) for name in MARKS if info.get(name) is not None), "")


def _found(path: str, formats: Sequence[str], mixed: bool) -> Iterator[InputFile]:
    fs, base = fsspec.core.url_to_fs(path)
    named = has_magic(base) or fs.isfile(base)
    if has_magic(base):
        infos = list(fs.glob(base, detail=True).values())
    elif named:
        infos = [fs.info(base)]
    else:
        infos = fs.ls(base, detail=True) if fs.isdir(base) else []
    for info in infos:
        kind = _format_of(info["name"], formats)
        if kind is None and named and (mixed or len(formats) == 1):
            kind = formats[0]
        if info["type"] == "file" and kind is not None:
            full = info["name"] if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(info["name"])
            yield InputFile(full, kind, int(info["size"] or 0), mark_of(info))


def _format_of(name: str, formats: Sequence[str]) -> str | None:
    """By the ending; None for another one, and for names that begin with `.` or `_` (`_SUCCESS`)."""
    base = name.rsplit("/", 1)[-1]
    ending = base.removesuffix(".gz").rpartition(".")[2].lower()
    return ending if ending in formats and base[0] not in "._" else None
