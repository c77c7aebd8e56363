"""Shares of clusters against a general solver, and the barrier against the paper's formulas written out."""

import json
import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import by_row, digests, embedded, pack, packings, pairs, run_barrier, unit_rows
from sized import Size

from curate.balance import clusters
from curate.balance.clusters import CLUSTER, DISTANCE, PLACE, TARGET, ShareByComplexity
from curate.balance.targets import complexity_shares, nearest_feasible, whole_targets
from curate.dedup.identity import keyed
from curate.errors import ShardError, StageError

NAMES = [CLUSTER, DISTANCE, PLACE, TARGET]


@pytest.mark.parametrize(
    ("wanted", "high", "total", "found"),
    [
        ([5, 5], [10, 10], 10, [5, 5]),
        ([9, 1], [5, 10], 10, [5, 5]),
        ([9, 1], [5, 3], 10, [5, 3]),
        ([9, 1, 0], [5, 10, 10], 10, [5, 3, 2]),
        ([0.5, 99.5], [10, 100], 100, [1, 99]),
        ([3, 3], [10, 10], 0, [1, 1]),
    ],
)
def test_nearest_numbers_that_fit(wanted, high, total, found):
    low = np.ones(len(wanted))
    answer = nearest_feasible(np.array(wanted, float), low, np.array(high, float), total)
    assert answer.tolist() == pytest.approx(found)


@pytest.mark.parametrize("seed", range(8))
def test_as_a_general_solver(seed):
    from scipy.optimize import minimize

    random = np.random.default_rng(seed)
    high = random.integers(1, 40, 7).astype(float)
    low = np.minimum(high, random.integers(0, 4, 7))
    total = random.uniform(low.sum(), high.sum())
    wanted = total * random.dirichlet(np.full(7, 0.3))
    answer = nearest_feasible(wanted, low, high, total)
    other = minimize(
        lambda x: ((x - wanted) ** 2).sum(),
        (low + high) / 2,
        bounds=list(zip(low, high, strict=True)),
        constraints={"type": "eq", "fun": lambda x: x.sum() - total},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert answer.sum() == pytest.approx(total)
    assert ((answer - wanted) ** 2).sum() <= other.fun + 1e-6
    assert answer.tolist() == pytest.approx(other.x, abs=1e-3)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), min_size=1, max_size=12), st.floats(0, 1))
@settings(deadline=None)
def test_whole_numbers_sum_to_what_is_wanted_and_stay_near(rows, share):
    wanted, high = np.array([w for w, _ in rows]), np.array([h for _, h in rows])
    total = int(share * high.sum())
    fitting = nearest_feasible(wanted, np.zeros(len(rows)), high.astype(float), total)
    found = whole_targets(fitting, high, total)
    assert found.sum() == total
    assert (found >= 0).all()
    assert (found <= high).all()
    assert (np.abs(found - fitting) < 1 + 1e-6).all()


def test_shares_are_a_softmax():
    shares = complexity_shares(np.array([0.1, 0.2, 0.2]), 0.1)
    assert shares.tolist() == pytest.approx(np.array([1, math.e, math.e]) / (1 + 2 * math.e))
    assert complexity_shares(np.array([1000.0, 0.0]), 0.1).tolist() == [1.0, 0.0]


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Pictures around five directions, in clusters of different size and width."""
    random = np.random.default_rng(seed)
    centres, widths = unit_rows(5, 8, 1), np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    which = random.choice(5, count, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    rows = centres[which] + widths[which, None] * unit_rows(count, 8, seed + 2)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


def test_as_the_formulas_written_out(tmp_path):
    rows, sizes = clustered(400), [float(n % 5) for n in range(400)]
    table = pairs(400, clip=embedded(rows, missing=[3, 77]), size=sizes)
    shards = pack(tmp_path, table, [150, 250])
    barrier = ShareByComplexity("clip", count=100, clusters=5, rules=(("size", Size(1)),))
    commit = run_barrier(barrier, shards, tmp_path)
    uids = table["uid"].to_pylist()
    found = by_row(shards, NAMES)
    cluster = np.array([-1 if found[uid][0] is None else found[uid][0] for uid in uids])
    assert [n for n in range(400) if cluster[n] < 0] == [3, 77]
    taking_part = (cluster >= 0) & (np.array(sizes) >= 1)
    file = json.loads((tmp_path / "cluster_balance" / "clusters.json").read_text())
    assert [line["rows"] for line in file] == [int((cluster[taking_part] == c).sum()) for c in range(5)]
    distance = np.array([found[uid][1] or 0.0 for uid in uids])
    within = [distance[taking_part & (cluster == c)].mean() for c in range(5)]
    assert [line["within_distance"] for line in file] == pytest.approx(within, abs=1e-6)
    complexity = np.array([line["within_distance"] * line["between_distance"] for line in file])
    shares = np.exp(complexity / 0.1) / np.exp(complexity / 0.1).sum()
    assert [line["share"] for line in file] == pytest.approx(shares)
    targets = [line["target"] for line in file]
    assert sum(targets) == 100 == commit.counts["target"]
    assert all(1 <= line["target"] <= line["rows"] for line in file)
    draws = {uid: int(keyed(np.array([d], np.uint64), 0)[0]) for uid, d in digests(table, tmp_path / "w").items()}
    for c in range(5):
        own = [n for n in range(400) if taking_part[n] and cluster[n] == c]
        assert {found[uids[n]][3] for n in own} == {targets[c]}
        assert sorted(found[uids[n]][2] for n in own) == list(range(len(own)))
        by_place = sorted(own, key=lambda n: found[uids[n]][2])
        assert all(
            distance[a] > distance[b] or (distance[a] == distance[b] and draws[uids[a]] != draws[uids[b]])
            for a, b in pairwise(by_place)
        )
    outside = [uids[n] for n in range(400) if not taking_part[n]]
    assert all(found[uid][2:] == (None, None) for uid in outside)


def test_the_distances_are_cosines_to_the_centre(tmp_path):
    rows = clustered(120)
    shards = pack(tmp_path, pairs(120, clip=embedded(rows)), [120])
    run_barrier(ShareByComplexity("clip", fraction=0.5, clusters=1), shards, tmp_path)
    found = by_row(shards, NAMES)
    centre = rows.astype(np.float64).mean(axis=0)
    expected = 1 - rows @ centre / np.linalg.norm(rows, axis=1) / np.linalg.norm(centre)
    assert [distance for _, distance, _, _ in found.values()] == pytest.approx(expected.tolist(), abs=1e-5)
    assert {target for *_, target in found.values()} == {60}
    (line,) = json.loads((tmp_path / "cluster_balance" / "clusters.json").read_text())
    assert (line["between_distance"], line["complexity"], line["share"]) == (0.0, 0.0, 1.0)


def test_the_distance_to_the_nearest_others():
    centres = unit_rows(40, 8, 3)
    cosines = 1 - centres.astype(np.float64) @ centres.T
    expected = [np.sort(np.delete(line, n))[:20].mean() for n, line in enumerate(cosines)]
    assert clusters._distances_between(centres * 3).tolist() == pytest.approx(expected, abs=1e-6)
    few = clusters._distances_between(np.eye(3, dtype=np.float32))
    assert few.tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_a_wide_cluster_gets_more_than_its_part(tmp_path):
    rows = clustered(1_000)
    shards = pack(tmp_path, pairs(1_000, clip=embedded(rows)), [1_000])
    run_barrier(ShareByComplexity("clip", count=300, clusters=5, temperature=0.02), shards, tmp_path)
    file = json.loads((tmp_path / "cluster_balance" / "clusters.json").read_text())
    kept = [(line["complexity"], line["target"] / line["rows"]) for line in file]
    assert max(kept)[1] > 2 * min(kept)[1]


def test_every_packing_decides_the_same(tmp_path):
    rows = clustered(150)
    table = pairs(150, clip=embedded(rows, missing=[5]))
    found = []
    for number, (sizes, order) in enumerate(packings(150)[::2]):
        shards = pack(tmp_path / str(number), table, sizes, order)
        barrier = ShareByComplexity("clip", fraction=0.4, clusters=4, bin_rows=40)
        run_barrier(barrier, shards, tmp_path / str(number))
        file = (tmp_path / str(number) / "cluster_balance" / "clusters.json").read_bytes()
        found.append((by_row(shards, NAMES), file))
    assert found[0] == found[1]


def test_zero_and_broken_embeddings_are_in_no_cluster(tmp_path):
    rows = clustered(20)
    rows[4], rows[5, 3] = 0, np.nan
    shards = pack(tmp_path, pairs(20, clip=embedded(rows)), [20])
    run_barrier(ShareByComplexity("clip", count=10, clusters=2), shards, tmp_path)
    found = list(by_row(shards, NAMES).values())
    assert found[4] == found[5] == (None,) * 4
    assert sum(place < target for _, _, place, target in found if place is not None) == 10


@pytest.mark.parametrize("count", [0, 1, 3, 400])
def test_few_and_many_rows_are_wanted(tmp_path, count):
    shards = pack(tmp_path, pairs(90, clip=embedded(clustered(90))), [90])
    run_barrier(ShareByComplexity("clip", count=count, clusters=4), shards, tmp_path)
    kept = [place < target for _, _, place, target in by_row(shards, NAMES).values()]
    assert sum(kept) == min(count, 90)


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_an_empty_data_set(tmp_path, sizes):
    rows = pairs(0, clip=embedded(np.empty((0, 8), np.float32)))
    shards = pack(tmp_path, rows, sizes)
    commit = run_barrier(ShareByComplexity("clip", count=5), shards, tmp_path)
    assert commit.counts["target"] == 0
    assert by_row(shards, NAMES) == {}
    assert {f.name for f in commit.files} == {
        "cluster_balance/clusters.json",
        *(f"{n:05d}.cluster_balance.parquet" for n in range(len(sizes))),
    }


def test_what_cannot_be_clustered_is_told(tmp_path):
    shards = pack(tmp_path, pairs(3, clip=embedded(clustered(3))), [3])
    with pytest.raises(StageError, match=r"3 rows with clip make no 5 clusters; set .* clusters to at most 1"):
        run_barrier(ShareByComplexity("clip", count=1, clusters=5), shards, tmp_path)
    about = {"clip": [{"model_fingerprint": "aa"}, {"model_fingerprint": "bb"}]}
    shards = pack(tmp_path / "two", pairs(2, clip=embedded(clustered(2))), [1, 1], about=about)
    with pytest.raises(ShardError, match="clip was made by model aa in shard 00000 and by bb in shard 00001"):
        run_barrier(ShareByComplexity("clip", count=1, clusters=1), shards, tmp_path / "two")
    shards = pack(tmp_path / "three", pairs(2, clip=pa.array([1.0, 2.0])), [2])
    with pytest.raises(ShardError, match="shard 00000: clip is a column of double, not of embeddings"):
        run_barrier(ShareByComplexity("clip", count=1, clusters=1), shards, tmp_path / "three")


def test_what_changes_targets_is_in_the_identity():
    settings = [{}, {"clusters": 5}, {"iterations": 3}, {"temperature": 1.0}, {"least": 0}, {"rules": ()}, {"seed": 1}]
    different = [ShareByComplexity("clip", 5, **more) for more in settings]
    different += [ShareByComplexity("other", 5), ShareByComplexity("clip", 6), ShareByComplexity("clip", fraction=0.5)]
    assert len({str(barrier.identity()) for barrier in different}) == len(different)
    assert ShareByComplexity("clip", 5).identity() == ShareByComplexity("clip", 5, bin_rows=9).identity()
