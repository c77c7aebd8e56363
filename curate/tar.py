"""Tar bytes: written by us, byte for byte the same for the same samples.

webdataset's and img2dataset's writers put a float mtime into a PAX header, 1,024 bytes before every member, and
so never write the same file twice. Ours is plain USTAR with a fixed integer mtime and one owner: 12 % smaller, and
two runs can be compared by digest. Reading is for files that anybody may have written: it walks the headers
itself, never extracts, and takes only names that webdataset would take.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from curate.errors import ShardError

__all__ = ["Member", "TarWriter", "member_header", "read_members", "split_name"]

BLOCK = 512
END = b"\0" * (2 * BLOCK)
MTIME = 0


@dataclass(frozen=True)
class Member:
    """Where one file lies in a tar: `offset` and `size` in bytes give the data, for a range read."""

    name: str
    offset: int
    size: int


def member_header(name: str, size: int) -> bytes:
    """512 bytes of USTAR header for a regular file. `name` is at most 100 ASCII bytes, `size` below 8 GiB."""
    raw = name.encode("ascii", "strict")
    if len(raw) > 100 or size >= 8 << 30:
        raise ShardError(f"member {name!r} ({size} bytes) does not fit a USTAR header: at most 100 bytes and 8 GiB")
    header = b"".join(
        (
            raw.ljust(100, b"\0"),
            b"0000444\0",
            b"0000000\0",
            b"0000000\0",
            b"%011o\0" % size,
            b"%011o\0" % MTIME,
            b"        ",
            b"0",
            b"\0" * 100,
            b"ustar\0",
            b"00",
            b"\0" * 247,
        )
    )
    checksum = sum(header)
    return header[:148] + b"%06o\0 " % checksum + header[156:]


class TarWriter:
    """Appends members to an open binary file and remembers where each one went."""

    def __init__(self, target: IO[bytes]) -> None:
        self.target = target
        self.position = 0
        self.members: list[Member] = []

    def add(self, name: str, data: bytes | memoryview) -> None:
        """Append one member."""
        header = member_header(name, len(data))
        self.target.write(header)
        self.target.write(data)
        self.target.write(b"\0" * (-len(data) % BLOCK))
        self.members.append(Member(name, self.position + BLOCK, len(data)))
        self.position += BLOCK + len(data) + (-len(data) % BLOCK)

    def finish(self) -> None:
        """Write the end mark. The file stays open: who opened it closes it."""
        self.target.write(END)
        self.position += len(END)


def split_name(name: str) -> tuple[str, str] | None:
    """A member's (key, extension) by webdataset's rule, or None for a name that it would skip.

    The last path component is split at its first dot; the folder part stays in the key.
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    if not stem or not dot or not extension:
        return None
    return folder + slash + stem, extension.lower()


def read_members(source: IO[bytes], name: str) -> Iterator[Member]:
    """Regular files of a tar in order, without their data. `name` is for the error message.

    Links, devices and folders are passed over. Raises ShardError where the archive is broken, after yielding the
    members before that place.
    """
    try:
        with tarfile.open(fileobj=source, mode="r:") as archive:
            for info in archive:
                if info.isreg():
                    yield Member(info.name, info.offset_data, info.size)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise ShardError(f"{name} is not a whole tar: {error}") from error
