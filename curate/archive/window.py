"""Any bytes of a large file, read in blocks: what the readers of compressed members look through."""

from __future__ import annotations

import io
from typing import IO

__all__ = ["Window"]

BLOCK_BYTES = 1 << 20


class Window:
    """The bytes `begin` to `end` of a seekable file, by absolute offset. Holds one block of a MiB.

    `tries` counts places that looked like a unit of an archive and were none, for those who look for one.
    """

    def __init__(self, file: IO[bytes], begin: int = 0, end: int | None = None) -> None:
        self._file = file
        self.begin = begin
        self.end = file.seek(0, io.SEEK_END) if end is None else end
        self.tries = 0
        self._start = 0
        self._data = b""

    def part(self, begin: int, end: int) -> Window:
        """A window on some of these bytes."""
        return Window(self._file, begin, min(end, self.end))

    def at(self, offset: int, size: int) -> memoryview:
        """`size` bytes from `offset`, fewer at the end. Raises OSError where the file does."""
        size = max(0, min(size, self.end - offset))
        gap = offset - self._start
        if gap < 0 or gap + size > len(self._data):
            self._load(offset, max(size, BLOCK_BYTES))
            gap = 0
        return memoryview(self._data)[gap : gap + size]

    def find(self, pattern: bytes, offset: int, stop: int) -> int | None:
        """Where `pattern` begins next at or after `offset`, and before `stop`."""
        while offset < stop:
            self.at(offset, len(pattern))
            found = self._data.find(pattern, offset - self._start)
            if found >= 0:
                return self._start + found if self._start + found < min(stop, self.end) else None
            behind = self._start + len(self._data) - len(pattern) + 1
            if behind <= offset:
                return None
            offset = behind
        return None

    def _load(self, offset: int, size: int) -> None:
        self._file.seek(offset)
        wanted = max(0, min(size, self.end - offset))
        parts: list[bytes] = []
        while wanted and (part := self._file.read(wanted)):
            parts.append(part)
            wanted -= len(part)
        self._start, self._data = offset, parts[0] if len(parts) == 1 else b"".join(parts)
