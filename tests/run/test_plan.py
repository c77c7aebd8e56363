"""What `curate plan` says before anything runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from toy_stages import Rows, Share, Sum, Times, job, slices

from curate.errors import ConfigError
from curate.manifest import CommitLog
from curate.plan import check, fingerprints, phases, state
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.storage import Storage


def test_a_column_without_a_writer_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"'times' reads column 'number', which nothing before it writes"):
        check(job(Times(), Rows()))


def test_two_steps_of_one_name_and_two_writers_of_one_column_are_refused() -> None:
    with pytest.raises(ConfigError, match="two steps are called 'rows'"):
        check(job(Rows(), Rows(1)))


class Double(Times):
    name = "double"


def test_a_column_has_one_writer() -> None:
    with pytest.raises(ConfigError, match="'times' and 'double' both write column 'product'"):
        check(job(Rows(), Times(), Double()))


def test_a_right_job_passes_and_may_read_columns_of_the_source() -> None:
    check(job(Rows(), Times(), Sum(), Share()))
    check(replace(job(Times()), source_columns=("number",)))


def test_phases_are_cut_at_barriers_and_chains_where_gpus_begin() -> None:
    parts = list(phases((Rows(), Times(gpus=1), Sum(), Share())))
    assert [[[s.label for s in c] for c in p.chains] for p in parts] == [[["rows"], ["times"]], [["share"]]]
    assert [p.barrier.label if p.barrier else None for p in parts] == ["sum", None]


def test_fingerprints_follow_settings_source_and_inputs_and_nothing_else() -> None:
    steps = (Rows(), Times(), Sum(), Share())
    marks = fingerprints(steps, slices(3))
    assert fingerprints(steps, slices(3)) == marks
    assert len({m for by_shard in marks.values() for m in by_shard.values()}) == 3 + 3 + 1 + 3
    longer = fingerprints(steps, slices(4))
    assert longer["times"]["00001"] == marks["times"]["00001"]
    assert longer["sum"] != marks["sum"]
    assert longer["share"]["00001"] != marks["share"]["00001"]


def test_state_before_during_and_after(tmp_path: Path) -> None:
    work, storage = job(Rows(), Times(), Sum(), Share()), Storage(str(tmp_path))
    log = CommitLog(storage)
    assert [(s.done, s.shards) for s in state(work, log, None)] == [(0, None)] * 4
    assert [(s.label, s.done, s.shards) for s in state(work, log, slices(5))][:2] == [("rows", 0, 5), ("times", 0, 5)]
    run_job(work, storage, InlineEngine())
    assert [(s.kind, s.done, s.shards) for s in state(work, log, slices(5))] == [
        ("stage", 5, 5),
        ("stage", 5, 5),
        ("barrier", 1, 1),
        ("stage", 5, 5),
    ]
    changed = state(job(Rows(), Times(9), Sum(), Share()), log, slices(5))
    assert [(s.done, s.stale) for s in changed] == [(5, 0), (0, 5), (0, 1), (0, 5)]


def test_work_with_two_commits_is_to_be_done_again(tmp_path: Path) -> None:
    work, storage = job(Rows(), Times()), Storage(str(tmp_path))
    run_job(work, storage, InlineEngine())
    storage.write(f"commits/times/00001-{'f' * 16}.json", b"{}")
    assert [(s.done, s.stale) for s in state(work, CommitLog(storage), slices(5))] == [(5, 0), (4, 1)]
    assert run_job(work, storage, InlineEngine()).made == 1
