"""A terminal for tests: a pseudo terminal of a chosen size, and what a person would see on it."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import threading
import time
from typing import TextIO

from tqdm.utils import disp_len

PIECE = re.compile(r"\x1b\[([0-9]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """Lines as a terminal with wrapping draws them; it knows no more than bars need, and raises for anything else."""

    def __init__(self, columns: int) -> None:
        self.columns, self.lines, self.row, self.column = columns, [""], 0, 0

    def feed(self, text: str) -> None:
        assert not PIECE.sub("", text), f"a terminal would be told {PIECE.sub('', text)!r}"
        for number, order, move, letters in PIECE.findall(text):
            if order:
                self._order(order, int(number or 1))
            elif move == "\r":
                self.column = 0
            elif move == "\n":
                self._down()
            for letter in letters:
                self._put(letter)

    def resize(self, columns: int) -> None:
        """Wrap anew what has become too wide, as most terminals do; the cursor stays on its line."""
        rows: list[str] = []
        for number, line in enumerate(self.lines):
            rows += [line[at : at + columns] for at in range(0, max(1, len(line)), columns)]
            self.row = len(rows) - 1 if number == self.row else self.row
        self.lines, self.columns = rows, columns
        self.column = len(self.lines[self.row])

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip()

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def _order(self, order: str, number: int) -> None:
        if order == "A":
            self.row = max(0, self.row - number)
        elif order in "KJ":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 if order == "J" else len(self.lines) :]
        else:
            assert order == "m", f"an order that bars do not need: {order}"

    def _put(self, letter: str) -> None:
        if self.column + disp_len(letter) > self.columns:
            self._down()
            self.column = 0
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + letter + line[self.column + 1 :]
        self.column += 1


class Terminal:
    """A pseudo terminal; `stream` is the program's end. What it was sent is in `sent`, and on `screen`."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._ours, self.theirs = pty.openpty()
        self.stream: TextIO = open(self.theirs, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        self.sent, self.screen = "", Screen(columns)
        self._lock = threading.Lock()
        self._size(columns, rows)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def resize(self, columns: int, rows: int) -> None:
        """Once all that was sent is on the screen; nothing may be sent meanwhile."""
        while True:
            with self._lock:
                if not fcntl.ioctl(self._ours, termios.FIONREAD, bytes(4)).strip(b"\0"):
                    self._size(columns, rows)
                    self.screen.resize(columns)
                    return
            time.sleep(0.001)

    def seen(self) -> str:
        """What is on the screen now."""
        with self._lock:
            return self.screen.text

    def close(self) -> str:
        """The end; all that is left on the screen."""
        self.stream.close()
        os.close(self.theirs)
        self._thread.join(10)
        os.close(self._ours)
        return self.screen.text

    def _size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        rest = b""
        while True:
            select.select([self._ours], [], [])
            with self._lock:
                try:
                    data = os.read(self._ours, 1 << 16)
                except OSError:
                    return
                whole, rest = _whole(rest + data)
                self.sent += whole
                self.screen.feed(whole)


def _whole(data: bytes) -> tuple[str, bytes]:
    """What can be drawn, and the beginning of a letter or an order that is still to come whole."""
    end = len(data) - (data[::-1].find(b"\x1b") + 1) if b"\x1b" in data[-8:] else len(data)
    if end < len(data) and re.match(rb"\x1b\[[0-9]*[A-Za-z]", data[end:]):
        end = len(data)
    while end:
        try:
            return data[:end].decode(), data[end:]
        except UnicodeDecodeError:
            end -= 1
    return "", data
