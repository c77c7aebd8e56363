"""What a person sees of a run: read back from a pseudo terminal, wide, narrow, resized, and with strangers' words."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pty_screen import Screen, Terminal
from tqdm.utils import disp_len

from curate.cli._bars import Bars, Look, block
from curate.manifest import Commit, FileRecord
from curate.run.ledger import Ledger, Vocabulary
from curate.run.progress import (
    Ended,
    Event,
    Finished,
    Opened,
    PhaseBegun,
    PhaseEnded,
    Planned,
    Retried,
    SetAside,
    Started,
    Trouble,
)  # fmt: skip

TWENTY = tuple(f"score_signal_{number:02d}" for number in range(20))


def commit(stage: str, shard: str = "00000", seconds: float = 1.0, **counts: int) -> Commit:
    named = {name.replace("__", "."): value for name, value in counts.items()}
    file = FileRecord(f"{shard}.{stage}.parquet", 10, "0")
    return Commit(stage, shard, "f", "a", (file,), named, {"total": seconds}, "host", 0.0)


def ledger_of(*events: Event, steps: tuple[str, ...] = ("fetch", "score", "select"), at: float = 10.0) -> Ledger:
    """A ledger that was told these events at 0 s and is looked at `at` seconds later."""
    now = [0.0]
    known = Vocabulary(steps, frozenset({"fetch"}), frozenset({"select"}), frozenset({"blurred"}), frozenset({"gone"}))
    ledger = Ledger(known, lambda: now[0])
    for event in events:
        ledger.tell(event)
    now[0] = at
    return ledger


def begun(*steps: str, shards: int = 4) -> list[Event]:
    return [PhaseBegun("stages", steps), Planned(shards, shards * 100), Started("00000", steps)]


def test_a_step_under_way_shows_its_share_its_rate_its_failures_and_the_time_left() -> None:
    done = commit("fetch", kept=90, dropped__gone=7, dropped__surprise=3, **{"in": 100})
    ledger = ledger_of(*begun("fetch", "score"), Finished(done, 100), Ended("00000"))
    whole, head, fetch, score, waiting, failed = block(ledger, Look(100))
    assert whole == "0 of 3 steps done, 0 in flight, 00:10, left of this phase 00:30"
    assert head.split() == ["step", "shards", "rows", "rows/s", "failed", "left"]
    assert re.sub("[█░]", "", fetch).split() == ["fetch", "25%", "1/4", "100/400", "10", "10", "00:30"]
    assert re.sub("[█░]", "", score).split() == ["score", "0%", "0/4", "0/400", "+00:10"]
    assert waiting == "waiting: select"
    assert failed == "failed: 7 gone, 3 other"


def test_while_the_source_is_read_totals_are_not_known() -> None:
    ledger = ledger_of(PhaseBegun("stages", ("fetch",)), Started("0", ("fetch",)), Finished(commit("fetch"), 100))
    line = block(ledger, Look())[2]
    assert re.sub("[█░]", "", line).split() == ["fetch", "1/?", "100/?", "10", "+00:10"]


def test_what_is_done_from_an_earlier_run_counts_and_is_not_in_the_rate() -> None:
    opened = [Opened("00001", 100, ("fetch",)), Opened("00002", 100, ("fetch",))]
    line = block(ledger_of(*begun("fetch"), *opened, Finished(commit("fetch"), 100)), Look())[2]
    assert re.sub("[█░]", "", line).split() == ["fetch", "75%", "3/4", "300/400", "10", "00:10"]


def test_steps_of_an_earlier_run_do_not_wait_while_shards_are_looked_at_one_by_one() -> None:
    opened = [Opened("00000", 100, ("fetch",)), Opened("00001", 100, ("fetch",))]
    ledger = ledger_of(PhaseBegun("stages", ("fetch", "score")), *opened, Started("00000", ("score",)))
    assert block(ledger, Look())[3:] == ["done so far: fetch", "waiting: select"]
    ledger.tell(Opened("00002", 100, ()))
    assert block(ledger, Look())[3:] == ["waiting: fetch, select"]


def test_barriers_and_parts_of_a_spread_have_a_line_too() -> None:
    spread = [
        PhaseBegun("spread", ("score",)),
        Planned(8, 0),
        Started("p00000", ("score",)),
        Finished(commit("score"), 0),
    ]
    assert re.sub("[█░]", "", block(ledger_of(*spread), Look())[2]).split() == ["score", "12%", "1/8", "01:10"]
    barrier = [PhaseBegun("barrier", ("score",)), Planned(1, 0), Started("all", ("score",))]
    assert re.sub("[█░]", "", block(ledger_of(*barrier), Look())[2]).split() == ["score", "0/1", "+00:10"]


def test_retries_lost_workers_and_shards_set_aside_are_counted_and_a_step_ends_without_them() -> None:
    failures = [
        Retried("00001", "score", "error", "x", 1, 3),
        Retried("00001", "score", "lost", "x", 1, 5),
        SetAside("00001", 100, "score", "lost", "x", ("score",)),
    ]
    ends = [Finished(commit("fetch"), 100), Finished(commit("fetch"), 100), Finished(commit("score"), 100)]
    lines = block(ledger_of(*begun("fetch", "score", shards=2), *ends, *failures), Look(110))
    assert lines[0].startswith("2 of 3 steps done, 1 in flight, 2 retried, workers lost: 2, shards set aside: 1, 00:10")
    assert lines[1] == "done: fetch, score"


@pytest.mark.parametrize("columns", [1, 2, 5, 14, 30, 60, 79, 80, 81, 300])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 8, 24])
@pytest.mark.parametrize("colour", [True, False])
def test_any_terminal_has_room_for_the_block(columns: int, rows: int, colour: bool) -> None:
    steps = ("fetch", *TWENTY, "\x1b[31mevil\n" + "名" * 200, "select")
    done = commit("fetch", kept=9, dropped__gone=5_000_000, **{"in": 10**9})
    events = [*begun(*steps[:-1], shards=123_456), *(Finished(commit(s, seconds=7), 100) for s in TWENTY)]
    lines = block(ledger_of(*events, Finished(done, 10**9), steps=steps), Look(columns, rows, colour))
    assert 1 <= len(lines) <= max(1, rows - 1)
    for line in lines:
        plain = re.sub("\x1b\\[[0-9;]*m", "", line)
        assert disp_len(plain) <= max(2, columns - 1), plain
        assert plain.isprintable()


def test_twenty_steps_fit_a_terminal_of_80_by_24() -> None:
    ledger = ledger_of(*begun(*TWENTY), *(Finished(commit(step), 100) for step in TWENTY), steps=TWENTY)
    lines = block(ledger, Look(80, 24))
    assert [line.split()[0] for line in lines[2:]] == list(TWENTY)
    assert len(lines) == 22


def test_where_lines_are_few_the_steps_that_take_longest_are_shown_and_the_others_named() -> None:
    seconds = {step: float(number % 7) for number, step in enumerate(TWENTY)}
    ends = [Finished(commit(step, seconds=seconds[step]), 100) for step in TWENTY]
    lines = block(ledger_of(*begun(*TWENTY), *ends, steps=(*TWENTY, "select")), Look(80, 8))
    assert [line.split()[0] for line in lines[2:5]] == ["score_signal_05", "score_signal_06", "score_signal_13"]
    assert lines[5].startswith("under way: score_signal_00, score_signal_01")
    assert lines[5].endswith("more")
    assert lines[6] == "waiting: select"


def test_a_column_goes_where_there_is_no_room_and_the_time_left_goes_last() -> None:
    ledger = ledger_of(*begun("fetch"), Finished(commit("fetch", kept=9, dropped__gone=1, **{"in": 10}), 100))
    heads = {width: block(ledger, Look(width))[1].split() for width in (16, 24, 30, 37, 50)}
    assert heads[16] == ["step", "left"]
    assert heads[24] == ["step", "failed", "left"]
    assert heads[30] == ["step", "rows/s", "failed", "left"]
    assert heads[37] == ["step", "shards", "rows/s", "failed", "left"]
    assert heads[50] == ["step", "shards", "rows", "rows/s", "failed", "left"]


def once(terminal: Terminal, fits: Callable[[str], bool], timeout_s: float = 20.0) -> str:
    """The screen, once it is as it should be."""
    deadline = time.monotonic() + timeout_s
    while not fits(seen := terminal.seen()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.005)
    return seen


def shown(terminal: Terminal, words: str) -> str:
    """The screen, once the words are on it."""
    return once(terminal, lambda seen: words in seen)


def live(**more: object) -> tuple[Terminal, Ledger, Bars]:
    terminal = Terminal(**more)  # type: ignore[arg-type]
    ledger = Ledger(Vocabulary(("fetch", "score", "select"), frozenset({"fetch"})))
    return terminal, ledger, Bars(ledger, terminal.stream, colour=False)


def tell(ledger: Ledger, bars: Bars, *events: Event) -> None:
    for event in events:
        ledger.tell(event)
        bars(event)


def test_the_block_is_painted_in_place_and_leaves_only_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.cli._bars.PAINT_S", 0.02)
    terminal, ledger, bars = live()
    tell(ledger, bars, *begun("fetch", "score"))
    shown(terminal, "0/4")
    tell(ledger, bars, Trouble("two models share weights"), Finished(commit("fetch"), 100))
    seen = shown(terminal, "1/4").splitlines()
    assert seen[0] == "two models share weights"
    assert [line.split()[0] for line in seen[1:]] == ["0", "step", "fetch", "score", "waiting:"]
    tell(ledger, bars, SetAside("00003", 100, "score", "error", "Trace\n  lines\nValueError: no good", ("score",)))
    tell(ledger, bars, Retried("00002", "score", "lost", "signal SIGKILL", 1, 5))
    bars.close()
    assert terminal.close().splitlines() == [
        "two models share weights",
        "shard 00003 is set aside: score: ValueError: no good",
        "shard 00002, step score: tried 1 of 5 times, runs again: signal SIGKILL",
    ]


def is_one_block(seen: str, columns: int) -> bool:
    """Below the message, and without remains of an earlier size."""
    lines, message = seen.splitlines(), "a message that stays"
    blocks = sum("steps done" in line or "0 of 3" in line for line in lines)
    fits = max(map(len, lines)) < max(columns, len(message) + 1)
    return " ".join(lines).startswith(message) and blocks == 1 and fits


def test_a_terminal_may_be_resized_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.cli._bars.PAINT_S", 0.02)
    terminal, ledger, bars = live(columns=100)
    tell(ledger, bars, *begun("fetch", "score"), Trouble("a message that stays"))
    shown(terminal, "waiting")
    for columns, rows in ((60, 24), (30, 10), (130, 40), (20, 5)):
        with bars._lock:  # so that no painting is half sent
            terminal.resize(columns, rows)
        once(terminal, lambda seen: is_one_block(seen, columns))  # noqa: B023 - it is asked at once
    bars.close()
    assert "".join(terminal.close().splitlines()) == "a message that stays"


def test_strangers_words_do_not_paint_on_the_terminal() -> None:
    terminal, ledger, bars = live()
    hostile = "x\x1b[2Jy\x1b]0;title\x07\r\u202ez\ud800\x9b31m\x00 b\u00e9 \u4e2d \u061c\U000e0041\u2066"
    tell(ledger, bars, Trouble(hostile), SetAside("00000", 1, "fetch", "error", f"OSError: {hostile}", ()))
    bars.close()
    sent = terminal.close()
    assert (
        sent.splitlines()[0]
        == "x\ufffd[2Jy\ufffd]0;title\ufffd\ufffd\ufffdz\ufffd\ufffd31m\ufffd b\u00e9 \u4e2d \ufffd\ufffd\ufffd"
    )
    assert "\x1b" not in terminal.sent


def test_a_terminal_that_is_gone_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.cli._bars.PAINT_S", 0.01)
    terminal, ledger, bars = live()
    tell(ledger, bars, *begun("fetch"))
    shown(terminal, "fetch")
    terminal.close()
    tell(ledger, bars, Trouble("nobody reads this"))
    bars.close()


def test_nothing_is_painted_when_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.cli._bars.PAINT_S", 0.02)
    terminal, ledger, bars = live()
    done = [PhaseBegun("stages", ("fetch",)), Opened("00000", 4, ("fetch",)), Planned(1, 4), PhaseEnded()]
    tell(ledger, bars, *done)
    time.sleep(0.2)
    bars.close()
    terminal.close()
    assert terminal.sent == ""


@pytest.mark.parametrize(("colour", "any_colour"), [(True, True), (False, False)])
def test_colours_are_there_only_where_they_are_wanted(colour: bool, any_colour: bool) -> None:
    ledger = ledger_of(*begun("fetch"), Finished(commit("fetch", kept=9, dropped__gone=1), 10))
    assert any("\x1b[" in line for line in block(ledger, Look(colour=colour))) is any_colour


def test_a_terminal_without_unicode_gets_ascii() -> None:
    ledger = ledger_of(*begun("fetch"), Finished(commit("fetch"), 100), at=10)
    lines = block(ledger, replace(Look(), blocks=False))
    assert all(line.isascii() for line in lines)
    assert "###" in lines[2]


def test_the_screen_of_these_tests_draws_as_a_terminal_does(tmp_path: Path) -> None:
    screen = Screen(5)
    screen.feed("abcdefg\r\nx\r\x1b[2Azz\x1b[K\r\n")
    assert screen.lines == ["zz", "fg", "x"]
    screen.feed("\x1b[J")
    assert screen.lines == ["zz", ""]
    with pytest.raises(AssertionError, match="do not need"):
        screen.feed("\x1b[2S")
