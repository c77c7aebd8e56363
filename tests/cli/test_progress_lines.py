"""A run that is not on a terminal: every line is strict JSON, and together they are what the manifest says."""

import io
import json
import re
import socket
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pty_screen import Terminal
from test_progress_bars import commit

from curate.cli import main
from curate.cli._progress import Lines, progress, vocabulary
from curate.job import load_job
from curate.manifest import Commit, CommitLog, Manifest
from curate.plan import Job
from curate.report.funnel import funnel
from curate.run.ledger import Ledger, Vocabulary
from curate.run.metrics import Server, serve
from curate.run.progress import (
    Finished,
    Opened,
    PhaseBegun,
    PhaseEnded,
    Planned,
    Retried,
    SetAside,
    Started,
    Trouble,
)
from curate.run_record import read_record
from curate.storage import Storage

CONFIG = """
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = 24
[shards]
samples = 12
[fetch]
per_host_rate = 0
least_rate_window_s = 1.0
most_bytes = 8_000_000
backoff_s = 0.1
[filters.caption_words]
min = 5
[filters.image_size]
min_side_px = 100
[run]
workers = 2
"""


def strict(text: str) -> list[dict[str, Any]]:
    """The lines; an error for what JSON does not have."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


@dataclass(frozen=True)
class Ran:
    """A data set that was made, what was said meanwhile, and what Prometheus would have got when it began."""

    folder: Path
    said: str
    scraped: str


class Said(io.StringIO):
    """An error stream that asks Prometheus' question with its first line."""

    scraped = ""

    def __init__(self, ports: list[int]) -> None:
        super().__init__()
        self._ports = ports

    def write(self, text: str) -> int:
        self.scraped = self.scraped or scrape(self._ports[0])
        return super().write(text)


@pytest.fixture(scope="module", params=["inline", "local"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder, ports = tmp_path_factory.mktemp(request.param), list[int]()
    (folder / "tiny.toml").write_text(CONFIG)

    def serve_and_tell(ledger: Ledger, address: str) -> Server:
        server = serve(ledger, address)
        ports.append(server.port)
        return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.run.metrics.serve", serve_and_tell)
        patch.setattr(sys, "stderr", said := Said(ports))
        place = [folder / "tiny.toml", "--out", folder / "set", "--on", request.param, "--metrics", ":0"]
        assert main(["run", *map(str, place)]) == 0
    return Ran(folder, said.getvalue(), said.scraped)


def test_lines_add_up_to_the_manifest_and_to_the_funnel(ran: Ran) -> None:
    storage = Storage(str(ran.folder / "set"))
    lines = strict(ran.said)
    done = [line for line in lines if line["event"] == "done"]
    entries = Manifest.read(storage).entries
    assert sorted((d["stage"], d["shard"]) for d in done) == sorted((e.stage, e.shard) for e in entries)
    for entry in entries:
        (line,) = [d for d in done if (d["stage"], d["shard"]) == (entry.stage, entry.shard)]
        counts = {name: n for name, n in entry.counts.items() if not name.startswith("flagged.")}
        named = line.get("failed", line.get("dropped", {}))
        told = {"in": line["rows"], **line["counts"], **{f"dropped.{name}": n for name, n in named.items()}}
        assert (told | {"kept": line["kept"]} if "kept" in line else told) == counts
        assert ("failed" in line) == (entry.stage == "fetch")
        assert ("dropped" in line) == (entry.stage == "select")
    record = read_record(storage)
    assert record is not None
    reasons = {one.name: tuple(one.reasons) for one in record.filters("samples")}
    rows = funnel([e for e in entries if e.stage == "select"], reasons)
    dropped: Counter[str] = Counter()
    for line in done:
        dropped.update(line.get("dropped", {}))
    assert dropped == {row.reason: row.dropped for row in rows if row.dropped}
    assert dropped


def test_each_line_says_when_how_fast_and_how_far(ran: Ran) -> None:
    lines = strict(ran.said)
    assert {line["event"] for line in lines} == {"phase", "done", "phase_end"}
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert times == sorted(times)
    assert all(line["time"].endswith("Z") for line in lines)
    assert abs((datetime.now(UTC) - times[-1]).total_seconds()) < 600
    for stage in ("fetch", "score_caption_words", "select"):
        own = [line for line in lines if line.get("stage") == stage]
        assert [line["done"] for line in own] == [1, 2]
        assert own[-1]["total"] == 2
        assert own[-1]["left_s"] == 0
        for line in own:
            assert line["rows_per_s"] is None or line["rows_per_s"] == pytest.approx(12 / line["seconds"], rel=1e-3)
    begun, ended = lines[0], lines[-1]
    assert (begun["event"], begun["kind"], ended["event"]) == ("phase", "stages", "phase_end")
    assert begun["steps"] == ended["steps"] == ["fetch", "score_caption_words", "select"]
    assert (ended["shards"], ended["rows"]) == (2, 24)
    assert ended["seconds"] > 0


def test_a_step_is_told_before_the_unit_it_belongs_to_ends(ran: Ran) -> None:
    """Else all steps of a chain would be told at the same moment, with the last."""
    lines = strict(ran.said)
    times = {line["stage"]: datetime.fromisoformat(line["time"]) for line in lines if line.get("shard") == "00000"}
    assert times["fetch"] < times["score_caption_words"] < times["select"]


def test_prometheus_is_answered_as_soon_as_there_is_a_line(ran: Ran) -> None:
    assert 'curate_build_info{python="' in ran.scraped
    assert 'curate_fetches_total{status="robots_disallowed",step="fetch"}' in ran.scraped
    assert 'curate_rows_dropped_total{reason="too_few_words",step="select"}' in ran.scraped


@pytest.mark.parametrize("ran", ["inline"], indirect=True)
def test_fetches_and_drops_are_served_as_the_manifest_has_them(ran: Ran) -> None:
    """Every status and reason by its name: the closed lists of a job have all that it can say."""
    storage, job = Storage(str(ran.folder / "set")), load_job(ran.folder / "tiny.toml", None).job
    ledger = Ledger(vocabulary(job))
    commits = CommitLog(storage).fold(step.label for step in job.steps)
    for made in commits:
        ledger.tell(Finished(made, 12))
    server = serve(ledger, ":0")
    try:
        served = scrape(server.port)
    finally:
        server.close()
    total: Counter[tuple[str, str]] = Counter()
    for made in commits:
        total.update({(made.stage, name): n for name, n in made.counts.items()})
    told = {
        (stage, "kept" if name == "success" else f"dropped.{name}"): int(float(n))
        for name, stage, n in re.findall(r'_total{(?:reason|status)="(\w+)",step="(\w+)"} ([0-9.]+)', served)
        if float(n)
    }
    told[("select", "kept")] = int(float(re.findall(r'rows_kept_total{step="select"} ([0-9.]+)', served)[0]))
    assert told == {place: n for place, n in total.items() if place[1].startswith(("kept", "dropped."))}
    assert len(told) > 5


@pytest.mark.parametrize("ran", ["inline"], indirect=True)
def test_where_all_is_done_a_terminal_does_not_flicker(
    ran: Ran, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal.stream)
        assert main(["run", str(ran.folder / "tiny.toml"), "--out", str(ran.folder / "set")]) == 0
    terminal.close()
    assert terminal.sent == ""
    assert json.loads(capsys.readouterr().out)["work"] == "0 commits made, 6 were there"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "\x1b[31mtrouble\x1b[0m\r\n"),
        ({"NO_COLOR": "1"}, "trouble\r\n"),
        ({"NO_COLOR": ""}, "\x1b[31mtrouble"),
        ({"TERM": "dumb"}, '{"time": '),
    ],
)
def test_the_environment_says_how_much_a_terminal_can(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    with progress(Job((), lambda storage: iter(()))) as watch:
        watch(Trouble("trouble"))
    monkeypatch.undo()
    terminal.close()
    assert terminal.sent.startswith(expected)


@pytest.mark.parametrize("ran", ["inline"], indirect=True)
def test_a_port_in_use_ends_the_run_before_it_begins(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        place = [ran.folder / "tiny.toml", "--out", ran.folder / "other", "--metrics", f":{port}"]
        assert main(["run", *map(str, place)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"curate: --metrics cannot listen at 127.0.0.1 port {port}")
    assert not (ran.folder / "other").exists()


def lines_of(*events: Any) -> list[dict[str, Any]]:
    ledger, stream = Ledger(Vocabulary(("fetch", "score"), frozenset({"fetch"}))), io.StringIO()
    lines = Lines(ledger, stream)
    for event in events:
        ledger.tell(event)
        lines(event)
    assert stream.getvalue().isascii(), "whole in any locale"
    return strict(stream.getvalue())


def test_what_goes_wrong_has_lines_of_its_own() -> None:
    begun = [PhaseBegun("stages", ("fetch", "score")), Started("00001", ("fetch", "score"))]
    _, trouble, retry, lost, aside = lines_of(
        *begun,
        Trouble("two models share weights"),
        Retried("00001", "score", "error", "Traceback\nValueError: no", 1, 3),
        Retried("00001", "fetch", "lost", "signal SIGKILL", 2, 5),
        SetAside("00001", 8, "score", "error", "ValueError: no", ("score",)),
    )
    assert trouble["text"] == "two models share weights"
    assert {name: retry[name] for name in retry if name != "time"} == {
        "event": "retry", "stage": "score", "shard": "00001", "kind": "error", "error": "Traceback\nValueError: no",
        "attempt": 1, "attempts": 3,
    }  # fmt: skip
    assert (lost["kind"], lost["attempt"]) == ("lost", 2)
    assert (aside["event"], aside["rows"], aside["error"]) == ("set_aside", 8, "ValueError: no")


def test_a_phase_in_which_nothing_runs_is_not_told() -> None:
    done = [PhaseBegun("barrier", ("score",)), Planned(1, 0), Opened("all", 0, ("score",)), PhaseEnded()]
    begun = [PhaseBegun("spread", ("fetch",)), Planned(7, 0), Started("p00000", ("fetch",)), PhaseEnded()]
    assert lines_of(*done) == []
    phase, end = lines_of(*done, *begun)
    assert (phase["event"], phase["kind"], phase["shards"], phase["rows"]) == ("phase", "spread", 7, 0)
    assert (end["event"], end["steps"]) == ("phase_end", ["fetch"])


def test_hostile_words_and_numbers_are_strict_json() -> None:
    nan = Commit(
        "s\ud800", "0\u202e\n", "f", "a", (), {"kept": 1, "dropped.\udfff\x00<b>": 2}, {"total": float("nan")}, "h", 0.0
    )
    aside, trouble, done = lines_of(
        SetAside("0", 1, "s", "error", "A" * 100_000 + "\ud800\x1b[2J\n{", ("s",)), Trouble("\ud83d"), Finished(nan, 3)
    )
    assert aside["error"].endswith("AA?\x1b[2J\n{")
    assert len(aside["error"]) == 2_000
    assert trouble["text"] == "?"
    assert done["stage"] == "s?"
    assert done["dropped"] == {"?\x00<b>": 2}
    assert (done["seconds"], done["rows_per_s"]) == (None, None)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError(), ValueError("closed")])
def test_a_log_that_takes_no_more_does_not_end_the_run(error: Exception) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    Lines(Ledger(), Full())(Trouble("two models share weights"))


def test_a_step_that_takes_no_time_has_no_rate() -> None:
    (line,) = lines_of(Finished(commit("score", seconds=0.0), 100))
    assert (line["rows"], line["seconds"], line["rows_per_s"]) == (100, 0.0, None)
