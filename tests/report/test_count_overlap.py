"""Which filters drop the same rows, against a count by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from curate.report.counting.overlap import Overlaps
from curate.report.counting.verdicts import Reasons, Verdicts, verdicts_of
from curate.run_record import FilterRecord


def rows_of(filters: int, rows: int, seed: int) -> list[set[int]]:
    dice = np.random.default_rng(seed)
    return [{*np.flatnonzero(dice.random(filters) < 0.1).tolist()} for _ in range(rows)]


def decision(drops: list[set[int]]) -> pa.Table:
    reasons = [[f"reason_{one}" for one in sorted(own)] for own in drops]
    coded = pa.array(reasons, pa.list_(pa.dictionary(pa.int16(), pa.string())))
    return pa.table({"keep": [not own for own in drops], "drop_reasons": coded})


@pytest.mark.parametrize("filters", [1, 3, 70, 130])
def test_pairs_of_filters_by_hand(filters: int) -> None:
    records = [FilterRecord(f"f{n}", {f"reason_{n}": "words"}, (), {}) for n in range(filters)]
    reasons, overlaps = Reasons.of(records), Overlaps()
    every = [rows_of(filters, 40, seed) for seed in range(3)]
    for drops in every:
        overlaps.add(verdicts_of(decision(drops), "", reasons), reasons)
    found = overlaps.overlap(reasons)
    rows = [own for drops in every for own in drops]
    used = [n for n in range(filters) if any(n in own for own in rows)]
    assert found is not None
    assert found.filters == tuple(f"f{n}" for n in used)
    for i, a in enumerate(used):
        assert found.alone[i] == sum(own == {a} for own in rows)
        for j, b in enumerate(used):
            assert found.both[i][j] == sum({a, b} <= own for own in rows)


def test_rows_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.report.counting.overlap.AT_ONCE", 7)
    drops = rows_of(5, 60, 9)
    reasons = Reasons.of([FilterRecord(f"f{n}", {f"reason_{n}": ""}, (), {}) for n in range(5)])
    overlaps = Overlaps()
    overlaps.add(verdicts_of(decision(drops), "", reasons), reasons)
    found = overlaps.overlap(reasons)
    assert found is not None
    assert found.alone == tuple(sum(own == {n} for own in drops) for n in range(5))
    assert found.both[0][1] == sum({0, 1} <= own for own in drops)


def test_two_reasons_of_one_filter_are_one_filter() -> None:
    reasons = Reasons.of([FilterRecord("a", {"low": "", "high": ""}, (), {}), FilterRecord("b", {"other": ""}, (), {})])
    table = pa.table({"keep": [False, False], "drop_reasons": [["low", "high"], ["high", "other"]]})
    overlaps = Overlaps()
    overlaps.add(verdicts_of(table, "", reasons), reasons)
    found = overlaps.overlap(reasons)
    assert found is not None
    assert (found.both, found.alone) == (((2, 1), (1, 1)), (1, 0))


def test_a_reason_that_nobody_has_on_record_stands_for_itself() -> None:
    reasons, overlaps = Reasons.of([]), Overlaps()
    overlaps.add(verdicts_of(decision([{4}, {4, 2}, set()]), "", reasons), reasons)
    found = overlaps.overlap(reasons)
    assert found is not None
    assert found.filters == ("reason_4", "reason_2")
    assert found.alone == (1, 0)


def test_nothing_dropped_is_no_overlap() -> None:
    reasons, overlaps = Reasons.of([]), Overlaps()
    overlaps.add(verdicts_of(decision([set(), set()]), "", reasons), reasons)
    assert overlaps.overlap(reasons) is None


@pytest.mark.parametrize(
    ("table", "prefix", "keep", "decided"),
    [
        (pa.table({"a": [1, 2]}), "", [False, False], False),
        (pa.table({"a": [1, 2]}), None, [True, True], False),
        (pa.table({"status": ["success", "failed_to_download"]}), None, [True, False], False),
        (pa.table({"keep": [True, None]}), "", [True, False], True),
        (pa.table({"read_keep": [True, False]}), "read_", [True, False], True),
        (
            pa.table({"keep": pa.array([], pa.bool_()), "drop_reasons": pa.array([], pa.list_(pa.string()))}),
            "",
            [],
            True,
        ),
    ],
)
def test_who_is_kept(table: pa.Table, prefix: str | None, keep: list[bool], decided: bool) -> None:
    found = verdicts_of(table, prefix, Reasons())
    assert (found.keep.tolist(), found.decided) == (keep, decided)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"keep": [1, 2], "drop_reasons": [["a"], ["b"]]}),
        pa.table({"keep": [True, False], "drop_reasons": ["a", "b"]}),
        pa.table({"keep": [True, False], "drop_reasons": [[None], ["b"]]}),
        pa.table({"keep": [False], "drop_reasons": [[f"r{n}" for n in range(5000)]]}),
    ],
)
def test_what_is_no_decision_is_refused(table: pa.Table) -> None:
    with pytest.raises(ValueError, match=r"decision|null|reasons"):
        verdicts_of(table, "", Reasons())


def test_the_one_reason_against_a_row() -> None:
    own = Verdicts(np.array([False] * 3), True, np.array([0, 2, 2]), np.array([5, 5, 6]))
    assert own.only.tolist() == [5, -1, -1]
