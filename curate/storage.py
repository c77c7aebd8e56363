"""The few calls we make on a folder, which may be a disk or a bucket.

Everything durable goes through here, so the guarantee is stated once: a name is either absent, or holds a
whole file. On a disk that is a temporary name and a rename; on an object store a put is already whole, and a
move is a copy inside the store followed by a delete. `create` is the one call that decides a race: of all who
try, one gets True (link(2) on a disk, a conditional put on a store).

A `Storage` holds a URL and nothing else, so it can be sent to any worker.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import fsspec

from curate.errors import StorageError

__all__ = ["Storage"]


@lru_cache(maxsize=64)
def _filesystem(root: str) -> tuple[Any, str]:
    fs, path = fsspec.core.url_to_fs(root)
    return fs, path.rstrip("/")


@dataclass(frozen=True)
class Storage:
    """A folder on any fsspec URL. Names are relative, with `/`, and never leave the folder.

    Raises `StorageError` where the store refuses, and `FileNotFoundError` where a name is absent.
    """

    root: str

    @property
    def local(self) -> Path | None:
        """The folder as a path, when it is on a disk; None on an object store."""
        if "://" not in self.root:
            return Path(self.root)
        return Path(self.root[7:]) if self.root.startswith("file://") else None

    def path(self, name: str) -> str:
        """The full path of `name`, in the store's own terms. Raises StorageError for a name that leaves the folder."""
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise StorageError(f"{name!r} is not a name inside {self.root}")
        if self.local is not None:
            return str(self.local / name)
        return f"{_filesystem(self.root)[1]}/{name}"

    def files(self, folder: str = "") -> dict[str, int]:
        """Files directly in `folder`: name (with the folder) to size in bytes. Empty when the folder is absent."""
        if self.local is not None:
            return dict(_scan(self.local / folder, f"{folder}/" if folder else ""))
        fs, path = _filesystem(self.root)
        try:
            found = fs.ls(f"{path}/{folder}".rstrip("/"), detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        prefix = f"{folder}/" if folder else ""
        return {prefix + f["name"].rsplit("/", 1)[1]: int(f["size"] or 0) for f in found if f["type"] == "file"}

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in `folder`, sorted. Empty when it is absent."""
        if self.local is not None:
            base = self.local / folder
            return sorted(p.name for p in base.iterdir() if p.is_dir()) if base.is_dir() else []
        fs, path = _filesystem(self.root)
        try:
            found = fs.ls(f"{path}/{folder}".rstrip("/"), detail=True, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(f["name"].rstrip("/").rsplit("/", 1)[1] for f in found if f["type"] == "directory")

    def exists(self, name: str) -> bool:
        """Whether a whole file of this name is there now."""
        if self.local is not None:
            return os.path.exists(self.path(name))
        fs, _ = _filesystem(self.root)
        fs.invalidate_cache()
        return bool(fs.exists(self.path(name)))

    def size(self, name: str) -> int:
        """Bytes of a file. Raises FileNotFoundError."""
        if self.local is not None:
            return os.path.getsize(self.path(name))
        return int(_filesystem(self.root)[0].size(self.path(name)))

    def open(self, name: str) -> IO[bytes]:
        """Open for reading, seekable. Raises FileNotFoundError."""
        if self.local is not None:
            return open(self.path(name), "rb")
        handle: IO[bytes] = _filesystem(self.root)[0].open(self.path(name), "rb")
        return handle

    def read(self, name: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        with self.open(name) as handle:
            return handle.read()

    def write(self, name: str, data: bytes) -> None:
        """Put a whole file at `name`, replacing what was there in one step."""
        target = self.path(name)
        if self.local is None:
            _filesystem(self.root)[0].pipe_file(target, data)
            return
        temporary = _write_beside(target, data)
        os.replace(temporary, target)

    def create(self, name: str, data: bytes) -> bool:
        """Put a file only where none is; True for the one caller whose bytes are there afterwards."""
        target = self.path(name)
        if self.local is None:
            try:
                _filesystem(self.root)[0].pipe_file(target, data, mode="create")
            except FileExistsError:
                return False
            return True
        temporary = _write_beside(target, data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        return True

    def upload(self, source: Path, name: str) -> None:
        """Move a finished local file to `name`."""
        if self.local is not None:
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            shutil.move(source, self.path(name))
            return
        _filesystem(self.root)[0].put_file(str(source), self.path(name))
        source.unlink()

    def move(self, source: str, target: str) -> None:
        """Rename inside the folder, replacing `target`. On a store: copy there, then delete."""
        if self.local is not None:
            os.makedirs(os.path.dirname(self.path(target)), exist_ok=True)
            os.replace(self.path(source), self.path(target))
            return
        fs, _ = _filesystem(self.root)
        fs.cp_file(self.path(source), self.path(target))
        fs.rm_file(self.path(source))

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens when it is absent."""
        try:
            if self.local is not None:
                os.unlink(self.path(name))
            else:
                _filesystem(self.root)[0].rm_file(self.path(name))
        except FileNotFoundError:
            pass

    def delete_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it; nothing happens when it is absent."""
        if self.local is not None:
            shutil.rmtree(self.path(folder), ignore_errors=True)
            return
        fs, _ = _filesystem(self.root)
        if fs.exists(self.path(folder)):
            fs.rm(self.path(folder), recursive=True)


def _scan(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if entry.is_file():
                yield prefix + entry.name, entry.stat().st_size


def _write_beside(target: str, data: bytes) -> str:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = f"{target}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise StorageError(f"cannot write {target}: {error.strerror}. Free space or choose another --out.") from error
    return temporary
