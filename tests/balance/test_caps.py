"""Places within groups against a sort of plain Python, the same for any packing and any size of ranges."""

import math
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import by_row, bytes_of, digests, handles, pack, packings, pairs, run_barrier
from sized import Size

from curate.balance import places
from curate.balance.caps import PlaceInGroup
from curate.dedup.identity import keyed
from curate.errors import ShardError
from curate.shard import Shard


def reference(rows: pa.Table, folder, seed=0, prefer="", kept=None) -> dict[str, int | None]:
    """Places by uid."""
    identity = digests(rows, folder)
    groups = defaultdict(list)
    for number, row in enumerate(rows.to_pylist()):
        score = row[prefer] if prefer else 0.0
        if row["group"] is None or score is None or math.isnan(score) or (kept and not kept[number]):
            continue
        draw = int(keyed(np.array([identity[row["uid"]]], np.uint64), seed)[0])
        groups[row["group"]].append((-score, draw, row["uid"]))
    found: dict[str, int | None] = dict.fromkeys(rows["uid"].to_pylist())
    for group in groups.values():
        found |= {uid: place for place, (_, _, uid) in enumerate(sorted(group))}
    return found


def placed(shards) -> dict[str, int | None]:
    return {uid: place for uid, (place,) in by_row(shards, ["group_place"]).items()}


GROUPS = st.sampled_from([None, "", "a", "b", "a.b", "ä"])
SCORES = st.sampled_from([None, math.nan, math.inf, -math.inf, 0.0, -0.0, 0.5, 1.0, 5e-324])


@given(st.lists(st.tuples(GROUPS, SCORES), max_size=14), st.sampled_from(["", "score"]), st.data())
@settings(deadline=None, max_examples=12)
def test_places_are_those_of_a_sort(tmp_path_factory, values, prefer, data):
    folder = tmp_path_factory.mktemp("places")
    groups = pa.array([group for group, _ in values], pa.string())
    rows = pairs(len(values), group=groups, score=[score for _, score in values])
    expected = reference(rows, folder / "whole", prefer=prefer)
    sizes, order = data.draw(st.sampled_from(packings(len(values))))
    written = []
    for bin_rows in (1, 3, 1_000):
        out = folder / str(bin_rows)
        shards = pack(out, rows, sizes, order)
        commit = run_barrier(PlaceInGroup("group", prefer, bin_rows=bin_rows), shards, out)
        assert placed(shards) == expected
        assert commit.counts.get("placed", 0) == sum(place is not None for place in expected.values())
        written.append(bytes_of(out, "place_group"))
    assert all(other == written[0] for other in written)


@pytest.mark.parametrize("prefer", ["", "score"])
def test_every_packing_gives_a_row_the_same_place(tmp_path, prefer):
    random = np.random.default_rng(2)
    groups = pa.array([f"g{int(g)}" for g in 6 * random.random(400) ** 2])
    rows = pairs(400, group=groups, score=pa.array(np.round(random.random(400), 1)))
    expected = reference(rows, tmp_path / "whole", prefer=prefer)
    for number, (sizes, order) in enumerate(packings(400)[::2]):
        shards = pack(tmp_path / str(number), rows, sizes, order)
        run_barrier(PlaceInGroup("group", prefer, bin_rows=7), shards, tmp_path / str(number))
        assert placed(shards) == expected


@pytest.mark.parametrize("prefer", ["", "score"])
@pytest.mark.parametrize("groups", [1, 1_000])
def test_a_range_holds_about_what_it_should(tmp_path, monkeypatch, prefer, groups):
    """Also where one group has all rows."""
    random = np.random.default_rng(4)
    names = pa.array([f"g{g}" for g in random.integers(0, groups, 8_000)])
    rows = pairs(8_000, group=names, score=pa.array(random.random(8_000)))
    shards = pack(tmp_path, rows, [8_000])
    sizes = []

    def spied(found, last, count):
        sizes.append(len(found))
        return place(found, last, count)

    place = places._place
    monkeypatch.setattr(places, "_place", spied)
    run_barrier(PlaceInGroup("group", prefer, bin_rows=1_000), shards, tmp_path)
    assert len(sizes) == 8
    assert sum(sizes) == 8_000
    assert max(sizes) < 2_000


def test_among_those_that_earlier_filters_keep(tmp_path):
    sizes = [float(n % 5) for n in range(60)]
    rows = pairs(60, group=pa.array(["a", "b", "c"] * 20), size=sizes)
    expected = reference(rows, tmp_path / "whole", kept=[size >= 3 for size in sizes])
    barrier = PlaceInGroup("group", rules=(("size", Size(3)),))
    for number, (cut, order) in enumerate(packings(60)[::2]):
        shards = pack(tmp_path / str(number), rows, cut, order)
        run_barrier(barrier, shards, tmp_path / str(number))
        assert placed(shards) == expected
    assert set(barrier.reads) == {"group", "size", "url", "sha256"}


def test_another_seed_draws_others_and_each_row_alike(tmp_path):
    rows = pairs(2_000, group=pa.array(["a"] * 2_000))
    shards = pack(tmp_path, rows, [2_000])
    first = []
    for seed in range(2):
        run_barrier(PlaceInGroup("group", seed=seed), shards, tmp_path)
        first.append({uid for uid, place in placed(shards).items() if place < 500})
    assert 90 < len(first[0] & first[1]) < 160  # 125 are expected
    of_even = sum(uid in first[0] for uid in rows["uid"].to_pylist()[::2])
    assert 200 < of_even < 300


@pytest.mark.parametrize(
    "values",
    [
        pa.array([3, 4, 3, None], pa.int16()),
        pa.array([True, False, True, None]),
        pa.array(["a", "b", "a", None]).dictionary_encode(),
        pa.array(["a", "b", "a", None], pa.large_string()),
    ],
)
def test_columns_of_other_types(tmp_path, values):
    shards = pack(tmp_path, pairs(4, group=values), [4])
    run_barrier(PlaceInGroup("group"), shards, tmp_path)
    assert sorted(list(placed(shards).values())[:3]) == [0, 0, 1]
    assert list(placed(shards).values())[3] is None


def test_copies_share_their_places(tmp_path):
    one = pairs(3, group=pa.array(["a"] * 3))
    shards = pack(tmp_path, pa.concat_tables([one, one, one]), [4, 5])
    run_barrier(PlaceInGroup("group", bin_rows=2), shards, tmp_path)
    found = [s.columns(["group_place"])["group_place"].to_pylist() for s in handles(tmp_path, 2)]
    assert sorted(place for part in found for place in part) == list(range(9))


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_an_empty_data_set(tmp_path, sizes):
    shards = pack(tmp_path, pairs(0, group=pa.array([], pa.string())), sizes)
    run_barrier(PlaceInGroup("group", bin_rows=1), shards, tmp_path)
    for shard in handles(tmp_path, len(sizes)):
        assert [str(f.type) for f in shard.schema("place_group")] == ["string", "int64"]


def test_what_cannot_be_counted_is_refused(tmp_path):
    shards = pack(tmp_path, pairs(1, group=pa.array([1.5]), word=pa.array(["a"])), [1])
    with pytest.raises(ShardError, match="shard 00000: group is a column of double; a cap counts texts"):
        run_barrier(PlaceInGroup("group"), shards, tmp_path)
    with pytest.raises(ShardError, match="shard 00000: word is a column of string; an order needs numbers"):
        run_barrier(PlaceInGroup("sha256", "word"), shards, tmp_path)
    about = {"score": [{"model_fingerprint": "aa"}, {"model_fingerprint": "bb"}]}
    shards = pack(tmp_path / "two", pairs(2, score=[1.0, 2.0]), [1, 1], about=about)
    with pytest.raises(ShardError, match="score was made by model aa in shard 00000 and by bb in shard 00001"):
        run_barrier(PlaceInGroup("sha256", "score"), shards, tmp_path / "two")


def test_no_scratch_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.dedup.bins.Bins.add", add_and_spill)
    shards = pack(tmp_path, pairs(9, group=pa.array(["a"] * 9)), [4, 5])
    run_barrier(PlaceInGroup("group", bin_rows=2), shards, tmp_path)
    assert sorted(placed([Shard(s.storage, s.id) for s in shards]).values()) == list(range(9))
    assert not list(tmp_path.rglob("*.arrows"))


def add_and_spill(self, bins, rows):
    self._buffer.append((bins, rows))
    self._write()


def test_what_changes_places_is_in_the_identity_and_ranges_are_not():
    assert PlaceInGroup("a").identity() == PlaceInGroup("a", bin_rows=5).identity()
    different = [PlaceInGroup("a"), PlaceInGroup("b"), PlaceInGroup("a", "score"), PlaceInGroup("a", seed=1)]
    different += [PlaceInGroup("a", rules=()), PlaceInGroup("a", rules=(("size", Size(3)),))]
    assert len({str(barrier.identity()) for barrier in different}) == len(different)
    with pytest.raises(ValueError, match="bin_rows = 0 is out of range"):
        PlaceInGroup("a", bin_rows=0)
