"""The drawn data set of benches: as a run leaves one, the same each time, and told without a trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.million import Size, write_rows
from curate.report.collect import Look, collect
from curate.shard import Shard
from curate.storage import Storage

SIZE = Size(rows=250, shard_rows=100, tars=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("million") / "set"
    write_rows(root, SIZE)
    return root


def test_it_is_told_without_a_trouble(made: Path) -> None:
    facts = collect(Storage(str(made)), Look(tiles=1))
    (unit,) = facts.units
    assert facts.troubles == ()
    assert (unit.rows, facts.looked_at) == (250, (3, 3))
    assert 0 < unit.kept < 250
    for own in unit.histograms:
        assert sum(own.rows) + own.without == 250
    assert {copies.kind for copies in facts.copies} == {"near_image"}


def test_rows_have_pictures_where_there_is_a_tar(made: Path) -> None:
    assert [(made / f"{n:05d}.tar").exists() for n in range(3)] == [True, False, True]
    shard = Shard(Storage(str(made)), "00002")
    rows = shard.columns(["key", "status", "caption"]).to_pylist()
    told = next(row for row in rows if row["status"] == "success" and row["caption"])
    assert shard.sample(told["key"]).caption == told["caption"]


def test_the_same_arguments_write_the_same_bytes(made: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "again", SIZE)
    for path in sorted(made.rglob("*")):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(made)).read_bytes() == path.read_bytes(), path.name
