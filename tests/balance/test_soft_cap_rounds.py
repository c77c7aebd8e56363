"""Soft-cap sampling against a plain loop with the same noise, the same in any packing."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import by_row, digests, pack, packings, pairs, run_barrier
from sized import Size

import curate.balance.rounds as rounds
from curate.balance.rounds import Rounds, draw_rounds
from curate.balance.soft_cap import DrawBySoftCap
from curate.dedup.identity import keyed
from curate.errors import ShardError


def mixed(value: int) -> int:
    """SplitMix64's last steps."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def gumbel(key: int, number: int) -> float:
    """The noise of a row in a round."""
    uniform = ((mixed(key ^ mixed((number + 1) * 0x9E3779B97F4A7C15 % 2**64)) >> 11) + 0.5) / 2**53
    return -math.log(-math.log(uniform))


def reference(logits, keys, plan: Rounds) -> list[int]:
    """Batch after batch: the largest of logit and noise are drawn, and pay for it."""
    logits, taken, left, number = list(logits), [0] * len(logits), plan.draws, 0
    while left:
        there = [i for i in range(len(logits)) if taken[i] < plan.most]
        order = sorted((-(logits[i] + gumbel(int(keys[i]), number)), i) for i in there)
        if not order:
            break
        for _, i in order[: min(plan.batch, left)]:
            taken[i], logits[i], left = taken[i] + 1, logits[i] - plan.penalty, left - 1
        number += 1
    return taken


def keys_for(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


@pytest.mark.parametrize("spread", [0.0, 0.1, 2.0, 300.0])
@pytest.mark.parametrize("plan", [Rounds(1_500, 10, 0.15, 15), Rounds(1_500, 10, 0.15, 2), Rounds(900, 1_000, 5, 15)])
def test_a_thousand_rows_in_batches_of_ten(spread, plan):
    logits = np.random.default_rng(1).normal(size=1_000) * spread
    keys = keys_for(1_000)
    found = draw_rounds(logits, keys, plan)
    assert found.tolist() == reference(logits, keys, plan)
    assert found.sum() == min(plan.draws, plan.most * 1_000)


@given(
    st.lists(st.sampled_from([0.0, 1.0, -1.0, 50.0, -800.0, 1e12, -1e300]) | st.floats(-5, 5), max_size=30),
    st.integers(0, 80),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.15, 3.0]),
    st.sampled_from([1, 2, 15]),
    st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=150)
def test_any_logits_as_the_plain_loop(logits, draws, batch, penalty, most, seed):
    keys = keys_for(len(logits), seed)
    plan = Rounds(draws, batch, penalty, most)
    assert draw_rounds(np.array(logits, float), keys, plan).tolist() == reference(logits, keys, plan)


@pytest.mark.parametrize("logits", [[-1e300] * 9, [1e300] * 9, [0.0] + [-1e300] * 8, [1e15 + n for n in range(9)]])
def test_logits_beyond_any_noise(logits):
    plan = Rounds(12, 2, 0.15, 3)
    assert draw_rounds(np.array(logits), keys_for(9), plan).tolist() == reference(logits, keys_for(9), plan)


def test_equal_rows_are_drawn_in_their_order():
    assert draw_rounds(np.zeros(4), np.zeros(4, np.uint64), Rounds(5, 1, 1.0, 15)).tolist() == [2, 1, 1, 1]
    assert draw_rounds(np.zeros(3), np.zeros(3, np.uint64), Rounds(2, 2, 1.0, 15)).tolist() == [1, 1, 0]


def test_a_level_is_set_again_only_when_too_few_reach_it(monkeypatch):
    levels = []
    set_level = rounds._Pool._set_level
    monkeypatch.setattr(rounds._Pool, "_set_level", lambda self, level: (levels.append(level), set_level(self, level)))
    logits = np.random.default_rng(1).normal(size=20_000)
    draw_rounds(logits, keys_for(20_000), Rounds(10_000, 20, 0.15, 15))
    assert 1 <= len(levels) <= 10
    assert all(math.isfinite(level) for level in levels)


def test_chances_are_those_of_softmax():
    """One draw of few rows, many times over."""
    logits = np.log([0.5, 0.3, 0.2])
    counts = np.zeros(3)
    for seed in range(600):
        counts += draw_rounds(logits, keys_for(3, seed), Rounds(1, 1, 0.15, 15))
    assert counts.tolist() == pytest.approx([300, 180, 120], abs=4 * math.sqrt(600 / 4))


def multiplicities(shards) -> dict[str, int | None]:
    return {uid: value for uid, (value,) in by_row(shards, ["multiplicity"]).items()}


def test_every_packing_draws_the_same_as_the_loop(tmp_path):
    random = np.random.default_rng(5)
    scores = [float(s) for s in np.round(random.normal(size=200), 1)]
    scores[7], scores[8], scores[9], scores[10] = None, math.nan, math.inf, -math.inf
    sizes = [float(n % 5) for n in range(200)]
    rows = pairs(200, score=scores, size=sizes)
    rules = (("size", Size(1)),)
    barrier = DrawBySoftCap("score", fraction=1.2, batch=10, temperature=0.5, rules=rules, seed=3)
    identity = digests(rows, tmp_path / "whole")
    uids = rows["uid"].to_pylist()
    taking_part = [n for n in range(200) if sizes[n] >= 1 and scores[n] is not None and math.isfinite(scores[n])]
    taking_part.sort(key=lambda n: identity[uids[n]])
    keys = keyed(np.array([identity[uids[n]] for n in taking_part], np.uint64), 3)
    plan = Rounds(int(1.2 * len(taking_part)), 10, 0.15, 15)
    drawn = reference([scores[n] / 0.5 for n in taking_part], keys, plan)
    expected = {uid: 0 if size >= 1 else None for uid, size in zip(uids, sizes, strict=True)}
    expected |= {uids[n]: count for n, count in zip(taking_part, drawn, strict=True)}
    assert max(drawn) > 2
    for number, (cut, order) in enumerate(packings(200)[::2]):
        shards = pack(tmp_path / str(number), rows, cut, order)
        commit = run_barrier(barrier, shards, tmp_path / str(number))
        assert multiplicities(shards) == expected
        assert commit.counts == {"drawn": plan.draws, "kept": sum(c > 0 for c in drawn), "scored": len(drawn)}


def test_a_batch_that_is_not_given_makes_many_rounds(tmp_path):
    shards = pack(tmp_path, pairs(50, score=[10.0] + [0.0] * 49), [50])
    run_barrier(DrawBySoftCap("score", count=50), shards, tmp_path)
    assert max(multiplicities(shards).values()) == 15


def test_all_that_may_be_drawn_is_and_no_more(tmp_path):
    shards = pack(tmp_path, pairs(5, score=[0.5, None, 0.1, 0.2, 0.3]), [2, 3])
    run_barrier(DrawBySoftCap("score", count=1_000, most=3), shards, tmp_path)
    assert list(multiplicities(shards).values()) == [3, 0, 3, 3, 3]


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_an_empty_data_set(tmp_path, sizes):
    shards = pack(tmp_path, pairs(0, score=[]), sizes)
    commit = run_barrier(DrawBySoftCap("score", count=5), shards, tmp_path)
    assert not any(commit.counts.values())
    assert multiplicities(shards) == {}


def test_scores_that_do_not_compare_are_refused(tmp_path):
    shards = pack(tmp_path, pairs(1, score=pa.array(["much"])), [1])
    with pytest.raises(ShardError, match="shard 00000: score is a column of string; an order needs numbers"):
        run_barrier(DrawBySoftCap("score", count=1), shards, tmp_path)
    about = {"score": [{"model_fingerprint": "aa"}, {"model_fingerprint": "bb"}]}
    shards = pack(tmp_path / "two", pairs(2, score=[1.0, 2.0]), [1, 1], about=about)
    with pytest.raises(ShardError, match="score was made by model aa in shard 00000 and by bb in shard 00001"):
        run_barrier(DrawBySoftCap("score", count=1), shards, tmp_path / "two")


def test_what_changes_draws_is_in_the_identity():
    settings = [{}, {"batch": 5}, {"penalty": 0.1}, {"most": 3}, {"temperature": 2.0}, {"rules": ()}, {"seed": 1}]
    different = [DrawBySoftCap("score", 5, **more) for more in settings]
    different += [DrawBySoftCap("other", 5), DrawBySoftCap("score", 6), DrawBySoftCap("score", fraction=0.5)]
    assert len({str(barrier.identity()) for barrier in different}) == len(different)
