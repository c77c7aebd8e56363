"""The few calls we make on a folder, which may be a disk or a bucket.

Everything durable goes through here, so the guarantee is stated once: a name is either absent, or holds a
whole file. On a disk that is a temporary name and a rename; on an object store a put is already whole, and a
move is a copy inside the store followed by a delete. `create` is the one call that decides a race: of all who
try, one gets True (link(2) on a disk, a conditional put on a store).

What `write` and `create` have put survives a power cut; what `move` does may be undone by one, and is repeated.
A `Storage` holds a URL and nothing else, so it can be sent to any worker. A relative path is made absolute at once,
because workers have working directories of their own. Names that end in `.tmp` are ours, and are never listed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import fsspec

from curate.errors import CurateError, StorageError

__all__ = ["Storage", "plain_errors"]

_CAUSES = {
    errno.ENOSPC: "the disk is full. Free space or choose another --out",
    errno.EDQUOT: "the disk quota is used up. Free space or choose another --out",
    errno.EFBIG: "the file is larger than allowed here. Raise the limit or take fewer samples per shard",
    errno.EACCES: "permission denied. Change the permissions or choose another --out",
    errno.EPERM: "not permitted, perhaps a file system without hard links. Choose another --out",
    errno.ENOTDIR: "there is a file where a folder is needed. Choose another --out",
    errno.EROFS: "the file system is read-only. Choose another --out",
}


@contextmanager
def plain_errors(action: str) -> Iterator[None]:
    """Turn what a disk or a store raises into one line, `cannot <action>: <cause>`, as StorageError.

    FileNotFoundError and FileExistsError pass, for they are answers.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, CurateError):
        raise
    except OSError as error:
        cause = _CAUSES.get(error.errno or 0) or error.strerror or str(error)
        raise StorageError(f"cannot {action}: {cause}") from error
    except Exception as error:  # every store's client has exceptions of its own
        raise StorageError(f"cannot {action}: {type(error).__name__}: {error}") from error


def _store(root: str) -> tuple[Any, str]:
    return _store_of(root, os.getpid())


@lru_cache(maxsize=64)
def _store_of(root: str, process: int) -> tuple[Any, str]:
    """A client per process, since their event loops do not survive a fork; without its cache of listings."""
    with plain_errors(f"open {root}"):
        fs, path = fsspec.core.url_to_fs(root, use_listings_cache=False)
    return fs, path.rstrip("/")


@dataclass(frozen=True)
class Storage:
    """A folder on any fsspec URL. Names are relative, with `/`, and never leave the folder.

    Raises `StorageError` where the store refuses, and `FileNotFoundError` where a name is absent.
    """

    root: str

    def __post_init__(self) -> None:
        root = self.root.removeprefix("file://")
        plain = root.rstrip("/") if "://" in root else os.path.abspath(root)
        object.__setattr__(self, "root", plain)

    @property
    def local(self) -> Path | None:
        """The folder as a path, when it is on a disk; None on an object store."""
        return None if "://" in self.root else Path(self.root)

    def path(self, name: str) -> str:
        """The full path of `name`, in the store's own terms. Raises StorageError for a name that leaves the folder."""
        if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
            raise StorageError(f"{name!r} is not a name inside {self.root}")
        root = _store(self.root)[1] if "://" in self.root else self.root
        return f"{root}/{name}".rstrip("/")

    def files(self, folder: str = "") -> dict[str, int]:
        """Files directly in `folder`: name (with the folder) to size in bytes. Empty when the folder is absent."""
        prefix = f"{folder}/" if folder else ""
        with plain_errors(f"list {self.path(folder)}"):
            if self.local is not None:
                return dict(_scan(self.local / folder, prefix))
            found = self._entries(folder, "file")
            return {prefix + name: size for name, size in found.items() if not name.endswith(".tmp")}

    def names(self, prefix: str) -> list[str]:
        """Names in the folder itself that begin with `prefix`, sorted; cheap among a hundred thousand others."""
        with plain_errors(f"list {self.root}"), suppress(FileNotFoundError):
            if self.local is not None:
                return sorted(n for n in os.listdir(self.local) if n.startswith(prefix) and not n.endswith(".tmp"))
            fs, root = _store(self.root)
            found = (path.removeprefix(f"{root}/") for path in fs.find(root, prefix=prefix))
            return sorted(n for n in found if n.startswith(prefix) and "/" not in n and not n.endswith(".tmp"))
        return []

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in `folder`, sorted. Empty when it is absent."""
        with plain_errors(f"list {self.path(folder)}"):
            if self.local is not None:
                base = self.local / folder
                return sorted(p.name for p in base.iterdir() if p.is_dir()) if base.is_dir() else []
            return sorted(self._entries(folder, "directory"))

    def exists(self, name: str) -> bool:
        """Whether a whole file of this name is there now."""
        with plain_errors(f"look for {self.path(name)}"):
            if self.local is not None:
                return os.path.isfile(self.path(name))
            return bool(_store(self.root)[0].exists(self.path(name)))

    def size(self, name: str) -> int:
        """Bytes of a file. Raises FileNotFoundError."""
        with plain_errors(f"look at {self.path(name)}"):
            if self.local is not None:
                return os.path.getsize(self.path(name))
            return int(_store(self.root)[0].size(self.path(name)))

    def newest(self, folder: str) -> float:
        """Unix time of the last change in a folder and below it; 0 when it is absent, now when it changes meanwhile."""
        with plain_errors(f"look at {self.path(folder)}"):
            try:
                return max(self._times(folder), default=0.0)
            except FileNotFoundError:
                return time.time()

    def open(self, name: str) -> IO[bytes]:
        """Open for reading, seekable. Raises FileNotFoundError."""
        with plain_errors(f"read {self.path(name)}"):
            if self.local is not None:
                return open(self.path(name), "rb")
            handle: IO[bytes] = _store(self.root)[0].open(self.path(name), "rb")
            return handle

    def read(self, name: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        with plain_errors(f"read {self.path(name)}"):
            if self.local is not None:
                return (self.local / name).read_bytes()
            return bytes(_store(self.root)[0].cat_file(self.path(name)))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, fewer at the file's end; one request on a store. Raises FileNotFoundError."""
        with plain_errors(f"read {self.path(name)}"):
            if self.local is None:
                return bytes(_store(self.root)[0].cat_file(self.path(name), start=offset, end=offset + size))
            with open(self.path(name), "rb", buffering=0) as handle:
                return os.pread(handle.fileno(), size, offset)

    def write(self, name: str, data: bytes) -> None:
        """Put a whole file at `name`, replacing what was there in one step."""
        target = self.path(name)
        with plain_errors(f"write {target}"):
            if self.local is None:
                _store(self.root)[0].pipe_file(target, data)
                return
            with _beside(target, data) as temporary:
                os.replace(temporary, target)
                sync_folder(os.path.dirname(target))

    def create(self, name: str, data: bytes) -> bool:
        """Put a file only where none is; True for the caller whose bytes are there afterwards, so let them differ.

        The bytes are compared, because a store (or NFS) may have taken ours and lost its answer on the way.
        """
        target = self.path(name)
        with plain_errors(f"write {target}"):
            try:
                if self.local is None:
                    _store(self.root)[0].pipe_file(target, data, mode="create")
                else:
                    with _beside(target, data) as temporary:
                        os.link(temporary, target)
                    sync_folder(os.path.dirname(target))
            except FileExistsError:
                return self.read(name) == data
        return True

    def upload(self, source: Path, name: str) -> None:
        """Move a finished local file to `name`."""
        target = self.path(name)
        with plain_errors(f"write {target}"):
            if self.local is None:
                _store(self.root)[0].put_file(str(source), target)
            else:
                _make_folder(target)
                temporary = _temporary(target)
                shutil.copyfile(source, temporary)
                os.replace(temporary, target)
            source.unlink()

    def move(self, source: str, target: str) -> None:
        """Rename inside the folder, replacing `target`. On a store: copy there, then delete."""
        old, new = self.path(source), self.path(target)
        with plain_errors(f"move {old} to {new}"):
            if self.local is not None:
                _make_folder(new)
                os.replace(old, new)
                return
            fs, _ = _store(self.root)
            fs.cp_file(old, new)
            fs.rm_file(old)

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens when it is absent."""
        with plain_errors(f"delete {self.path(name)}"), suppress(FileNotFoundError):
            if self.local is not None:
                os.unlink(self.path(name))
            else:
                _store(self.root)[0].rm_file(self.path(name))

    def delete_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it; nothing happens when it is absent."""
        if not folder:
            raise StorageError(f"refusing to delete all of {self.root}")
        if self.local is not None:
            shutil.rmtree(self.path(folder), ignore_errors=True)
            return
        with plain_errors(f"delete {self.path(folder)}"), suppress(FileNotFoundError):
            _store(self.root)[0].rm(self.path(folder), recursive=True)

    def sweep_temporaries(self, older_than_s: float) -> None:
        """Remove what writers that were killed left on a disk: files of ours that were never renamed, so long ago."""
        if self.local is None:
            return
        with plain_errors(f"clear {self.root}"):
            for base, _, names in os.walk(self.local):
                for name in filter(TEMPORARY.search, names):
                    with suppress(FileNotFoundError):
                        left = os.path.join(base, name)
                        if time.time() - os.path.getmtime(left) > older_than_s:
                            os.unlink(left)

    def _times(self, folder: str) -> list[float]:
        if self.local is not None:
            base = self.local / folder
            return [p.stat().st_mtime for p in [base, *base.rglob("*")]] if base.is_dir() else []
        fs = _store(self.root)[0]
        return [fs.modified(path).timestamp() for path in fs.find(self.path(folder))]

    def _entries(self, folder: str, kind: str) -> dict[str, int]:
        path = self.path(folder)
        try:
            found = _store(self.root)[0].ls(path, detail=True)
        except FileNotFoundError:
            return {}
        here = [f for f in found if f["type"] == kind and f["name"].strip("/") != path.strip("/")]
        return {f["name"].rstrip("/").rsplit("/", 1)[1]: int(f["size"] or 0) for f in here}


TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.tmp\Z")


def _temporary(target: str) -> str:
    """A name of its own beside `target`."""
    return f"{target}.{uuid.uuid4().hex[:12]}.tmp"


def sync_folder(folder: str | Path) -> None:
    """Make the names in a local folder survive a power cut, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def _scan(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it went between the listing and the look
                if entry.is_file() and not entry.name.endswith(".tmp"):
                    yield prefix + entry.name, entry.stat().st_size


def _make_folder(target: str) -> None:
    """The folder that a file is to lie in."""
    folder = os.path.dirname(target)
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise StorageError(f"{folder} is a file where a folder is needed; choose another --out") from None
    except FileNotFoundError:  # such as in /proc
        raise StorageError(f"no folder can be made at {folder}; choose another --out") from None


@contextmanager
def _beside(target: str, data: bytes) -> Iterator[str]:
    """A durable temporary file next to `target`; gone afterwards unless it was renamed."""
    _make_folder(target)
    temporary = _temporary(target)
    try:
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
