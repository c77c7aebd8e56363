"""Bounds on one score: by value, by share and by number, exactly or as DataComp counts; no score is never good."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scored_shards import digests, pack, packings, pairs, run_barrier

from curate.config import build
from curate.cut import Cut
from curate.errors import ConfigError
from curate.rank import Rank, rank_columns
from curate.shard import Shard

NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Scored(Cut):
    """Any cut of the column `score`."""

    reads: ClassVar[tuple[str, ...]] = ("score",)
    too_low: ClassVar[str] = "low"
    too_high: ClassVar[str] = "high"
    not_best: ClassVar[str] = "not_best"
    unknown: ClassVar[str] = "unknown"
    reasons: ClassVar[Mapping[str, str]] = {"unknown": "u", "low": "l", "high": "h", "not_best": "n"}

    @property
    def score(self) -> str:
        return "score"


def judged(rule: Cut, table: pa.Table) -> list[str | None]:
    """The verdict, the same for the table in pieces."""
    found: list[str | None] = rule.judge(table.select(rule.columns)).to_pylist()
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert rule.judge(pieces.select(rule.columns)).to_pylist() == found
    return found


def ranked(values: pa.Array | list[Any], **extra: Any) -> pa.Table:
    """A column of scores with its ranks, ties in the order in which they come."""
    scores = values if isinstance(values, pa.Array) else pa.array(values, pa.float64(), from_pandas=False)
    floats = np.array([NAN if v is None else float(v) for v in scores.to_pylist()])
    known = ~np.isnan(floats)
    order = np.argsort(-floats[known], kind="stable")
    rank = np.full(len(floats), -1)
    rank[np.flatnonzero(known)[order]] = np.arange(known.sum())
    above = (floats[known][None, :] > floats[:, None]).sum(axis=1) if known.any() else rank
    names = rank_columns("score", False)
    total = [int(known.sum())] * len(floats)
    columns = (pa.array(rank, mask=~known), pa.array(above, mask=~known), pa.array(total, pa.int64()))
    return pa.table({"score": scores, **dict(zip(names, columns, strict=True)), **extra})


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_by_value_in_the_precision_of_the_column(kind):
    narrow = kind.to_pandas_dtype()
    bound, below = narrow(0.28), np.nextafter(narrow(0.28), narrow(0))
    high, above = narrow(0.6), np.nextafter(narrow(0.6), narrow(1))
    values = [below, bound, high, above, None, narrow(NAN), narrow(INF), narrow(-INF), narrow(-0.0)]
    table = pa.table({"score": pa.array(values, kind)})
    both = ["low", None, None, "high", "unknown", "unknown", "high", "low", "low"]
    assert judged(Scored(min=0.28, max=0.6), table) == both
    assert judged(Scored(min=0.28), table) == [None if reason == "high" else reason for reason in both]
    assert judged(Scored(max=0.6), table) == [None if reason == "low" else reason for reason in both]
    assert judged(Scored(min=0.0), pa.table({"score": pa.array([narrow(-0.0), narrow(0)], kind)})) == [None, None]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint64()])
def test_whole_numbers(kind):
    table = pa.table({"score": pa.array([0, 1, 2, 3, None], kind)})
    assert judged(Scored(min=0.5, max=2), table) == ["low", None, None, "high", "unknown"]
    assert judged(Scored(min=1.0), table) == ["low", None, None, None, "unknown"]


def test_whole_numbers_beyond_what_a_float_holds():
    table = pa.table({"score": pa.array([2**53 + 1, 2**62, -5], pa.int64())})
    assert judged(Scored(min=0.5, max=1e17), table) == [None, "high", "low"]


def test_a_column_of_nothing():
    table = pa.table({"score": pa.nulls(2), **{name: pa.nulls(2, pa.int64()) for name in rank_columns("score", False)}})
    assert judged(Scored(min=0.5, fraction=0.5), table) == ["unknown"] * 2
    assert judged(Scored(min=0.5), table.slice(0, 0)) == []


TEN = [0.1, 0.9, 0.5, 0.5, 0.7, 0.5, None, NAN, 0.3, 0.2, 0.8, 0.6]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"fraction": 0.0}, []),
        ({"fraction": 0.09}, []),
        ({"fraction": 0.1}, [0.9]),
        ({"fraction": 0.3}, [0.9, 0.8, 0.7]),
        ({"fraction": 0.5}, [0.9, 0.8, 0.7, 0.6, 0.5]),
        ({"fraction": 0.6}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.5]),
        ({"fraction": 1.0}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]),
        ({"count": 0}, []),
        ({"count": 1}, [0.9]),
        ({"count": 10}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]),
        ({"count": 11}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]),
        ({"count": 2**62}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]),
        ({"fraction": 0.0, "ties": "datacomp"}, [0.9]),
        ({"fraction": 0.1, "ties": "datacomp"}, [0.9, 0.8]),
        ({"fraction": 0.3, "ties": "datacomp"}, [0.9, 0.8, 0.7, 0.6]),
        ({"fraction": 0.4, "ties": "datacomp"}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5]),
        ({"fraction": 0.9, "ties": "datacomp"}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]),
        ({"fraction": 1.0, "ties": "datacomp"}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.3, 0.2, 0.1]),
        ({"count": 5, "ties": "datacomp"}, [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5]),
        ({"fraction": 0.5, "min": 0.6}, [0.9, 0.8, 0.7, 0.6]),
        ({"fraction": 0.3, "max": 0.8}, [0.8, 0.7]),
    ],
)
def test_by_share_and_by_number(settings, kept):
    table = ranked(TEN)
    found = judged(Scored(**settings), table)
    assert sorted((v for v, r in zip(TEN, found, strict=True) if r is None), reverse=True) == kept
    assert [r for v, r in zip(TEN, found, strict=True) if v is None or v != v] == ["unknown", "unknown"]
    assert set(found) <= {None, "unknown", "not_best", "low", "high"}


def test_a_value_out_of_bounds_is_told_before_its_place():
    assert judged(Scored(min=0.5, fraction=0.0), ranked([0.4, 0.6])) == ["low", "not_best"]


def test_infinity_stands_at_the_ends():
    table = ranked([INF, -INF, 0.5, 0.4])
    assert judged(Scored(fraction=0.5), table) == [None, "not_best", None, "not_best"]
    assert judged(Scored(count=1), table) == [None, "not_best", "not_best", "not_best"]


def datacomp_threshold(scores: np.ndarray, fraction: float) -> float:
    """The published rule; IndexError where the fraction is 1."""
    n = int(len(scores) * fraction)
    return float(-np.sort(-scores)[n])


FRACTIONS = st.one_of(
    st.sampled_from([0.0, 1e-9, 0.1, 0.2, 0.3, 1 / 3, 0.5, 0.7, 1.0, np.nextafter(1, 0)]), st.floats(0, 1)
)
SCORES = st.one_of(
    st.floats(-1, 1, width=16),
    st.sampled_from([0.0, -0.0, 0.25, 0.25, 5e-324, -5e-324, INF, -INF]),
    st.floats(allow_nan=False),
)


@given(st.lists(SCORES, min_size=1, max_size=25), FRACTIONS, st.sampled_from([np.float16, np.float32, np.float64]))
@settings(deadline=None, max_examples=300)
def test_datacomps_threshold_by_another_way(values, fraction, kind):
    with np.errstate(over="ignore"):
        scores = np.array(values).astype(kind)
    rule = Scored(fraction=fraction, ties="datacomp")
    found = np.array([reason is None for reason in judged(rule, ranked(pa.array(scores)))])
    if int(len(scores) * fraction) == len(scores):
        with pytest.raises(IndexError):
            datacomp_threshold(scores, fraction)
        assert found.all()
        return
    assert (found == (scores >= datacomp_threshold(scores, fraction))).all()
    assert found.sum() >= int(len(scores) * fraction) + 1


@given(st.lists(st.one_of(st.none(), st.just(NAN), SCORES), max_size=25), FRACTIONS)
@settings(deadline=None, max_examples=200)
def test_exactly_so_many_and_none_better_is_left_out(values, fraction):
    table = ranked(values)
    found = judged(Scored(fraction=fraction), table)
    known = [v for v in values if v is not None and not math.isnan(v)]
    kept = [v for v, reason in zip(values, found, strict=True) if reason is None]
    assert len(kept) == int(len(known) * fraction)
    left = [v for v, reason in zip(values, found, strict=True) if reason == "not_best"]
    assert len(kept) + len(left) == len(known)
    assert not kept or not left or min(kept) >= max(left)


@given(st.lists(SCORES, max_size=20), st.integers(0, 25), st.data())
@settings(deadline=None, max_examples=15)
def test_through_real_ranks_in_any_packing(tmp_path_factory, values, count, data):
    folder = tmp_path_factory.mktemp("cut")
    rows = pairs(len(values), score=values)
    identity = digests(rows, folder / "whole")
    best = sorted(zip(values, rows["uid"].to_pylist(), strict=True), key=lambda pair: (-pair[0], identity[pair[1]]))
    shards = pack(folder, rows, *data.draw(st.sampled_from(packings(len(values)))))
    run_barrier(Rank("score", bin_rows=data.draw(st.sampled_from([1, 3, 100]))), shards, folder)
    kept, tied = set(), set()
    for shard in shards:
        columns = Shard(shard.storage, shard.id).columns(["uid", *Scored(count=1).columns])
        for rule, into in ((Scored(count=count), kept), (Scored(count=count, ties="datacomp"), tied)):
            into |= {uid for uid, r in zip(columns["uid"].to_pylist(), judged(rule, columns), strict=True) if r is None}
    assert kept == {uid for _, uid in best[:count]}
    threshold = best[count][0] if count < len(best) else -INF
    assert tied == {uid for value, uid in best if value >= threshold}


def test_among_those_left_a_row_that_others_drop_is_not_judged():
    rule = Scored(fraction=0.5, among="earlier")
    assert rule.columns == ("score", *rank_columns("score", True))
    names = rank_columns("score", True)
    columns = {"score": [0.9, 0.8, 0.7, 0.6, None], names[0]: [None, 0, 1, 2, None], names[1]: [None, 0, 1, 1, None]}
    table = pa.table({**columns, names[2]: pa.array([4] * 5, pa.int64())})
    assert judged(rule, table) == [None, None, None, "not_best", "unknown"], "half of four, not of the three left"
    assert judged(Scored(count=1, among="earlier"), table) == [None, None, "not_best", "not_best", "unknown"]


def test_steps_and_columns():
    assert Scored(min=0.1).steps(()) == ()
    assert Scored(min=0.1).columns == ("score",)
    rules = (("first", Scored(min=0.1)),)
    assert Scored(count=1).steps(rules) == (Rank("score"),)
    assert Scored(count=1, among="earlier").steps(rules) == (Rank("score", rules),)
    assert Scored(count=1, among="earlier").steps(()) == (Rank("score", ()),)
    for rule in (Scored(count=1), Scored(count=1, among="earlier")):
        assert set(rule.columns) == {"score", *rule.steps(())[0].writes}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, r"^\[f\] has no bound; give min, max, fraction or count$"),
        ({"ties": "datacomp"}, "has no bound"),
        ({"among": "earlier"}, "has no bound"),
        ({"fraction": 0.1, "count": 1}, "fraction = 0.1 and count = 1 are both given; keep one"),
        ({"fraction": 1.1}, "fraction = 1.1 is out of range: from 0 to 1"),
        ({"fraction": -0.1}, "fraction = -0.1 is out of range"),
        ({"fraction": NAN}, "fraction = nan is out of range"),
        ({"fraction": 30}, "fraction = 30.0 is out of range"),
        ({"count": -1}, "count = -1 is out of range"),
        ({"count": 2**63}, "is out of range"),
        ({"count": 1.5}, "count = 1.5 must be an integer"),
        ({"min": NAN}, "min = nan is out of range"),
        ({"max": NAN}, "max = nan is out of range"),
        ({"min": 0.5, "max": 0.4}, "min = 0.5 is above max = 0.4: nothing would be kept"),
        ({"min": 0.5, "ties": "all"}, "ties = 'all'"),
        ({"min": 0.5, "among": "later"}, "among = 'later'"),
        ({"min": "0.5"}, "min = '0.5' must be a number"),
        ({"fraction": True}, "fraction = True must be a number"),
    ],
)
def test_settings_that_will_not_do(table, words):
    with pytest.raises(ConfigError, match=words):
        build(Scored, table, "f")


@given(st.floats(0, 1), st.integers(0, 10**6))
def test_a_share_is_cut_as_datacomp_cuts_it(fraction, total):
    assume(total)
    names = rank_columns("score", False)
    wanted = int(total * fraction)
    ranks = [max(wanted - 1, 0), wanted]
    table = pa.table({"score": [0.5, 0.5], names[0]: ranks, names[1]: ranks, names[2]: [total] * 2})
    assert judged(Scored(fraction=fraction), table) == [None if wanted else "not_best", "not_best"]
