"""The manifest: one file that says what a data set is made of, whoever folds it and how often."""

import hashlib
from pathlib import Path

import pytest
from test_scheduler import run
from toy_stages import Rows, Share, Sum, Times, job

from curate.errors import StageError, StorageError
from curate.manifest import CommitLog, Manifest
from curate.run.scheduler import RunSettings
from curate.storage import Storage


def test_it_lists_all_finished_work_with_digests(tmp_path: Path) -> None:
    outcome = run(job(Rows(), Times(), Sum(), Share()), tmp_path)
    manifest = Manifest.read(Storage(str(tmp_path)))
    assert manifest == outcome.manifest
    assert [len(manifest.of(stage)) for stage in ("rows", "times", "sum", "share")] == [5, 5, 1, 5]
    for entry in manifest.entries:
        for record in entry.files:
            data = (tmp_path / record.name).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (record.bytes, record.sha256)
    assert manifest.of("rows")[0].counts == {"in": 4, "retried": 0}


def test_it_is_the_same_after_a_detour_and_can_be_made_anew(tmp_path: Path) -> None:
    run(job(Rows(), Times()), tmp_path)
    first = (tmp_path / "manifest.parquet").read_bytes()
    run(job(Rows(), Times(5)), tmp_path)
    assert (tmp_path / "manifest.parquet").read_bytes() != first
    run(job(Rows(), Times()), tmp_path)
    assert (tmp_path / "manifest.parquet").read_bytes() == first
    (tmp_path / "manifest.parquet").write_bytes(b"damaged")
    run(job(Rows(), Times()), tmp_path)
    assert (tmp_path / "manifest.parquet").read_bytes() == first


def test_a_finished_run_reads_no_commit_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(job(Rows(), Times()), tmp_path)
    written = (tmp_path / "manifest.parquet").stat().st_mtime_ns
    monkeypatch.setattr(CommitLog, "read", lambda self, name: pytest.fail(f"{name} was read"))
    assert len(run(job(Rows(), Times()), tmp_path).manifest.entries) == 10
    assert (tmp_path / "manifest.parquet").stat().st_mtime_ns == written


def test_what_was_set_aside_is_not_in_it(tmp_path: Path) -> None:
    outcome = run(job(Rows(), Times(fails=("00001",))), tmp_path, settings=RunSettings(attempts=1))
    assert [entry.shard for entry in outcome.manifest.of("times")] == ["00000", "00002", "00003", "00004"]


@pytest.mark.parametrize("harm", ["delete", "cut"])
def test_a_file_that_somebody_deleted_or_cut_is_made_again(tmp_path: Path, harm: str) -> None:
    run(job(Rows(), Times(), Sum()), tmp_path)
    path = tmp_path / "00002.times.parquet"
    before = path.read_bytes()
    path.unlink() if harm == "delete" else path.write_bytes(before[:-1])
    outcome = run(job(Rows(), Times(), Sum()), tmp_path)
    assert [(commit.stage, commit.shard) for commit in outcome.commits] == [("times", "00002")]
    assert path.read_bytes() == before
    assert run(job(Rows(), Times(), Sum()), tmp_path).made == 0


def test_what_came_from_the_source_is_not_asked_for_again_unasked(tmp_path: Path) -> None:
    run(job(Rows(), Times()), tmp_path)
    (tmp_path / "00003.parquet").unlink()
    with pytest.raises(StorageError, match=r"shard 00003 .* restore it, or delete commits/rows/00003-\w+.json") as told:
        run(job(Rows(), Times()), tmp_path)
    commit = str(told.value).split("or delete ")[1].split(" to do")[0]
    (tmp_path / commit).unlink()
    outcome = run(job(Rows(), Times()), tmp_path)
    assert [(c.stage, c.shard) for c in outcome.commits] == [("rows", "00003")]


class Broken(Sum):
    """A barrier with a mistake in it."""

    def run(self, shards: object, attempt: object) -> None:
        raise KeyError("oops")


def test_what_a_barrier_raises_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="step 'sum' failed: KeyError: 'oops'"):
        run(job(Rows(), Times(), Broken()), tmp_path)
    assert not list((tmp_path / "_attempts").iterdir())
