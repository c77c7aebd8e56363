"""Places among all rows: against a sort of plain Python, and the same for any packing and any size of bins."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import Given, ScoredBy, by_row, bytes_of, digests, handles, pack, packings, pairs, run_barrier
from scored_shards import run_steps as run

from curate.cut import Cut
from curate.errors import ShardError
from curate.filter import Filter, Verdict, between
from curate.rank import Rank, rank_columns
from curate.select import Select

NAMES = rank_columns("score", False)
LEFT = rank_columns("score", True)
VALUES = st.one_of(
    st.none(),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-40, -1e-40, 1e39, -1e39]),
    st.floats(-1, 1, width=16),
    st.floats(allow_nan=False),
)


@dataclass(frozen=True)
class Size(Filter):
    """A real filter for a rule: keeps sizes of at least `min`."""

    min: float = 3.0
    reads: ClassVar[tuple[str, ...]] = ("size",)
    reasons: ClassVar[Mapping[str, str]] = {"too_small": "small"}

    def judge(self, columns: pa.Table) -> Verdict:
        return between(columns["size"], self.min, None, "too_small", "")


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


def reference(rows: pa.Table, identity: dict[str, tuple[int, int]], kept: list[bool]) -> dict[str, tuple[Any, ...]]:
    """Place, how many score more, and how many have a score; by uid."""
    score = dict(zip(rows["uid"].to_pylist(), rows["score"].to_pylist(), strict=True))
    known = [uid for uid, s in score.items() if s is not None and not math.isnan(s)]
    chosen = [uid for uid, keep in zip(score, kept, strict=True) if keep and uid in set(known)]
    chosen.sort(key=lambda uid: (-float(score[uid]), identity[uid]))
    place = {uid: number for number, uid in enumerate(chosen)}
    above = {uid: sum(float(score[other]) > float(score[uid]) for other in chosen) for uid in chosen}
    return {uid: (place.get(uid), above.get(uid), len(known)) for uid in score}


@given(st.lists(VALUES, max_size=14), st.sampled_from([pa.float64(), pa.float32(), pa.float16()]), st.data())
@settings(deadline=None, max_examples=25)
def test_places_are_those_of_a_sort(tmp_path_factory, values, kind, data):
    folder = tmp_path_factory.mktemp("rank")
    with np.errstate(over="ignore"):
        narrow = [None if v is None else kind.to_pandas_dtype()(v) for v in values]
    rows = pairs(len(values), score=pa.array(narrow, kind))
    expected = reference(rows, digests(rows, folder / "whole"), [True] * len(values))
    written = []
    sizes, order = data.draw(st.sampled_from(packings(len(values))))
    for bin_rows in (1, 7, 1_000):
        out = folder / str(bin_rows)
        shards = pack(out, rows, sizes, order)
        commit = run_barrier(Rank("score", bin_rows=bin_rows), shards, out)
        assert by_row(shards, NAMES) == expected
        assert commit.counts == {"ranked": sum(place is not None for place, _, _ in expected.values())}
        written.append(bytes_of(out, "rank_score"))
        assert {file.name for file in commit.files} == set(written[-1])
    assert all(other == written[0] for other in written)


@pytest.mark.parametrize("count", [1, 40])
def test_every_packing_gives_a_row_the_same_place(tmp_path, count):
    random = np.random.default_rng(3)
    rows = pairs(count, score=pa.array(np.round(random.normal(size=count), 1)))
    expected = reference(rows, digests(rows, tmp_path / "whole"), [True] * count)
    for number, (sizes, order) in enumerate(packings(count)):
        shards = pack(tmp_path / str(number), rows, sizes, order)
        run_barrier(Rank("score", bin_rows=7), shards, tmp_path / str(number))
        assert by_row(shards, NAMES) == expected


def test_copies_share_their_places_among_them(tmp_path):
    one = pairs(4, score=[0.5, 0.5, 0.7, 0.5])
    rows = pa.concat_tables([one, one, one])
    found = []
    for number, (sizes, order) in enumerate(packings(12)):
        shards = pack(tmp_path / str(number), rows, sizes, order)
        run_barrier(Rank("score", bin_rows=1), shards, tmp_path / str(number))
        cells = [shard.columns(["uid", *NAMES]).to_pylist() for shard in handles(tmp_path / str(number), len(sizes))]
        found.append(sorted(tuple(row.values()) for some in cells for row in some))
    assert found[0] == found[1] == found[2]
    assert sorted(row[1] for row in found[0]) == list(range(12))


def test_whole_numbers_are_ranked_too(tmp_path):
    kinds = (pa.int8(), pa.int64(), pa.uint64())
    for kind in kinds:
        values = [3, 0, 7, None, 3, 100]
        rows = pairs(6, score=pa.array(values, kind))
        shards = pack(tmp_path / str(kind), rows, [2, 4])
        run_barrier(Rank("score"), shards, tmp_path / str(kind))
        places = [v[0] for v in by_row(shards, NAMES).values()]
        assert (places[5], places[2], {places[0], places[4]}, places[1], places[3]) == (0, 1, {2, 3}, 4, None)


def test_whole_numbers_beyond_what_a_float_holds_are_ranked_as_floats(tmp_path):
    rows = pairs(3, score=pa.array([2**53 + 1, 2**62, -(2**62) - 1], pa.int64()))
    shards = pack(tmp_path, rows, [3])
    run_barrier(Rank("score"), shards, tmp_path)
    assert [v[0] for v in by_row(shards, NAMES).values()] == [1, 0, 2]


@pytest.mark.parametrize("kind", [pa.float32(), pa.null()])
def test_rows_without_any_score_have_no_places(tmp_path, kind):
    rows = pairs(3, score=pa.nulls(3, kind))
    shards = pack(tmp_path, rows, [2, 0, 1])
    run_barrier(Rank("score"), shards, tmp_path)
    assert set(by_row(shards, NAMES).values()) == {(None, None, 0)}


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_an_empty_data_set(tmp_path, sizes):
    shards = pack(tmp_path, pairs(0, score=[]), sizes)
    commit = run_barrier(Rank("score"), shards, tmp_path)
    assert commit.counts == {"ranked": 0}
    assert len(commit.files) == len(sizes)
    for shard in handles(tmp_path, len(sizes)):
        assert [str(f.type) for f in shard.schema("rank_score")] == ["string", "int64", "int64", "int64"]


def test_columns_that_are_no_numbers_are_named(tmp_path):
    shards = pack(tmp_path, pairs(1, score=pa.array(["much"])), [1])
    with pytest.raises(ShardError, match="shard 00000: score is a column of string; a rank needs numbers"):
        run_barrier(Rank("score"), shards, tmp_path)


def test_a_shard_without_the_column_is_named(tmp_path):
    with pytest.raises(ShardError, match=r"shard 00000 in .* has no column 'other'"):
        run_barrier(Rank("other"), pack(tmp_path, pairs(1, score=[1.0]), [1]), tmp_path)


KEPT = st.lists(st.tuples(st.one_of(st.none(), st.floats(-1, 1, width=16)), st.integers(0, 5)), max_size=14)


@given(KEPT, st.sampled_from([1, 2, 1_000]), st.data())
@settings(deadline=None, max_examples=25)
def test_places_among_those_that_filters_keep(tmp_path_factory, values, bin_rows, data):
    folder = tmp_path_factory.mktemp("left")
    rules = (("size", Size(3)), ("score", Scored(min=-0.5)))
    rows = pairs(len(values), score=[s for s, _ in values], size=[float(z) for _, z in values])
    kept = [size >= 3 and score is not None and score >= -0.5 for score, size in values]
    expected = reference(rows, digests(rows, folder / "whole"), kept)
    shards = pack(folder, rows, *data.draw(st.sampled_from(packings(len(values)))))
    run_barrier(Rank("score", rules, bin_rows), shards, folder)
    assert by_row(shards, LEFT) == expected


def test_among_those_left_by_no_filter_at_all(tmp_path):
    rank = Rank("score", ())
    assert (rank.label, rank.writes) == ("rank_score_left", LEFT)
    shards = pack(tmp_path, pairs(3, score=[1.0, 3.0, 2.0]), [3])
    run_barrier(rank, shards, tmp_path)
    assert list(by_row(shards, LEFT).values()) == [(2, 2, 3), (0, 0, 3), (1, 1, 3)]


@pytest.mark.parametrize(("of", "kept"), [("all", 3), ("left", 2)])
def test_a_fraction_of_the_whole_or_of_what_is_left(tmp_path, of, kept):
    rows = pairs(6, score=[1.0, 3.0, 2.0, 6.0, 5.0, 4.0], size=[3.0, 3.0, 1.0, 3.0, 3.0, 1.0])
    shards = pack(tmp_path, rows, [4, 2])
    cut = Scored(fraction=0.5, among="earlier", of=of)
    (rank,) = cut.steps((("size", Size(3)),))
    run_barrier(rank, shards, tmp_path)
    judged = [cut.judge(shard.columns(cut.columns)).to_pylist() for shard in handles(tmp_path, 2)]
    found = dict(zip([1, 3, 2, 6, 5, 4], [reason for part in judged for reason in part], strict=True))
    assert [score for score in (6, 5, 3, 1) if found[score] is None] == [6, 5, 3][:kept]
    assert (found[2], found[4]) == (None, None)


def test_what_is_left_needs_filters_before():
    with pytest.raises(ValueError, match='of = "left" needs among = "earlier"'):
        Scored(fraction=0.5, of="left")


def models(*marks: str | None) -> list[dict[str, str]]:
    return [{"model_fingerprint": mark} if mark else {} for mark in marks]


def test_shards_scored_by_different_models_do_not_compare(tmp_path):
    rows = pairs(3, score=[1.0, 2.0, 3.0])
    shards = pack(tmp_path, rows, [1, 1, 1], about={"score": models("aa", "aa", "bb")})
    with pytest.raises(ShardError, match="score was made by model aa in shard 00000 and by bb in shard 00002"):
        run_barrier(Rank("score"), shards, tmp_path)
    shards = pack(tmp_path, rows, [1, 1, 1], about={"score": models("aa", None, "aa")})
    with pytest.raises(ShardError, match="by model aa in shard 00000 and by an unknown one in shard 00001"):
        run_barrier(Rank("score"), shards, tmp_path)
    shards = pack(tmp_path, rows, [1, 1, 1], about={"score": models("aa", "aa", "aa")})
    assert run_barrier(Rank("score"), shards, tmp_path).counts["ranked"] == 3


def test_what_changes_places_is_in_the_identity_and_bins_are_not():
    assert Rank("score").identity() == Rank("score", bin_rows=5).identity()
    different = [Rank("score"), Rank("other"), Rank("score", ()), Rank("score", (("size", Size(3)),))]
    different += [Rank("score", (("size", Size(4)),)), Rank("score", (("size", Size(4)),), of_the_left=True)]
    assert len({str(rank.identity()) for rank in different}) == 6
    with pytest.raises(ValueError, match="bin_rows = 0 is out of range"):
        Rank("score", bin_rows=0)


def test_no_scratch_is_left(tmp_path):
    shards = pack(tmp_path, pairs(9, score=[float(n) for n in range(9)]), [9])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.dedup.bins.Bins.__init__", small_bins)
        run_barrier(Rank("score", bin_rows=2), shards, tmp_path)
    assert [v[0] for v in by_row(shards, NAMES).values()] == list(range(8, -1, -1))
    assert not list(tmp_path.rglob("*.arrows"))
    assert not list((tmp_path / "_attempts").iterdir())


def small_bins(self, folder, buffer_bytes=0):
    self.folder, self.buffer_bytes = folder, 0
    self._buffer, self._bytes, self._sorted = [], 0, None


def steps(packed, model, **settings):
    rule = Scored(**settings)
    rules = (("size", Size(3)), ("score", rule))
    return (Given(packed), ScoredBy(packed, ("score", "size"), model), *rule.steps(rules[:1]), Select(rules))


def test_another_share_costs_a_decision_and_another_model_a_rank(tmp_path):
    rows = pairs(10, score=[n / 10 for n in range(10)], size=[float(n % 5) for n in range(10)])
    pack(tmp_path / "in", rows, [4, 6])
    packed, out = str(tmp_path / "in"), tmp_path / "out"
    first = run(out, 2, steps(packed, "one", fraction=0.3))
    assert [c.stage for c in first.commits] == ["given", "scores"] * 2 + ["rank_score"] + ["select"] * 2
    rank = bytes_of(out, "rank_score")
    for change in ({"fraction": 0.5}, {"fraction": 0.5, "ties": "datacomp"}, {"count": 2}, {"count": 2, "min": 0.1}):
        changed = run(out, 2, steps(packed, "one", **change))
        assert [c.stage for c in changed.commits] == ["select", "select"]
        assert bytes_of(out, "rank_score") == rank
    other = run(out, 2, steps(packed, "two", count=2, min=0.1))
    assert [c.stage for c in other.commits] == ["scores"] * 2 + ["rank_score"] + ["select"] * 2
    assert run(out, 2, steps(packed, "two", count=2, min=0.1)).made == 0


def test_among_those_left_a_changed_filter_before_it_moves_places(tmp_path):
    rows = pairs(10, score=[n / 10 for n in range(10)], size=[float(n % 5) for n in range(10)])
    pack(tmp_path / "in", rows, [4, 6])
    packed, out = str(tmp_path / "in"), tmp_path / "out"
    run(out, 2, steps(packed, "one", fraction=0.2, among="earlier"))
    assert [v[0] for v in by_row(handles(out, 2), ["keep"]).values()] == [False] * 8 + [True] * 2
    again = run(out, 2, steps(packed, "one", count=3, among="earlier"))
    assert [c.stage for c in again.commits] == ["select", "select"]
    assert [v[0] for v in by_row(handles(out, 2), ["keep"]).values()] == [False] * 4 + [True] + [False] * 3 + [True] * 2
