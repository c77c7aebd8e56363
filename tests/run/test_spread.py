"""Work over all shards in parts: every part once, on any engine, again where it is missing or changed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_stages import ROWS, Remainders, Rows, Share, Sum, Times, job, slices

from curate.errors import StageError
from curate.manifest import CommitLog
from curate.plan import Job, check, state
from curate.run.inline import InlineEngine
from curate.run.part import pack_ids, unpack_ids
from curate.run.processes import ProcessEngine
from curate.run.scheduler import Outcome, RunSettings, run_job
from curate.run.unit import Engine
from curate.storage import Storage

ENGINES: dict[str, Callable[[], Engine]] = {"inline": InlineEngine, "local": lambda: ProcessEngine(2)}
WORK = (Rows(), Times(3), Remainders(), Sum())
PRODUCTS = [3 * n for n in range(5 * ROWS)]


def run(job: Job, folder: Path, engine: Engine | None = None, settings: RunSettings | None = None) -> Outcome:
    engine = engine or InlineEngine()
    try:
        return run_job(job, Storage(str(folder)), engine, settings)
    finally:
        engine.close()


def sums(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_text()) for path in sorted((folder / "sums").iterdir())}


def expected(of: int) -> dict[str, int]:
    return {f"p{part:05d}.txt": sum(n for n in PRODUCTS if n % of == part) for part in range(of)}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_part_is_done_once_and_a_second_run_does_nothing(tmp_path: Path, engine: str) -> None:
    first = run(job(*WORK), tmp_path, ENGINES[engine]())
    assert (first.made, first.skipped, first.failed) == (5 + 5 + 3 + 1, 0, {})
    assert sums(tmp_path) == expected(3)
    second = run(job(*WORK), tmp_path, ENGINES[engine]())
    assert (second.made, second.skipped) == (0, 14)
    assert not list((tmp_path / "_attempts").iterdir())


@pytest.mark.parametrize(
    ("changed", "made", "parts"),
    [
        ((Rows(), Times(3), Remainders(2)), 0, 3),
        ((Rows(), Times(3), Remainders(1)), 5, 5),
        ((Rows(), Times(3), Remainders(4)), 2, 2),
        ((Rows(), Times(3), Remainders(5)), 1, 1),
    ],
)
def test_other_parts_replace_all_that_were_there(tmp_path: Path, changed: tuple, made: int, parts: int) -> None:
    run(job(*WORK), tmp_path)
    assert run(job(*changed), tmp_path).made == made
    assert sums(tmp_path) == expected(parts)
    assert len(CommitLog(Storage(str(tmp_path))).names("remainders")) == parts


def test_a_change_before_it_redoes_every_part_and_one_behind_it_none(tmp_path: Path) -> None:
    run(job(*WORK), tmp_path)
    assert run(job(Rows(), Times(3), Remainders(), Sum(), Share()), tmp_path).made == 5
    assert run(job(Rows(), Times(6), Remainders(), Sum(), Share()), tmp_path).made == 5 + 3 + 1 + 5
    assert sums(tmp_path) == {f"p{p:05d}.txt": sum(2 * n for n in PRODUCTS if 2 * n % 3 == p) for p in range(3)}


def test_a_part_that_fails_is_tried_again_and_then_named(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    mended = Remainders(fails=("p00001",), misbehaves=2, notes=str(notes))
    assert run(job(Rows(), Times(3), mended), tmp_path / "set").made == 13
    assert (notes / "p00001").read_text() == "xxx"
    assert sums(tmp_path / "set") == expected(3)
    with pytest.raises(StageError, match=r"part p00001 of step remainders: .*no good: p00001"):
        run(job(Rows(), Times(3), Remainders(fails=("p00001",))), tmp_path / "other")
    assert list(sums(tmp_path / "other")) == ["p00000.txt", "p00002.txt"]
    again = run(job(Rows(), Times(3), Remainders()), tmp_path / "other")
    assert (again.made, sums(tmp_path / "other")) == (1, expected(3))
    assert not Storage(str(tmp_path / "other")).files("failed/remainders")


def test_a_worker_that_is_killed_costs_its_part_another_try(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    work = Remainders(kills=("p00002",), misbehaves=1, notes=str(notes))
    assert run(job(Rows(), Times(3), work), tmp_path / "set", ProcessEngine(2)).failed == {}
    assert sums(tmp_path / "set") == expected(3)


def test_it_sees_the_shards_that_were_not_set_aside_or_refuses(tmp_path: Path) -> None:
    broken = (Rows(), Times(3, fails=("00001",)), Remainders(4))
    with pytest.raises(StageError, match="1 of 5 shards are set aside, and step 'remainders' needs all"):
        run(job(*broken), tmp_path)
    run(job(*broken), tmp_path, settings=RunSettings(max_failed_ratio=0.2))
    assert sums(tmp_path) == {"p00000.txt": sum(n for n in PRODUCTS if n // 3 // ROWS != 1)}


def test_the_plan_knows_its_parts(tmp_path: Path) -> None:
    work, log = job(*WORK), CommitLog(Storage(str(tmp_path)))
    check(work)
    before = {row.label: row for row in state(work, log, slices(5))}["remainders"]
    assert (before.kind, before.done, before.shards) == ("spread", 0, 3)
    run(work, tmp_path)
    after = {row.label: (row.done, row.shards, row.stale) for row in state(work, log, slices(5))}
    assert after == {"rows": (5, 5, 0), "times": (5, 5, 0), "remainders": (3, 3, 0), "sum": (1, 1, 0)}
    again = {row.label: (row.done, row.stale) for row in state(job(Rows(), Times(4), *WORK[2:]), log, slices(5))}
    assert again == {"rows": (5, 0), "times": (0, 5), "remainders": (0, 3), "sum": (0, 1)}


def test_a_file_of_a_part_that_was_cut_is_made_again(tmp_path: Path) -> None:
    run(job(*WORK), tmp_path)
    (tmp_path / "sums/p00001.txt").write_text("")
    assert run(job(*WORK), tmp_path).made == 1
    assert sums(tmp_path) == expected(3)


@pytest.mark.parametrize("ids", [[], ["00000"], [f"{n:06d}" for n in range(100_000)], ["a b", "é"]])
def test_ids_of_shards_travel_packed(ids: list[str]) -> None:
    assert unpack_ids(pack_ids(ids)) == ids
    assert len(pack_ids(ids)) < 300_000
