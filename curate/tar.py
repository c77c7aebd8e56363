"""Tar bytes: written by us, byte for byte the same for the same samples.

webdataset's and img2dataset's writers put a float mtime into a PAX header, 1,024 bytes before every member, and
so never write the same file twice. Ours is plain USTAR with a fixed integer mtime and one owner: 12 % smaller, and
two runs can be compared by digest. Only a name that USTAR cannot hold gets a PAX header, a fixed one.

Reading is for files that anybody may have written. The standard library's reader takes as much memory as a header
says, loops on a negative size, and ends without a word at a damaged header; this one walks the headers itself,
holds at most `MOST_NAME_BYTES` of any of them, and tells where an archive breaks. Nothing is ever extracted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from curate.errors import ShardError

__all__ = ["Member", "TarWriter", "member_header", "read_members", "split_name"]

BLOCK = 512
END = b"\0" * (2 * BLOCK)
MTIME = 0
MOST_MEMBER_BYTES = 8 << 30
MOST_NAME_BYTES = 1 << 20
"""Bound on a PAX or GNU header's data; real ones are a few hundred bytes."""
MOST_LENGTH_DIGITS = 7
USED = frozenset({"path", "size", "GNU.sparse"})
"""Fields of a PAX header that say where a member is and whether it is one; the others are not kept."""

REGULAR = frozenset(b"07\0")
WITHOUT_DATA = frozenset(b"123456")
PAX, PAX_GLOBAL, GNU_NAME, GNU_LINK, GNU_SPARSE = b"xgLKS"


@dataclass(frozen=True)
class Member:
    """Where one file lies in a tar: `offset` and `size` in bytes give the data, for a range read."""

    name: str
    offset: int
    size: int


def member_header(name: str, size: int) -> bytes:
    """The bytes before a regular file's data: 512 where `name` is at most 100 ASCII bytes, else 1,536 or more.

    Raises ShardError for a size of 8 GiB or more.
    """
    if size >= MOST_MEMBER_BYTES:
        raise ShardError(f"member {name!r} has {size} bytes and does not fit a tar header: below 8 GiB")
    if name.isascii() and len(name) <= 100:
        return _ustar(name.encode(), size, b"0")
    record = _pax_record("path", name)
    padding = b"\0" * (-len(record) % BLOCK)
    short = name.encode("ascii", "replace")[-100:]
    return _ustar(b"pax_header", len(record), b"x") + record + padding + _ustar(short, size, b"0")


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
        self.members.append(Member(name, self.position + len(header), len(data)))
        self.position += len(header) + len(data) + (-len(data) % BLOCK)

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
    """Regular files of a tar in order, without their data. `source` must be seekable; `name` is for the message.

    Links, devices, folders and global PAX headers are passed over. Raises ShardError where the archive is broken or
    ends inside a member, after yielding the whole members before that place.
    """
    total = source.seek(0, 2)
    position = 0
    pax: dict[str, str] = {}
    while (header := _read_at(source, position, BLOCK)).strip(b"\0"):
        try:
            kind, size = _kind_and_size(header, pax)
            data = position + BLOCK
            if data + size > total:
                raise ValueError("it ends inside a member")
            if kind in (PAX, GNU_NAME):
                pax |= _long_header(_read_at(source, data, _bounded(size)), kind)
            elif kind in REGULAR and "GNU.sparse" not in pax:
                yield Member(pax.get("path") or _short_name(header), data, size)
        except ValueError as error:
            raise ShardError(f"{name} is not a whole tar: {error}, at byte {position}") from error
        if kind not in (PAX, GNU_NAME, PAX_GLOBAL, GNU_LINK):
            pax = {}
        position = data + size + (-size % BLOCK)


def _ustar(name: bytes, size: int, kind: bytes) -> bytes:
    fields = (
        name.ljust(100, b"\0"),
        b"0000444\0" + b"0000000\0" * 2,
        b"%011o\0%011o\0" % (size, MTIME),
        b" " * 8,
        kind,
        b"\0" * 100,
        b"ustar\x0000",
        b"\0" * 247,
    )
    header = b"".join(fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _pax_record(key: str, value: str) -> bytes:
    """`"30 path=..."` and a line end, where the number counts itself."""
    body = f" {key}={value}\n".encode("utf-8", "replace")
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return str(length).encode() + body


def _read_at(source: IO[bytes], position: int, size: int) -> bytes:
    source.seek(position)
    return source.read(size)


def _kind_and_size(header: bytes, pax: dict[str, str]) -> tuple[int, int]:
    """The type flag, and the bytes of data that follow. Raises ValueError."""
    if len(header) < BLOCK:
        raise ValueError("a header is cut short")
    plain = header[:148] + b" " * 8 + header[156:]
    said, unsigned = _number(header[148:156]), sum(plain)
    if said != unsigned and said != unsigned - 256 * sum(byte > 127 for byte in plain):
        raise ValueError("a header has a wrong checksum")
    kind = header[156]
    if kind == GNU_SPARSE:
        raise ValueError("it holds a sparse file")
    size = int(pax["size"]) if "size" in pax and kind in REGULAR else _number(header[124:136])
    if size < 0:
        raise ValueError("a size is negative")
    return kind, 0 if kind in WITHOUT_DATA else size


def _number(field: bytes) -> int:
    """A header field in octal, or in GNU's base 256. Raises ValueError."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:]) if field[0] == 0x80 else -1
    text = field.split(b"\0", 1)[0].strip()
    if text.strip(b"01234567"):
        raise ValueError(f"a header has {text!r} where a number belongs")
    return int(text, 8) if text else 0


def _bounded(size: int) -> int:
    if size > MOST_NAME_BYTES:
        raise ValueError(f"a name of {size} bytes")
    return size


def _long_header(data: bytes, kind: int) -> dict[str, str]:
    """The fields of a PAX header, or the path in a GNU one. Raises ValueError."""
    if kind == GNU_NAME:
        return {"path": data.split(b"\0", 1)[0].decode("utf-8", "replace")}
    found: dict[str, str] = {}
    place, end = 0, len(data.rstrip(b"\0"))
    while place < end:
        space = data.find(b" ", place, place + MOST_LENGTH_DIGITS + 1)
        stop = place + int(data[place:space]) if space > place else 0
        record = data[space + 1 : max(stop, 0)]
        if not record.endswith(b"\n"):
            raise ValueError("a PAX header is malformed")
        key, _, value = record[:-1].partition(b"=")
        name = "GNU.sparse" if key.startswith(b"GNU.sparse") else key.decode("utf-8", "replace")
        if name in USED:
            found[name] = value.decode("utf-8", "replace")
        place = stop
    return found


def _short_name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    return name.decode("utf-8", "replace")
