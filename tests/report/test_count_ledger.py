"""What commits and the manifest tell: seconds that steps shared, pauses, counts where one of the two is gone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from count_sets import Made

from curate.manifest import Commit, CommitLog, FileRecord, Manifest
from curate.report.counting.ledger import Ledger, ledger_of, set_aside
from curate.report.counting.reading import Troubles
from curate.run_record import RunRecord

RECORD = RunRecord("a", {}, {}, ("fetch", "blur", "select"))


def commit(step: str, shard: str, seconds: Mapping[str, float], created: float, **counts: int) -> Commit:
    files = (FileRecord(f"{shard}.{step}.parquet", 100, "0" * 64),)
    return Commit(step, shard, "f" * 16, "a" * 12, files, counts, seconds, "host", created)


def put(made: Made, *commits: Commit, manifest: bool = True) -> None:
    for one in commits:
        made.storage.write(one.name, one.to_json())
    if manifest:
        Manifest.fold(CommitLog(made.storage), [(c.stage, c.shard, c.fingerprint) for c in commits], commits)


def told(made: Made, record: RunRecord | None = RECORD) -> tuple[Ledger, tuple[str, ...]]:
    troubles = Troubles()
    return ledger_of(made.storage, record, (), troubles), troubles.told()


TWO = (
    commit("fetch", "00000", {"total": 10.0, "decode": 4.0}, 110.0, **{"in": 8, "kept": 7}),
    commit("fetch", "00001", {"total": 6.0}, 112.0, **{"in": 5, "kept": 5}),
    commit("select", "00000", {"total": 1.0}, 200.0, **{"in": 8, "kept": 3, "dropped.dim": 5, "flagged.dim": 5}),
)


def test_costs_of_every_step() -> None:
    made = Made()
    put(made, *TWO)
    ledger, troubles = told(made)
    fetch, select = ledger.costs({"fetch": 3600.0, "select": None})
    assert (fetch.step, fetch.shards, fetch.rows, fetch.seconds, fetch.written_bytes) == ("fetch", 2, 13, 16.0, 200)
    assert (fetch.phases, fetch.price) == ({"decode": 4.0}, 16.0)
    assert (select.step, select.seconds, select.price) == ("select", 1.0, None)
    assert ledger.totals("select") == (8, 3)
    assert troubles == ()


def test_pauses_are_no_wall_time() -> None:
    made = Made()
    put(made, *TWO)
    assert told(made)[0].wall_s() == 12.0 + 1.0


def test_steps_that_shared_a_pass_share_its_seconds() -> None:
    made = Made()
    put(made, commit("fetch", "00000", {"total": 8.0}, 100.0), commit("blur", "00000", {"total": 9.0}, 101.0))
    fetch, blur = told(made)[0].costs({})
    assert (fetch.seconds, blur.seconds) == (4.0, 5.0)
    other = Made()
    put(other, commit("fetch", "00000", {"total": 8.0}, 100.0), commit("blur", "00001", {"total": 9.0}, 101.0))
    assert [cost.seconds for cost in told(other)[0].costs({})] == [8.0, 9.0]


def test_a_run_that_was_killed_has_no_manifest() -> None:
    made = Made()
    put(made, *TWO, manifest=False)
    ledger, troubles = told(made)
    assert ledger.totals("select") == (8, 3)
    assert len(ledger.of("fetch")) == 2
    assert troubles == ()
    assert [row.dropped for row in ledger.funnel("select", {"light": ("dim",)})] == [5]


def test_without_commits_the_manifest_counts() -> None:
    made = Made()
    put(made, *TWO)
    for one in TWO:
        made.storage.delete(one.name)
    ledger, troubles = told(made)
    assert ledger.totals("select") == (8, 3)
    assert ledger.wall_s() is None
    assert [cost.seconds for cost in ledger.costs({})] == [0.0, 0.0]
    assert troubles == ("the commits are gone: what each step took is not known",)


@pytest.mark.parametrize("data", [b"{", TWO[0].to_json().replace(b"110.0", b'"noon"'), b"[]", b"\xff"])
def test_a_broken_commit_is_a_trouble(data: bytes) -> None:
    made = Made()
    put(made, *TWO)
    made.storage.write(TWO[0].name, data)
    ledger, troubles = told(made)
    assert ledger.costs({})[0].rows == 13
    assert "is not a commit record" in troubles[0]


def test_steps_of_earlier_runs_are_left_out_where_a_run_is_on_record() -> None:
    made = Made()
    put(made, *TWO, commit("old", "00000", {"total": 1.0}, 50.0))
    assert [*told(made)[0].entries] == ["fetch", "select"]
    assert [*told(made, None)[0].entries] == ["fetch", "select", "old"]


def test_reasons_that_no_filter_gives_follow_by_name() -> None:
    made = Made()
    counts = {"in": 9, "kept": 4, "dropped.b": 3, "flagged.b": 3, "dropped.a": 2, "flagged.a": 4}
    put(made, commit("select", "00000", {}, 1.0, **counts))
    rows = told(made)[0].funnel("select", {"second": ("b",)})
    assert [(row.stage, row.reason, row.came_in, row.dropped, row.kept, row.also) for row in rows] == [
        ("second", "b", 9, 3, 6, 0),
        ("a", "a", 6, 2, 4, 2),
    ]


def test_too_many_commits_are_drawn_and_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.report.counting.ledger.MOST_COMMITS", 20)
    made = Made()
    put(made, *(commit("fetch", f"{n:05d}", {"total": 2.0}, 100.0 + n, **{"in": 3}) for n in range(100)))
    ledger, troubles = told(made)
    assert (ledger.costs({})[0].seconds, ledger.costs({})[0].rows, len(ledger.commits["fetch"])) == (200.0, 300, 20)
    assert troubles == ("seconds are scaled up from 20 of 100 commits",)


def test_a_broken_manifest_is_read_from_the_commits() -> None:
    made = Made()
    put(made, *TWO)
    made.put("manifest.parquet", pa.table({"stage": ["select"], "shard": [None], "counts": [7]}))
    assert told(made)[0].totals("select") == (8, 3)


@pytest.mark.parametrize("step", ["../../etc", "a\0b"])
def test_a_step_that_leaves_the_folder_is_a_trouble(step: str) -> None:
    made = Made()
    put(made, *TWO)
    ledger, troubles = told(made, RunRecord("a", {}, {}, ("fetch", step)))
    assert [*ledger.entries] == ["fetch"]
    assert "is not a name inside" in troubles[0]


def test_shards_that_were_set_aside_are_told() -> None:
    made, troubles = Made(), Troubles()
    record: dict[str, Any] = {"shard": "00007", "error": "Traceback\n  ...\nValueError: no room\n"}
    made.storage.write("failed/blur/00007.json", json.dumps(record).encode())
    made.storage.write("failed/blur/00008.json", b"\xff")
    set_aside(made.storage, troubles)
    assert troubles.told() == (
        "shard 00007 was set aside by blur: ValueError: no room",
        "shard 00008 was set aside by blur",
    )
