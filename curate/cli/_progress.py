"""What is told of a run while it goes on: bars on a terminal, one JSON line for each thing that is done elsewhere.

Both go to stderr, so that stdout has the result alone, and both show the sums of one ledger, as `--metrics` does.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from curate.plan import Job
    from curate.run.ledger import Ledger, Vocabulary
    from curate.run.progress import Event, Finished, Retried, SetAside, Watch

__all__ = ["Lines", "progress", "vocabulary"]

MOST_LETTERS = 2_000
"""Of an error's text in a line: its end, which says what happened."""
FETCHED = frozenset({"fetch_status", "page_status"})
"""Columns by which a step is known that fetches."""
NAMED = ("dropped.", "flagged.")
"""Counts by reason. A line tells `dropped` under a name of its own, and not what other filters would have dropped."""
ENCODER = json.JSONEncoder(allow_nan=False)
OF_PAGES = frozenset({"bad_coding"})
"""What a page's status is called where it differs from a picture's."""


@contextmanager
def progress(job: Job, metrics: str | None = None) -> Iterator[Watch]:
    """The watcher of a run, for as long as the block goes on. `metrics` is where Prometheus may ask, as HOST:PORT.

    Raises ConfigError when that address cannot be used.
    """
    from curate.run.ledger import Ledger

    ledger = Ledger(vocabulary(job))
    show, close = _bars(ledger) if _can_paint(sys.stderr) else (Lines(ledger, sys.stderr), _nothing)

    def watch(event: Event) -> None:
        ledger.tell(event)
        show(event)

    with _served(ledger, metrics):
        try:
            yield watch
        finally:
            close()


def vocabulary(job: Job) -> Vocabulary:
    """The names that a job's progress may show: its steps, its filters' reasons, statuses of downloads."""
    from curate.fetch.status import FetchStatus
    from curate.run.ledger import Vocabulary
    from curate.select import Decision

    decisions = [step for step in job.steps if isinstance(step, Decision)]
    fetching = [step.label for step in job.steps if any(name.rpartition(".")[2] in FETCHED for name in step.writes)]
    reasons = {reason for step in decisions for own in step.story.values() for reason in own}
    labels = tuple(step.label for step in job.steps)
    deciding = frozenset(step.label for step in decisions)
    return Vocabulary(labels, frozenset(fetching), deciding, frozenset(reasons), OF_PAGES.union(map(str, FetchStatus)))


class Lines:
    """A watcher that writes one line of strict JSON for each thing that happened (RFC 8259: no NaN, no half of a
    character), in ASCII, so that it is whole in any locale."""

    def __init__(self, ledger: Ledger, stream: TextIO) -> None:
        self._ledger, self._stream = ledger, stream
        self._phase: dict[str, Any] = {}
        self._begun = 0.0

    def __call__(self, event: Event) -> None:
        from curate.run import progress as told

        match event:
            case told.Finished():
                self._say("done", self._done(event))
            case told.PhaseBegun():
                self._phase = {"kind": event.kind, "steps": list(event.steps), "shards": None, "rows": None}
            case told.Planned():
                self._phase |= {"shards": event.shards, "rows": event.rows}
            case told.Started() if not self._begun:
                self._begun = self._ledger.clock()
                self._say("phase", self._phase)
            case told.PhaseEnded() if self._begun:
                seconds = self._ledger.clock() - self._begun
                self._begun = 0.0
                self._say("phase_end", {**self._phase, "seconds": _rounded(seconds)})
            case told.Retried() | told.SetAside():
                self._say("retry" if isinstance(event, told.Retried) else "set_aside", _failure(event))
            case told.Trouble():
                self._say("trouble", {"text": event.text[-MOST_LETTERS:]})

    def _done(self, event: Finished) -> dict[str, Any]:
        from curate.run.ledger import count_of, named

        commit = event.commit
        rows, seconds = count_of(commit, event.rows), commit.seconds.get("total")
        record = {"stage": commit.stage, "shard": commit.shard, "rows": rows}
        if "kept" in commit.counts:
            dropped = "failed" if commit.stage in self._ledger.vocabulary.fetching else "dropped"
            record |= {"kept": commit.counts["kept"], dropped: named(commit)}
        others = {name: n for name, n in commit.counts.items() if not name.startswith(NAMED)}
        record["counts"] = {name: n for name, n in others.items() if name not in {"in", "kept"}}
        record |= {"seconds": _rounded(seconds), "rows_per_s": _rounded(rows / seconds) if seconds else None}
        done, planned, left = self._ledger.how_far(commit.stage)
        return record | {"done": done, "total": planned, "left_s": _rounded(left)}

    def _say(self, event: str, record: dict[str, Any]) -> None:
        """A log that takes no more, as its disk is full or its reader has gone, does not end the run."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        line = _line({"time": f"{now}Z", "event": event, **record})
        with suppress(OSError, ValueError):
            print(line, file=self._stream, flush=True)


def _failure(event: Retried | SetAside) -> dict[str, Any]:
    record = {"stage": event.step, "shard": event.shard, "kind": event.kind, "error": event.error[-MOST_LETTERS:]}
    return record | {name: value for name in ("attempt", "attempts", "rows") if (value := getattr(event, name, None))}


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 3)


def _line(record: dict[str, Any]) -> str:
    """The record as JSON. Half of a character is an escape in it, as is any letter of more than two bytes; only where
    there is one the texts are looked at."""
    line = ENCODER.encode(record)
    return ENCODER.encode(_whole(record)) if "\\ud" in line else line


def _whole(value: Any) -> Any:
    """A record with `?` for each half of a character."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(name): _whole(inner) for name, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value


def _can_paint(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _bars(ledger: Ledger) -> tuple[Watch, Callable[[], None]]:
    from curate.cli._bars import Bars

    bars = Bars(ledger, sys.stderr, colour=not os.environ.get("NO_COLOR"))
    return bars, bars.close


@contextmanager
def _served(ledger: Ledger, address: str | None) -> Iterator[None]:
    if address is None:
        yield
        return
    from curate.run.metrics import serve

    server = serve(ledger, address)
    try:
        yield
    finally:
        server.close()


def _nothing() -> None:
    return None
