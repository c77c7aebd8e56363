"""Pictures by the names that somebody else's annotations give them: out of one folder, and only out of it.

A name that leaves the folder, by `..`, by a leading `/` or by a link, is refused; so is what is no plain file (a pipe
would hang the worker), what is larger than 256 MiB or than Pillow opens, and what no header recognises. Opening one
costs 0.1 ms.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from functools import lru_cache

from curate.errors import StorageError
from curate.fetch.header import Refused, explain, read_header
from curate.fetch.status import FetchStatus
from curate.handover.compose_source import Size
from curate.sample import Picture
from curate.storage import Storage

__all__ = ["FoundPicture", "ImageFolder", "Unusable", "picture_of"]

MOST_PICTURE_BYTES = 256 << 20
MOST_PICTURE_PX = 178_956_970
"""Pillow opens nothing larger (`DecompressionBombError`), so a trainer would stop there; 50 kB can claim it."""
NO_FILE = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM)
"""What a disk says of names that cannot be those of a readable file; other errors are the disk's own."""


class Unusable(Exception):
    """Why a row cannot be carried: a `reason` that is counted, and what there is to add."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class FoundPicture:
    """An encoded picture, the extension of what it is, its width and height in px."""

    data: bytes
    extension: str
    size: Size

    def as_part(self, name: str) -> Picture:
        return Picture(name, self.data, self.extension, "success")


def picture_of(data: bytes) -> FoundPicture | str:
    """What the bytes are by their header; in words why they are no picture that is opened here."""
    try:
        header = read_header(data)
        if header.width * header.height > MOST_PICTURE_PX:
            raise Refused(
                FetchStatus.IMAGE_TOO_LARGE, f"{header.width} x {header.height} px, above {MOST_PICTURE_PX:,}"
            )
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile bytes, and a row needs a reason
        status, detail = explain(error, data)
        return f"{status}: {detail}"
    return FoundPicture(data, header.extension, (header.width, header.height))


@dataclass(frozen=True)
class ImageFolder:
    """The folder or fsspec URL under which an annotation's pictures lie; "" where there is none."""

    root: str

    def read(self, name: str) -> FoundPicture:
        """The picture of this name. Raises Unusable."""
        data = self._bytes(name)
        found = picture_of(data)
        if isinstance(found, str):
            raise Unusable("not_a_picture", f"{name}: {found}")
        return found

    def _bytes(self, name: str) -> bytes:
        if not self.root:
            raise Unusable("image_missing", f"{name}: the source has no image folder; set images")
        if "://" in name:
            raise Unusable("image_is_url", name)
        folder = Storage(self.root)
        plain = name.removeprefix("./")
        try:
            folder.path(plain)
        except StorageError:
            raise Unusable("image_outside", name) from None
        try:
            return _local(folder.path(""), folder.path(plain), name) if folder.local else _remote(folder, plain)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
            raise Unusable("image_missing", name) from None
        except OSError as error:
            if error.errno in NO_FILE:
                raise Unusable("image_missing", f"{name}: {error.strerror}") from None
            raise


def _local(root: str, path: str, name: str) -> bytes:
    """The bytes of a plain file whose real place is in the folder."""
    base, real = _real(root), os.path.realpath(path)
    if os.path.commonpath([base, real]) != base:
        raise Unusable("image_outside", name)
    handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise Unusable("image_missing", f"{name} is no file")
        _require_size(about.st_size, name)
        return file.read()


def _remote(folder: Storage, name: str) -> bytes:
    _require_size(folder.size(name), name)
    return folder.read(name)


def _require_size(size: int, name: str) -> None:
    if size > MOST_PICTURE_BYTES:
        raise Unusable("image_too_large", f"{name}: {size} bytes, more than {MOST_PICTURE_BYTES}")


@lru_cache(maxsize=64)
def _real(root: str) -> str:
    return os.path.realpath(root)
