"""What a run promises: all work done once, failures set aside, changes redone and nothing else."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toy_stages import ROWS, Rows, Share, Sum, Times, job, slices

from curate.errors import StageError
from curate.manifest import Attempt, CommitLog
from curate.plan import Job
from curate.run.inline import InlineEngine
from curate.run.processes import ProcessEngine
from curate.run.progress import Event, Finished
from curate.run.scheduler import Outcome, RunSettings, run_job
from curate.run.unit import Done, Engine, Unit, run_unit
from curate.shard import Shard, Slice
from curate.stage import Runtime
from curate.storage import Storage

ENGINES: dict[str, Callable[[], Engine]] = {"inline": InlineEngine, "local": lambda: ProcessEngine(2)}


def run(job: Job, folder: Path, engine: Engine | None = None, settings: RunSettings | None = None) -> Outcome:
    engine = engine or InlineEngine()
    try:
        return run_job(job, Storage(str(folder)), engine, settings)
    finally:
        engine.close()


def products(folder: Path, shard: str) -> list[int]:
    return Shard(Storage(str(folder)), shard).columns(["product"])["product"].to_pylist()


@pytest.mark.parametrize("engine", ENGINES)
def test_all_shards_are_done_once_and_a_second_run_does_nothing(tmp_path: Path, engine: str) -> None:
    work = job(Rows(), Times(3), Sum(), Share())
    first = run(work, tmp_path, ENGINES[engine]())
    assert (first.made, first.skipped, first.failed) == (5 + 5 + 1 + 5, 0, {})
    assert products(tmp_path, "00002") == [24, 27, 30, 33]
    assert (tmp_path / "sum.txt").read_text() == str(3 * sum(range(5 * ROWS)))
    second = run(work, tmp_path, ENGINES[engine]())
    assert (second.made, second.skipped) == (0, 16)
    assert not list((tmp_path / "_attempts").iterdir())


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ((Rows(), Times(2), Sum(), Share()), 0),
        ((Rows(), Times(7), Sum(), Share()), 5 + 1 + 5),
        ((Rows(1), Times(2), Sum(), Share()), 16),
        ((Rows(), Times(2), Sum()), 0),
    ],
)
def test_a_change_redoes_what_reads_it_and_nothing_else(tmp_path: Path, changed: tuple, made: int) -> None:
    run(job(Rows(), Times(2), Sum(), Share()), tmp_path)
    assert run(job(*changed), tmp_path).made == made
    again = run(job(Rows(), Times(2), Sum(), Share()), tmp_path)
    assert again.made == made
    assert products(tmp_path, "00001") == [8, 10, 12, 14]


def test_more_rows_of_the_source_leave_finished_shards_alone(tmp_path: Path) -> None:
    run(job(Rows(), Times(), shards=3), tmp_path)
    assert run(job(Rows(), Times(), shards=5), tmp_path).made == 4


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shard_that_keeps_failing_is_set_aside_and_the_rest_goes_on(tmp_path: Path, engine: str) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    work = job(Rows(), Times(fails=("00001",), notes=str(notes)))
    outcome = run(work, tmp_path / "out", ENGINES[engine](), RunSettings(attempts=3))
    assert outcome.failed == {"00001": "times: ValueError: no good: 00001"}
    assert (notes / "00001").read_text() == "xxx"
    assert outcome.made == 5 + 4, "the stage before it is kept"
    record = json.loads((tmp_path / "out/failed/times/00001.json").read_text())
    assert record["stage"] == "times"
    assert "no good: 00001" in record["error"]
    assert "Traceback" in record["error"]


def test_what_heals_is_done_and_leaves_no_failure(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    work = job(Rows(), Times(fails=("00001", "00003"), notes=str(notes), misbehaves=2))
    outcome = run(work, tmp_path / "out", settings=RunSettings(attempts=3))
    assert (outcome.failed, outcome.made) == ({}, 10)
    assert not list((tmp_path / "out").glob("failed/*/*"))


def test_a_failure_record_goes_when_a_later_run_succeeds(tmp_path: Path) -> None:
    run(job(Rows(), Times(fails=("00001",))), tmp_path)
    assert len(list(tmp_path.glob("failed/times/*"))) == 1
    run(job(Rows(), Times(fails=())), tmp_path)
    assert not list(tmp_path.glob("failed/times/*"))


def test_a_killed_worker_loses_one_unit_which_runs_again(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    work = job(Rows(), Times(kills=("00000", "00003"), notes=str(notes), misbehaves=1))
    outcome = run(work, tmp_path / "out", ProcessEngine(2))
    assert (outcome.failed, outcome.made) == ({}, 10)


def test_a_unit_that_kills_every_worker_is_set_aside(tmp_path: Path) -> None:
    outcome = run(job(Rows(), Times(kills=("00002",))), tmp_path, ProcessEngine(2), RunSettings(lost_attempts=2))
    assert list(outcome.failed) == ["00002"]
    assert "SIGKILL" in outcome.failed["00002"]
    assert outcome.made == 5 + 4


@pytest.mark.parametrize(("ratio", "runs"), [(0.0, False), (0.19, False), (0.2, True), (1.0, True)])
def test_a_barrier_needs_its_share_of_shards(tmp_path: Path, ratio: float, runs: bool) -> None:
    work = job(Rows(), Times(fails=("00001",)), Sum())
    settings = RunSettings(attempts=1, max_failed_ratio=ratio)
    if runs:
        assert list(run(work, tmp_path, settings=settings).failed) == ["00001"]
        assert (tmp_path / "sum.txt").exists()
        return
    with pytest.raises(StageError, match="1 of 5 shards are set aside") as error:
        run(work, tmp_path, settings=settings)
    assert "max_failed_ratio" in str(error.value)
    assert not (tmp_path / "sum.txt").exists()


def test_a_retry_starts_from_the_result_before_it(tmp_path: Path) -> None:
    run(job(Rows()), tmp_path)
    assert run(job(Rows(retry=1)), tmp_path).made == 5
    log = CommitLog(Storage(str(tmp_path)))
    assert {c.counts["retried"] for c in log.fold(["rows"])} == {1}
    assert run(job(Rows(retry=1)), tmp_path).made == 0, "a round is done once"
    run(job(Rows(base=9, retry=2)), tmp_path)
    assert {c.counts["retried"] for c in log.fold(["rows"])} == {0}, "another setting cannot start from it"


class CountingEngine(InlineEngine):
    """Notes the largest number of units in flight."""

    slots = 3

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.most = 0

    def submit(self, unit: Unit) -> None:
        super().submit(unit)
        self.order.append(f"{unit.tasks[0].stage.label} {unit.shard}")
        self.most = max(self.most, len(self._waiting))


def test_units_in_flight_are_bounded(tmp_path: Path) -> None:
    engine = CountingEngine()
    run(job(Rows(), Times(), shards=12), tmp_path, engine)
    assert engine.most == 2 * engine.slots


def test_the_chain_is_cut_where_a_gpu_is_needed_and_later_links_go_first(tmp_path: Path) -> None:
    engine = CountingEngine()
    run(job(Rows(), Times(gpus=0.5), shards=12), tmp_path, engine)
    assert len(engine.order) == 24
    assert engine.order.index("times 00000") < engine.order.index("rows 00010")


def test_work_starts_before_the_source_is_read_to_its_end(tmp_path: Path) -> None:
    first_done = threading.Event()

    def cut(storage: Storage) -> Iterator[Slice]:
        yield slices(1)[0]
        assert first_done.wait(30), "the first shard was not worked on while the source was still being read"
        yield from slices(3)[1:]

    def watch(event: Event) -> None:
        if isinstance(event, Finished):
            first_done.set()

    run_job(replace(job(Rows()), slices=cut), Storage(str(tmp_path)), InlineEngine(), progress=watch)
    assert len(list(tmp_path.glob("0*.parquet"))) == 3


def test_what_breaks_the_source_ends_the_run(tmp_path: Path) -> None:
    def cut(storage: Storage) -> Iterator[Slice]:
        yield slices(1)[0]
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        run(replace(job(Rows()), slices=cut), tmp_path)


def test_a_commit_that_was_not_published_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CommitLog, "finish", lambda self, commit, stale=(): commit)
    run(job(Rows()), tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob("0*.parquet"))
    assert run(job(Rows()), tmp_path).made == 0
    assert len(list(tmp_path.glob("0*.parquet"))) == 5


def test_two_attempts_at_the_same_work_leave_one_result(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    early, late = (Attempt(storage, "rows", "00000", "abc") for _ in range(2))
    early.write_bytes("00000.txt", b"early")
    late.write_bytes("00000.txt", b"late")
    won = early.commit()
    assert late.commit() == won
    assert (tmp_path / "00000.txt").read_bytes() == b"early"
    assert not list((tmp_path / "_attempts").iterdir())


def test_a_unit_keeps_what_it_finished_before_it_failed(tmp_path: Path) -> None:
    units: list[Unit] = []

    class Keeping(InlineEngine):
        def wait_any(self, timeout_s: float) -> list[Done]:
            units.append(self._waiting[0])
            return super().wait_any(timeout_s)

    run(job(Rows(), Times(fails=("00000",)), shards=1), tmp_path, Keeping(), RunSettings(attempts=2))
    assert [[t.stage.label for t in u.tasks] for u in units] == [["rows", "times"], ["times"]]
    assert run_unit(units[1]).failure is not None


class Killed(BaseException):
    """The end of a process, as far as a test can stand it."""


class DiesAfterCommit(Storage):
    """Its process is killed when the commit is there and nothing has been replaced yet."""

    def delete(self, name: str) -> None:
        raise Killed


def test_a_replacement_that_was_killed_before_its_move_does_not_pass_for_what_it_replaced(tmp_path: Path) -> None:
    """Committed with other settings, not moved yet, and then the old settings are run again."""
    run(job(Rows(), Times(2)), tmp_path)
    storage = Storage(str(tmp_path))
    shard = Shard(storage, "00001")
    old = next(iter(CommitLog(storage).names("times")["00001"]))
    attempt = Attempt(DiesAfterCommit(str(tmp_path)), "times", "00001", "f" * 16, stale=(old,))
    Times(9).run(shard, attempt, Runtime())
    with pytest.raises(Killed):
        attempt.commit()
    assert len(CommitLog(storage).names("times")["00001"]) == 2
    run(job(Rows(), Times(2)), tmp_path)
    assert products(tmp_path, "00001") == [8, 10, 12, 14]
    assert CommitLog(storage).names("times")["00001"] == {old}


def test_two_runs_with_different_settings_at_once_are_settled_by_the_next(tmp_path: Path) -> None:
    """Each commits without knowing of the other; the file is of whoever moved last."""
    run(job(Rows(), Times(2)), tmp_path)
    storage = Storage(str(tmp_path))
    other = Attempt(storage, "times", "00001", "f" * 16)
    Times(9).run(Shard(storage, "00001"), other, Runtime())
    other.commit()
    assert products(tmp_path, "00001") == [36, 45, 54, 63]
    assert run(job(Rows(), Times(2)), tmp_path).made == 1
    assert products(tmp_path, "00001") == [8, 10, 12, 14]
    assert run(job(Rows(), Times(2)), tmp_path).made == 0
