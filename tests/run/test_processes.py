"""Workers with a GPU of their own beside workers without: who gets what, and what a killed one loses."""

import os
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from gpu_stages import Where, all_done, committed, notes, overlap, unit

from curate.run.processes import ProcessEngine, _exit_words, _Worker
from curate.stage import Runtime


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path


def where(folder: Path, gpus: float = 0.0, **more: object) -> Where:
    return Where(str(folder / "notes"), gpus, **more)  # type: ignore[arg-type]


def test_each_gpu_has_one_worker_that_keeps_it_and_takes_nothing_else(folder: Path) -> None:
    engine = ProcessEngine(2, gpus=2)
    assert engine.slots == 4
    mixed = [
        unit(folder, f"{number:05d}", where(folder, gpus, sleep_s=0.05)) for number in range(8) for gpus in (1.0, 0.0)
    ]
    try:
        assert all_done(engine, mixed) == []
        assert len(engine._workers) <= 4
    finally:
        engine.close()
    told = notes(folder / "notes")
    on_gpu, others = ([note for note in told if note["wanted"] == wanted] for wanted in (1.0, 0.0))
    assert len(on_gpu) == len(others) == 8
    assert not {note["pid"] for note in on_gpu} & {note["pid"] for note in others}, "a worker is of one kind"
    assert len({note["pid"] for note in others}) <= 2
    for gpu in (0, 1):
        own = [note for note in on_gpu if note["gpu"] == gpu]
        assert len({note["pid"] for note in own}) == 1, "its models stay loaded"
        assert not overlap(own), "one unit at a time"
    assert committed(folder) == 16
    assert all(gone(note["pid"]) for note in told), "no process is left"


@pytest.mark.parametrize(
    ("cores", "gpus", "asked", "threads"), [(8, 1, 1, 8), (8, 3, 1, 2), (2, 3, 1, 1), (8, 1, 64, 64), (8, 2, 3, 4)]
)
def test_a_worker_on_a_gpu_has_its_share_of_the_cores_for_decoding(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cores: int, gpus: int, asked: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
    engine, sent = ProcessEngine(1, gpus=gpus), unit(folder, "00000", where(folder, 1.0), asked)
    process, pipe = engine._context.Process(), engine._context.Pipe()[0]
    assert engine._placed(sent, _Worker(process, pipe, gpu=gpus - 1)).runtime == Runtime(threads, gpu=gpus - 1)
    assert engine._placed(sent, _Worker(process, pipe)).runtime == Runtime(asked)


def test_without_a_gpu_the_unit_runs_as_any_other(folder: Path) -> None:
    engine = ProcessEngine(2)
    try:
        assert all_done(engine, [unit(folder, f"{n:05d}", where(folder, n % 2, sleep_s=0.05)) for n in range(6)]) == []
    finally:
        engine.close()
    told = notes(folder / "notes")
    assert {note["gpu"] for note in told} == {0}
    assert len({note["pid"] for note in told}) <= 2


def test_a_worker_that_is_killed_loses_its_unit_and_is_replaced_on_the_same_gpu(folder: Path) -> None:
    engine = ProcessEngine(1, gpus=2)
    stage = where(folder, 1.0, sleep_s=0.1, kills=("00002",))
    try:
        assert all_done(engine, [unit(folder, f"{number:05d}", stage) for number in range(6)]) == ["lost 00002"]
        assert sorted(worker.gpu for worker in engine._workers) == [0, 1]
    finally:
        engine.close()
    told = notes(folder / "notes")
    assert len({note["pid"] for note in told}) == 3
    assert {note["gpu"] for note in told} == {0, 1}
    assert committed(folder) == 6


def test_units_for_a_gpu_that_wait_do_not_hold_up_the_others(folder: Path) -> None:
    engine = ProcessEngine(1, gpus=1)
    slow = [unit(folder, f"{number:05d}", where(folder, 1.0, behind=3)) for number in range(3)]
    quick = [unit(folder, f"1000{number}", where(folder)) for number in range(3)]
    try:
        all_done(engine, slow + quick)
    finally:
        engine.close()
    told = notes(folder / "notes")
    ended = {wanted: max(note["ended"] for note in told if note["wanted"] == wanted) for wanted in (0.0, 1.0)}
    assert ended[0.0] < ended[1.0]


def test_a_fork_server_that_is_killed_while_it_forks_is_started_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.run.processes.FORK_WAIT_S", 0.0)
    start, failing = ForkServerProcess.start, ["4", "3", "2", "1"]

    def killed(process: ForkServerProcess) -> None:
        if failing:
            raise EOFError(failing.pop())
        start(process)

    monkeypatch.setattr(ForkServerProcess, "start", killed)
    engine = ProcessEngine(1)
    try:
        assert all_done(engine, [unit(folder, "00000", where(folder))]) == []
    finally:
        engine.close()
    failing += ["5", "4", "3", "2", "1"]
    with pytest.raises(EOFError, match="5"):
        ProcessEngine(1).submit(unit(folder, "00001", where(folder)))


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "signal SIGKILL"), (-40, "signal 40"), (3, "exit code 3"), (None, "exit code None")]
)
def test_how_a_worker_ended_is_told(code: int | None, words: str) -> None:
    assert _exit_words(code) == words


def test_closing_in_the_middle_leaves_no_process(folder: Path) -> None:
    engine = ProcessEngine(1, gpus=1)
    for number in range(4):
        engine.submit(unit(folder, f"{number:05d}", where(folder, number % 2, sleep_s=60)))
    pids = [worker.process.pid for worker in engine._workers]
    assert len(pids) == 2
    engine.close()
    assert all(gone(pid) for pid in pids)
    assert engine.wait_any(0) == []


def gone(pid: int) -> bool:
    """Whether there is no such process, or only its name until its parent has asked."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False
