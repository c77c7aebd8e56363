"""Prometheus metrics as a scraper gets them: over HTTP, while a run goes on and at its end."""

import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from toy_stages import Remainders, Rows, Share, Sum, Times, job

from curate.errors import ConfigError
from curate.manifest import Attempt, Commit, CommitLog, FileRecord
from curate.run.inline import InlineEngine
from curate.run.ledger import Ledger, Vocabulary
from curate.run.metrics import METRICS, parse_address, serve
from curate.run.processes import ProcessEngine
from curate.run.progress import Finished, PhaseBegun, Planned, Started
from curate.run.scheduler import RunSettings, run_job
from curate.run.unit import Done
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage

Series = dict[tuple[str, ...], float]


def scrape(port: int) -> dict[str, Series]:
    """Name of a metric to its series: values of its labels in order of their names, to numbers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in series, "a series stands once"
            series[labels] = sample.value
    return found


def test_at_the_end_of_a_run_the_numbers_are_those_of_its_commits(tmp_path: Path) -> None:
    steps = (Rows(), Times(3), Remainders(), Sum(), Share())
    ledger = Ledger(Vocabulary(tuple(step.label for step in steps)))
    server = serve(ledger, "127.0.0.1:0")
    try:
        outcome = run_job(job(*steps), Storage(str(tmp_path)), InlineEngine(), progress=ledger.tell)
        told = scrape(server.port)
    finally:
        server.close()
    assert outcome.made == 5 + 5 + 3 + 1 + 5
    log = CommitLog(Storage(str(tmp_path)))
    commits = {step.label: log.fold([step.label]) for step in steps}
    shards = {(label,): float(len(own)) for label, own in commits.items()}
    assert told["curate_shards_done"] == told["curate_shards_planned"] == shards
    assert told["curate_rows_total"][("rows",)] == sum(c.counts["in"] for c in commits["rows"]) == 20
    assert told["curate_rows_total"][("times",)] == 20, "a step that counts nothing worked on its shard's rows"
    written = {(label,): float(sum(f.bytes for c in own for f in c.files)) for label, own in commits.items()}
    assert told["curate_written_bytes_total"] == written
    for label, own in commits.items():
        assert told["curate_step_seconds_total"][("total", label)] == pytest.approx(
            sum(c.seconds["total"] for c in own)
        )
    for name in ("curate_shards_failed_total", "curate_units_retried_total", "curate_workers_lost_total"):
        assert told[name] == {(): 0.0}
    assert told["curate_units_in_flight"] == {(): 0.0}
    assert told["curate_eta_seconds"] == {(): 0.0}


class Halting(InlineEngine):
    """Begins when the source has been read, and stops before its third unit, until it may go on."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger, self.units, self.halted, self.go_on = ledger, 0, threading.Event(), threading.Event()

    def wait_any(self, timeout_s: float) -> list[Done]:
        if self.ledger.steps()[0].planned is None:
            time.sleep(0.001)
            return []
        self.units += 1
        if self.units == 3:
            self.halted.set()
            assert self.go_on.wait(120)
        return super().wait_any(timeout_s)


@pytest.fixture
def halted(tmp_path: Path) -> Iterator[int]:
    """The port of a run of five shards, two of which are done."""
    ledger = Ledger(Vocabulary(("rows", "times")))
    engine, server = Halting(ledger), serve(ledger, "127.0.0.1:0")
    arguments = (job(Rows(), Times()), Storage(str(tmp_path)), engine)
    thread = threading.Thread(target=run_job, args=arguments, kwargs={"progress": ledger.tell})
    thread.start()
    assert engine.halted.wait(120)
    yield server.port
    engine.go_on.set()
    thread.join(120)
    server.close()


def test_a_run_is_scraped_while_it_goes_on(halted: int) -> None:
    told = scrape(halted)
    assert told["curate_shards_done"] == {("rows",): 2.0, ("times",): 2.0}
    assert told["curate_shards_planned"] == {("rows",): 5.0, ("times",): 5.0}
    assert told["curate_rows_total"] == {("rows",): 8.0, ("times",): 8.0}
    assert told["curate_units_in_flight"] == {(): 2.0}
    assert told["curate_eta_seconds"][()] > 0
    ((version, python),) = sorted(told["curate_build_info"])
    assert python.count(".") == 1 + version.count(".") - 1


@pytest.mark.slow
def test_what_goes_wrong_is_counted(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    ledger, engine = Ledger(), ProcessEngine(2)
    server = serve(ledger, "127.0.0.1:0")
    work = job(Rows(), Times(fails=("00001",), kills=("00003",), notes=str(notes), misbehaves=1), shards=4)
    worse = job(Rows(), Times(9, fails=("00002",)), shards=4)
    try:
        assert run_job(work, Storage(str(tmp_path / "out")), engine, progress=ledger.tell).failed == {}
        told = scrape(server.port)
        run_job(worse, Storage(str(tmp_path / "out")), engine, RunSettings(attempts=2), progress=ledger.tell)
        later = scrape(server.port)
    finally:
        engine.close()
        server.close()
    counts = ("curate_units_retried_total", "curate_workers_lost_total", "curate_shards_failed_total")
    assert [told[name][()] for name in counts] == [2, 1, 0]
    assert [later[name][()] for name in counts] == [3, 1, 1]
    assert later["curate_units_in_flight"] == {(): 0.0}


class Twice(Times):
    """Another stage that reads what the first one wrote, and not what `times` writes."""

    name = "twice"

    @property
    def writes(self) -> tuple[str, ...]:
        return ("twice",)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        attempt.write_bytes(f"{shard.id}.txt", b"2")


def test_a_step_that_is_done_from_an_earlier_run_is_not_set_aside_with_its_shard(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    run_job(job(Rows(), Times(), Twice()), storage, InlineEngine())
    for twice, sums in ((Twice(), (5, 0)), (Twice(7), (4, 1))):
        ledger, worse = Ledger(), job(Rows(), Times(9, fails=("00001",)), twice)
        run_job(worse, storage, InlineEngine(), progress=ledger.tell)
        told = {step.label: (step.done, step.aside) for step in ledger.steps()}
        assert told == {"rows": (5, 0), "times": (4, 1), "twice": sums}


def commit(stage: str, **counts: int) -> Commit:
    files = (FileRecord("a", 7, "0"),)
    return Commit(stage, "00000", "f", "a", files, {"in": 9, **counts}, {"total": 1.0}, "host", 0.0)


HOSTILE = ('"} 1\nevil 2', "x" * 10_000, "\ud800", "\u202enoitcejni", "", "\x00", "b\\")


def test_hostile_and_unknown_names_are_counted_as_other() -> None:
    known = Vocabulary(
        ("fetch", "select", HOSTILE[0]), frozenset({"fetch"}), frozenset({"select"}),
        frozenset({"blurred", *HOSTILE}), frozenset({"gone", HOSTILE[2]}),
    )  # fmt: skip
    ledger = Ledger(known)
    names = {f"dropped.{name}": 1 for name in HOSTILE}
    ledger.tell(Finished(commit("select", kept=4, **{"dropped.blurred": 2, "dropped.never_heard_of": 3}, **names), 9))
    ledger.tell(Finished(commit("fetch", kept=4, **{"dropped.gone": 2, "dropped.http_777": 3}, **names), 9))
    server = serve(ledger, ":0")
    try:
        told = scrape(server.port)
    finally:
        server.close()
    dropped = {name: n for (name, step), n in told["curate_rows_dropped_total"].items() if step == "select" and n}
    assert dropped == {"blurred": 2.0, "b\\": 1.0, "other": 3.0 + len(HOSTILE) - 1}
    fetched = {name: n for (name, step), n in told["curate_fetches_total"].items() if step == "fetch" and n}
    assert fetched == {"success": 4.0, "gone": 2.0, "other": 3.0 + len(HOSTILE)}
    assert set(told["curate_rows_total"]) == {("fetch",), ("select",), ("other",)}
    assert told["curate_rows_kept_total"] == {("select",): 4.0}
    unknown = {"curate_eta_seconds", "curate_shards_planned"}
    assert set(told) == {metric.name for metric in METRICS} - unknown | {"curate_build_info"}


def test_more_names_of_phases_than_there_may_be_are_other() -> None:
    ledger = Ledger()
    seconds = {f"phase{number:02d}": 1.0 for number in range(30)}
    ledger.tell(Finished(Commit("s", "0", "f", "a", (), {}, seconds, "host", 0.0), 1))
    server = serve(ledger, ":0")
    try:
        told = scrape(server.port)["curate_step_seconds_total"]
    finally:
        server.close()
    assert len(told) == 21
    assert told["other", "s"] == 10.0


def test_before_a_rate_is_known_there_is_no_time_left() -> None:
    ledger = Ledger(Vocabulary(("rows",)))
    server = serve(ledger, ":0")
    try:
        for event in (PhaseBegun("stages", ("rows",)), Planned(2, 18), Started("00000", ("rows",))):
            assert "curate_eta_seconds" not in scrape(server.port)
            ledger.tell(event)
        ledger.tell(Finished(commit("rows"), 9))
        assert scrape(server.port)["curate_eta_seconds"][()] > 0
    finally:
        server.close()


def test_a_port_that_is_taken_is_an_error_in_words() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--metrics cannot listen at 127.0.0.1 port {port}: .*in use; choose"):
            serve(Ledger(), f":{port}")
    with pytest.raises(ConfigError, match=r"cannot listen at 203\.0\.113\.1 port 9108: .*an address of this machine"):
        serve(Ledger(), "203.0.113.1:9108")
    with pytest.raises(ConfigError, match=r"cannot listen at x{80}"):
        serve(Ledger(), "x" * 80 + ":9108")


def test_after_the_end_nobody_answers() -> None:
    server = serve(Ledger(), ":0")
    server.close()
    with pytest.raises(OSError, match="refused"):
        scrape(server.port)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (":9108", ("127.0.0.1", 9108)),
        ("0.0.0.0:9108", ("0.0.0.0", 9108)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("::1:9108", None),
        ("9108", None),
        ("host:", None),
        ("host:65536", None),
        ("host:-1", None),
        ("host:\u0661", None),
        ("http://host:9108", None),
        ("", None),
    ],
)
def test_addresses(address: str, expected: tuple[str, int] | None) -> None:
    if expected is not None:
        assert parse_address(address) == expected
        return
    with pytest.raises(ConfigError, match="give HOST:PORT such as"):
        parse_address(address)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match="pip install prometheus_client"):
        serve(Ledger(), ":0")
