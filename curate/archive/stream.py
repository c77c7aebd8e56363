"""An archive as one stream of decompressed bytes that knows where the file's own units lie.

In most archives a compressed unit is a record; in some a record spans units, or a unit holds all of them. Reading
goes over the border of a unit only where the next one does not begin with a record, so a wrong length never eats its
neighbour. What cannot be decompressed ends the unit, and reading goes on at the next one that begins with a record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from curate.archive.header import HEAD_BYTES, MOST_HEADER_BYTES, Header, find_record, read_header, starts_record
from curate.archive.units import Codec, Piece
from curate.archive.window import Window

__all__ = ["Stream"]

_PADDING = re.compile(rb"[\r\n\0]*")
_ZEROS_BYTES = 65_536


class Stream:
    """Reads units from `offset` on. `problem` is why the unit ends early, once its bytes are used up."""

    def __init__(self, window: Window, codec: Codec, offset: int) -> None:
        self._window, self._codec = window, codec
        self._pieces: Iterator[Piece] = iter(())
        self._unit = offset  # where this unit lies in the file
        self._next: int | None = offset  # where the next one does, as soon as the last piece of this one came
        self._base = 0  # the place of _data in the unit's decompressed bytes
        self._data, self._at = b"", 0
        self._problem: tuple[str, str] | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Where the next byte lies: the unit's offset and the place in it; in a plain file the offset and 0."""
        inner = self._base + self._at
        return (self._unit + inner, 0) if self._codec.plain else (self._unit, inner)

    @property
    def problem(self) -> tuple[str, str] | None:
        """Why there are no more bytes in this unit, as a code and a sentence."""
        return self._problem if self._at == len(self._data) else None

    def begin(self) -> bool:
        """Go to the next byte that is not padding, or to the next problem. False at the end of the file."""
        while not self._skip_padding():
            if self.problem:
                return True
            if not self._fill() and not self.problem and not self._open():
                return False
        return True

    def is_cut(self) -> bool:
        """Whether a reader that starts here, or before, behind the last record, would begin with this record."""
        offset, inner = self.place
        return inner == 0 and self._codec.starts(self._window, offset)

    def is_in_unit(self, place: tuple[int, int]) -> bool:
        """Whether this is still the unit of a place; a plain file is one."""
        return self._codec.plain or self._unit == place[0]

    def header(self) -> Header | None:
        """The header of the record that begins here; None, and nothing is taken, where there is none."""
        if not self.starts_record():
            return None
        while (found := read_header(self._data, self._at)) is None:
            if len(self._data) - self._at >= MOST_HEADER_BYTES or not self._more():
                return None
        self._at += found[1]
        return found[0]

    def starts_record(self, behind: int = 0) -> bool:
        """Whether a record begins here, or some bytes behind."""
        while not starts_record(self._data, self._at + behind):
            if len(self._data) - self._at - behind >= HEAD_BYTES or not self._more():
                return False
        return True

    def take(self, size: int) -> bytes:
        """`size` bytes, fewer where the unit ends and the next one begins with a record."""
        parts = []
        while size > len(self._data) - self._at:
            parts.append(self._data[self._at :])
            size -= len(parts[-1])
            self._at = len(self._data)
            if not self._more():
                return b"".join(parts)
        parts.append(self._data[self._at : self._at + size])
        self._at += size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def give_back(self, data: bytes) -> None:
        """Put bytes that were just taken before the next ones."""
        self._base += self._at - len(data)
        self._data, self._at = data + self._data[self._at :], 0

    def skip_rest(self, place: tuple[int, int], size: int) -> None:
        """Pass over the last `size` bytes of a large record that began at `place`.

        In a plain file they are jumped over where a record follows them. A compressed unit that the record began is
        left, because nobody knows how much would come out of it: 1,000 bytes for each one with gzip.
        """
        if self._codec.plain and self._codec.starts(self._window, place[0]):
            self._jump(self.place[0] + size)
        elif self._codec.plain:
            self.skip_to_record(size)
        elif place[1] == 0:
            self.leave_unit()
        else:
            while size > len(self._data) - self._at:
                size -= len(self._data) - self._at
                self._at = len(self._data)
                if not self._fill():
                    return
            self._at += size

    def _jump(self, offset: int) -> None:
        """Go on at another offset of the file."""
        self._pieces = self._codec.pieces(self._window, offset)
        self._unit, self._base, self._data, self._at, self._next = offset, 0, b"", 0, None

    def at_record_end(self) -> bool:
        """Whether a record may end here: padding apart, the unit ends too, or the next record begins.

        Nothing is taken where it may not.
        """
        behind = self._padding()
        while self._at + behind == len(self._data):
            if behind > HEAD_BYTES or not self._fill():
                self._at += behind
                return True
            behind = self._padding()
        if not self.starts_record(behind):
            return False
        self._at += behind
        return True

    def is_closed(self) -> bool:
        """Whether the two line ends are here that close a WARC record."""
        return self._data.startswith((b"\r\n\r\n", b"\n\n"), self._at)

    def skip_to_record(self, most: int) -> int:
        """Pass over bytes up to a line that begins a record, or the end of the unit. Returns how many.

        A compressed unit is left after `most` bytes.
        """
        skipped = 0
        while (found := find_record(self._data, self._at)) is None:
            keep = min(HEAD_BYTES, len(self._data) - self._at)
            skipped += len(self._data) - self._at - keep
            self._at = len(self._data) - keep
            if not self._codec.plain and skipped > most:
                self.leave_unit()
                return skipped
            if not self._fill():
                self._at = len(self._data)
                return skipped + keep
        skipped += found - self._at
        self._at = found
        return skipped

    def leave_unit(self) -> None:
        """Give up the rest of this unit; go on with the next one that begins with a record."""
        found = self._codec.find(self._window, self._unit + 1, self._window.end)
        self._next = self._window.end if found is None else found
        self._pieces, self._problem = iter(()), None
        self._base += len(self._data)
        self._data, self._at = b"", 0

    def length_since(self, place: tuple[int, int]) -> int:
        """Bytes of the file from a record's place to here; 0 where it shares its unit with others."""
        offset, inner = place
        if self._codec.plain:
            return self.place[0] - offset
        whole = inner == 0 and self._at == len(self._data) and self._next is not None
        return (self._next or 0) - offset if whole else 0

    def _skip_padding(self) -> bool:
        """Whether bytes that are not padding are there."""
        self._at += self._padding()
        return self._at < len(self._data)

    def _padding(self) -> int:
        """Bytes here that only fill."""
        found = _PADDING.match(self._data, self._at)
        return found.end() - self._at if found else 0

    def _more(self) -> bool:
        """More bytes of the record that is being read, from this unit or from one that continues it."""
        if self._fill():
            return True
        if self._problem or self._next is None or self._next >= self._window.end:
            return False
        if self._codec.starts(self._window, self._next):
            return False
        return self._open(self._data[self._at :]) and self._at < len(self._data)

    def _fill(self) -> bool:
        """More bytes of this unit."""
        if self._problem:
            return False
        for piece in self._pieces:
            self._next = piece.end
            if piece.problem:
                self._problem = piece.problem, piece.detail
            if piece.data:
                self._base += self._at
                self._data = self._data[self._at :] + piece.data
                self._at = 0
                return True
        if self._next is None and not self._problem:
            self._next = self._window.end
        return False

    def _open(self, held: bytes = b"") -> bool:
        """Begin the next unit; False at the end of the file."""
        offset = self._window.end if self._next is None else self._next
        if not self._codec.plain:
            offset = _behind_zeros(self._window, offset)
        if offset >= self._window.end:
            return False
        self._jump(offset)
        self._data, self._base = held, -len(held)
        self._fill()
        return True


def _behind_zeros(window: Window, offset: int) -> int:
    """gzip allows zeros between members and behind the last one."""
    if window.at(offset, 1).tobytes() != b"\0":
        return offset
    while data := window.at(offset, _ZEROS_BYTES).tobytes():
        rest = data.lstrip(b"\0")
        if rest:
            return offset + len(data) - len(rest)
        offset += len(data)
    return offset
