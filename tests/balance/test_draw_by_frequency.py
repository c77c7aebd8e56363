"""Draws in which rare concepts and small clusters weigh more: their law, and the same draws at any packing."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import poisson
from scored_shards import by_row, handles, pack, packings, pairs, run_barrier

from curate.balance.frequency import DrawByFrequency, poisson_draws
from curate.dedup.identity import keyed

COUNT = 120
CLUSTERS = [n % 3 if n % 4 else 9 for n in range(COUNT)]
CONCEPTS = [[] if n % 10 == 7 else sorted({n % 2, 2 + n % 5, 9} if n % 3 else {n % 2}) for n in range(COUNT)]


def table(**columns: pa.Array) -> pa.Table:
    return pairs(COUNT, **columns)


def drawn(folder: Path, rows: pa.Table, step: DrawByFrequency, sizes=None, order=None) -> tuple[list, dict]:
    shards = pack(folder, rows, sizes or [COUNT], order)
    commit = run_barrier(step, shards, folder)
    found = by_row(handles(folder, len(shards)), ["keep_probability", "multiplicity"])
    return [found[uid] for uid in rows["uid"].to_pylist()], commit.counts


def expected_means(values: list[list[int]], alpha: float, over: str, draws: float) -> np.ndarray:
    """The published weights, row by row, as means of the draws."""
    counts: dict[int, int] = {}
    for own in values:
        for value in own:
            counts[value] = counts.get(value, 0) + 1
    reduce = {"mean": np.mean, "max": np.max}[over]
    weights = np.array([reduce([counts[v] ** (alpha - 1) for v in own]) if own else 0.0 for own in values])
    return draws * weights / weights.sum()


@pytest.mark.parametrize("over", ["mean", "max"])
@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_the_chance_is_the_published_weight(tmp_path: Path, alpha: float, over: str) -> None:
    step = DrawByFrequency("concepts", alpha, over, count=60)
    found, _ = drawn(tmp_path, table(concepts=pa.array(CONCEPTS, pa.list_(pa.uint32()))), step)
    means = expected_means(CONCEPTS, alpha, over, 60)
    np.testing.assert_allclose([p for p, _ in found], -np.expm1(-means), rtol=1e-9, atol=1e-12)
    assert all(times == 0 for (p, times) in found if p == 0)


@pytest.mark.parametrize("kind", [pa.int32(), pa.string()])
def test_a_cluster_is_drawn_by_its_size(tmp_path: Path, kind: pa.DataType) -> None:
    clusters = pa.array([None if n == 5 else value for n, value in enumerate(CLUSTERS)], pa.int32()).cast(kind)
    found, counts = drawn(tmp_path, table(cluster=clusters), DrawByFrequency("cluster", 0.0, count=40))
    chance = np.array([p for p, _ in found])
    for value in {*CLUSTERS}:
        own = [n for n in range(COUNT) if CLUSTERS[n] == value and n != 5]
        assert -np.log1p(-chance[own]).sum() == pytest.approx(10)
    assert found[5] == (0.0, 0)
    assert counts["drawn"] == sum(times for _, times in found)


def test_any_packing_draws_the_same(tmp_path: Path) -> None:
    rows = table(concepts=pa.array(CONCEPTS, pa.list_(pa.uint32())))
    step = DrawByFrequency("concepts", 0.2, fraction=0.5)
    found = [drawn(tmp_path / str(n), rows, step, *cut) for n, cut in enumerate(packings(COUNT))]
    assert found[0] == found[1] == found[2]
    assert drawn(tmp_path / "seed", rows, DrawByFrequency("concepts", 0.2, fraction=0.5, seed=1)) != found[0]


@pytest.mark.parametrize("most", [1, 3, 100, 10_000])
@pytest.mark.parametrize("mean", [0.0, 0.01, 1.0, 30.0, 499.0, 501.0, 746.0, 5_000.0])
def test_times_follow_poissons_law_cut_at_the_most(mean: float, most: int) -> None:
    keys = keyed(np.random.default_rng(0).integers(0, 1 << 63, (20_000, 2), dtype=np.uint64), 0)
    times = poisson_draws(np.full(len(keys), mean), keys, most)
    wanted = np.minimum(poisson.ppf((keys >> np.uint64(11)) * 2.0**-53, mean), most) if mean else np.zeros(len(keys))
    assert (np.abs(times - np.maximum(wanted, 0)) <= (0 if mean < 10 else 1 if mean < 500 else 3)).all()
    assert abs(times.mean() - np.minimum(poisson(mean).rvs(20_000, random_state=1), most).mean()) <= 0.1 + 0.01 * mean


def test_the_number_of_draws_is_met_within_four_sigma(tmp_path: Path) -> None:
    _, counts = drawn(tmp_path, table(cluster=pa.array(CLUSTERS)), DrawByFrequency("cluster", 0.2, fraction=20.0))
    assert abs(counts["drawn"] - 20 * COUNT) <= 4 * (20 * COUNT) ** 0.5


def test_nothing_to_draw_from(tmp_path: Path) -> None:
    found, counts = drawn(
        tmp_path, table(cluster=pa.nulls(COUNT, pa.int32())), DrawByFrequency("cluster", 0.2, count=9)
    )
    assert {*found} == {(0.0, 0)}
    assert counts["kept"] == 0
