"""Bars on a terminal: a line for each step that goes on, the others folded into a line each.

One block at the bottom, painted anew twice a second by a thread of its own, so that clocks go on while the scheduler
waits for a barrier. tqdm's own bars hold their place by counting lines and break when a terminal is resized or has
fewer lines than bars; a block is cut to the terminal as it is at that moment. Nothing is painted before a unit has
started, and at the end the block goes: a run that finds everything done leaves no trace.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TextIO

from tqdm import tqdm
from tqdm.utils import disp_len, disp_trim

from curate.run.ledger import SUCCESS, Ledger, StepSums
from curate.run.progress import Event, Retried, SetAside, Started, Trouble

__all__ = ["Bars", "Look", "block"]

PAINT_S = 0.5
WIDEST_NAME, WIDEST_BAR, SHORTEST_BAR = 24, 20, 5
NARROWEST = 10
"""Columns of a terminal below which there is one line and no table."""
UNPRINTABLE = re.compile("[^\n\t -~\xa1-\u1fff\u2030-\u205e\u2070-\ud7ff\uf900-\ufffd\U00010000-\U000dffff]|\u061c")
"""Control characters and those that turn text around: an address or a server's words must not paint on the terminal."""
GREEN, RED, DIM, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True)
class Look:
    """What a terminal can show: columns and rows as they are now, colour, and other letters than ASCII."""

    columns: int = 80
    rows: int = 24
    colour: bool = False
    blocks: bool = True


@dataclass(frozen=True)
class _Column:
    """A column of the table: its head, its cells, and how early it goes where there is no room (0: never)."""

    head: str
    cells: tuple[str, ...]
    goes: int
    colour: str = ""

    @property
    def width(self) -> int:
        return max(int(disp_len(text)) for text in (self.head, *self.cells))


class Bars:
    """A watcher that paints the ledger on a terminal. `close` takes the block away."""

    def __init__(self, ledger: Ledger, stream: TextIO, colour: bool = True) -> None:
        self._ledger, self._stream = ledger, stream
        self._look = Look(colour=colour, blocks=(stream.encoding or "").lower().startswith("utf"))
        self._shown: list[int] = []
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case Started() if self._thread is None:
                self._thread = threading.Thread(target=self._go_on, daemon=True, name="bars")
                self._thread.start()
            case Trouble():
                self._say(event.text)
            case Retried():
                once_more = f"tried {event.attempt} of {event.attempts} times, runs again"
                self._say(f"shard {event.shard}, step {event.step}: {once_more}: {_last_line(event.error)}")
            case SetAside():
                self._say(f"shard {event.shard} is set aside: {event.step}: {_last_line(event.error)}")

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._write(self._back())

    def _go_on(self) -> None:
        while not self._closed.wait(PAINT_S):
            with self._lock:
                self._paint()

    def _say(self, text: str) -> None:
        """A message above the block, there to stay."""
        clean = UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}" if self._look.blocks else "?", text)
        with self._lock:
            shown = bool(self._shown)
            self._write(self._back() + _coloured(clean, RED, self._look) + "\n")
            if shown:
                self._paint()

    def _paint(self) -> None:
        look = self._now()
        lines = block(self._ledger, look)
        above = self._back(look.columns, clear=False)
        self._shown = [disp_len(_plain(line)) for line in lines]
        self._write(above + "\x1b[K\n".join(lines) + "\x1b[K\x1b[J")

    def _back(self, columns: int | None = None, clear: bool = True) -> str:
        """Go to the block's first line. Where the terminal became narrower, lines have been wrapped to several."""
        if not self._shown:
            return ""
        width = max(1, columns or self._now().columns)
        up = sum(max(1, -(-length // width)) for length in self._shown) - 1
        self._shown = []
        return "\r" + (f"\x1b[{up}A" if up else "") + ("\x1b[J" if clear else "")

    def _now(self) -> Look:
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return self._look
        return replace(self._look, columns=size.columns or 80, rows=size.lines or 24)

    def _write(self, text: str) -> None:
        """A terminal that was closed does not end the run."""
        if not text:
            return
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def block(ledger: Ledger, look: Look) -> list[str]:
    """The lines that fit a terminal: what goes on as a whole, a table of the steps under way, what is done, what waits.

    Where there are more steps under way than lines, the ones that took most seconds are shown: they decide the end.
    """
    now, every = ledger.clock(), ledger.steps()
    phase = set(ledger.phase)
    done = [step for step in every if step.complete]
    going = [step for step in every if step.label in phase and not step.complete and step.started is not None]
    found = [step for step in every if not step.complete and step.started is None and 0 < step.opened <= step.done]
    begun = {step.label for step in (*done, *going, *found)}
    folds = {
        "done": [step.label for step in done],
        "done so far": [step.label for step in found],
        "waiting": [step.label for step in every if step.label not in begun],
        "failed": _failures(every),
    }
    room = look.rows - 3 - sum(map(bool, folds.values()))
    shown = {step.label for step in going}
    if len(going) > room:
        slowest = sorted(going, key=lambda step: -step.seconds["total"])
        shown = {step.label for step in slowest[: max(0, room - 1)]}
        folds = {"under way": [step.label for step in going if step.label not in shown], **folds}
    texts = [_whole(ledger, now, f"{len(done)} of {len(every)} steps done")]
    texts += [_folded(name, own, look) for name, own in folds.items() if own]
    whole, *rest = (_coloured(_cut(text, look), DIM, look) for text in texts)
    table = _table([step for step in going if step.label in shown], now, look)
    return [whole, *table, *rest][: max(1, look.rows - 1)]


def _failures(steps: Sequence[StepSums]) -> list[str]:
    """Fetches that failed, by status, the most frequent first."""
    found: Counter[str] = Counter()
    for step in steps:
        found.update({status: rows for status, rows in step.statuses.items() if status != SUCCESS})
    return [f"{_short(rows)} {status}" for status, rows in found.most_common()]


def _whole(ledger: Ledger, now: float, done: str) -> str:
    """One line on the run as a whole; what was not all well is named when there is any."""
    told = [done, f"{ledger.in_flight} in flight"]
    told += [f"{ledger.retried} retried"] if ledger.retried else []
    told += [f"workers lost: {ledger.lost}"] if ledger.lost else []
    told += [f"shards set aside: {ledger.failed}"] if ledger.failed else []
    told += [tqdm.format_interval(now - ledger.begun)] if ledger.begun is not None else []
    left = ledger.left_s()
    return ", ".join([*told, f"left of this phase {tqdm.format_interval(left)}"] if left is not None else told)


def _table(steps: Sequence[StepSums], now: float, look: Look) -> list[str]:
    """A head and a line a step, in as many columns as there is room for."""
    if not steps or look.columns < NARROWEST:
        return []
    columns = _columns(steps, now, look)
    room = look.columns - 1
    while len(columns) > 1 and _width(columns) > room:
        columns.remove(max(columns, key=lambda column: column.goes))
    bar = min(WIDEST_BAR, room - _width(columns) - 1)
    if bar >= SHORTEST_BAR:
        columns.insert(1, _Column("", tuple(_bar(step.ratio, bar, look) for step in steps), 0, GREEN))
    head = _coloured(_line(columns, [column.head for column in columns], look, colours=False), DIM, look)
    return [head, *(_line(columns, cells, look) for cells in zip(*(c.cells for c in columns), strict=True))]


def _columns(steps: Sequence[StepSums], now: float, look: Look) -> list[_Column]:
    most = min(WIDEST_NAME, max(8, look.columns // 3))
    failed = tuple(_short(step.failures) if step.failures else "" for step in steps)
    told = [
        _Column("step", tuple(_trimmed(step.label, most) for step in steps), 0),
        _Column("", tuple(_percent(step.ratio) for step in steps), 2),
        _Column("shards", tuple(_of(step.done, step.planned) for step in steps), 5),
        _Column("rows", tuple(_rows(step) for step in steps), 6),
        _Column("rows/s", tuple(_short(step.rate(now)) for step in steps), 4),
        _Column("failed", failed, 3, RED),
        _Column("left", tuple(_left(step, now) for step in steps), 1),
    ]
    return [column for column in told if any(column.cells)]


def _line(columns: Sequence[_Column], cells: Sequence[str], look: Look, colours: bool = True) -> str:
    """One line, the first column to the left and the others to the right."""
    parts = []
    for number, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        pad = " " * (column.width - disp_len(cell))
        cell = cell + pad if number == 0 else pad + cell
        parts.append(_coloured(cell, column.colour if colours else "", look))
    return " ".join(parts)


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(columns) - 1


def _bar(ratio: float | None, width: int, look: Look) -> str:
    full, empty = ("\N{FULL BLOCK}", "\N{LIGHT SHADE}") if look.blocks else ("#", ".")
    done = int((ratio or 0.0) * width)
    return full * done + empty * (width - done)


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{int(100 * ratio)}%"


def _of(done: int, planned: int | None) -> str:
    return f"{_short(done)}/{'?' if planned is None else _short(planned)}"


def _rows(step: StepSums) -> str:
    if not step.done_rows and not step.planned_rows:
        return ""
    return _of(step.done_rows, None if step.planned is None else step.planned_rows)


def _left(step: StepSums, now: float) -> str:
    """Time left; where that is not known, for how long it has been going on."""
    left = step.left_s(now)
    if left is not None:
        return str(tqdm.format_interval(left))
    return f"+{tqdm.format_interval(now - step.started)}" if step.started is not None else ""


def _short(number: float | None) -> str:
    """A number in 5 letters at most: 9999, 12.3k, 4.56M."""
    if number is None:
        return ""
    if number < 10_000:
        return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.1f}"
    return str(tqdm.format_sizeof(number))


def _folded(name: str, labels: Sequence[str], look: Look) -> str:
    """As many labels as there is room for, and how many more there are."""
    for shown in range(len(labels), 0, -1):
        rest = f" and {len(labels) - shown} more" if shown < len(labels) else ""
        text = f"{name}: {', '.join(_trimmed(label, WIDEST_NAME) for label in labels[:shown])}{rest}"
        if disp_len(text) < look.columns:
            return text
    return f"{name}: {len(labels)}"


def _trimmed(label: str, most: int) -> str:
    clean = UNPRINTABLE.sub("?", label).replace("\n", " ").replace("\t", " ")
    return clean if disp_len(clean) <= most else disp_trim(clean, most - 2) + ".."


def _cut(text: str, look: Look) -> str:
    return str(disp_trim(text, max(1, look.columns - 1)))


def _coloured(text: str, colour: str, look: Look) -> str:
    return f"{colour}{text}{PLAIN}" if look.colour and colour and text.strip() else text


def _plain(line: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", line)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2][:400]
