"""Pairs inside a cell: bytes and tiles answer what all exact cosines say, by every rule and on every processor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from curate.dedup import semantic_cells, semantic_int8
from curate.dedup.semantic_cells import NONE, components, each_cell, nearest_earlier, nearest_kept
from curate.dedup.semantic_kernels import load


def embeddings(count: int, length: int, seed: int = 0, spread: float = 0.7, copies: float = 0.3) -> np.ndarray:
    """A cell: directions around one, some of them near another row, or equal to it. float16, near unit length."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=length) / length**0.5 + spread * random.normal(size=(count, length)) / length**0.5
    for _ in range(int(copies * count)):
        one, other = random.integers(0, count, 2)
        noise = random.choice([0.0, 0.001, 0.05, 0.3])
        rows[one] = rows[other] + noise * random.normal(size=length) / length**0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def cosines(rows: np.ndarray) -> np.ndarray:
    """All of them, exact and then rounded to float32."""
    wide = rows.astype(np.float64)
    lengths = np.sqrt((wide**2).sum(axis=1))
    return np.minimum((wide @ wide.T) / np.outer(lengths, lengths), 1).astype(np.float32)


def by_hand(found: np.ndarray, limit: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The rules as they are written, over rows in order. Products in float64 round equal rows' cosine to 1, nearly."""
    best, place = np.zeros(len(found), np.float32), np.full(len(found), NONE)
    kept: list[int] = []
    for row in range(len(found)):
        for other in kept:
            if found[row, other] > best[row]:
                best[row], place[row] = found[row, other], other
        if limit is None or best[row] <= np.float32(limit):
            kept.append(row)
    return best, place


@pytest.fixture(params=["bytes", "floats"])
def multiplied(request, monkeypatch):
    """By bytes where the processor can, and as on one that cannot."""
    if request.param == "floats":
        monkeypatch.setattr(semantic_cells, "available", lambda: False)
    elif not semantic_int8.available():
        pytest.skip("this processor has no AVX-512 VNNI")


SIZES = [(1, 8), (2, 3), (5, 4), (65, 33), (97, 16), (200, 512), (1500, 40)]


@pytest.mark.parametrize(("count", "length"), SIZES)
def test_the_largest_cosine_with_an_earlier_row(multiplied, count, length):
    rows = embeddings(count, length)
    order = np.random.default_rng(1).permutation(count)
    cosine, place = nearest_earlier(rows, order)
    expected = by_hand(cosines(rows[order]))
    assert cosine.dtype == np.float32
    np.testing.assert_allclose(cosine, expected[0], rtol=0, atol=1e-7)
    differ = place != expected[1]
    found = cosines(rows[order])
    assert np.abs(found[differ, place[differ]] - found[differ, expected[1][differ]]).max(initial=0) <= 1e-7
    assert differ.mean() <= 0.01


@pytest.mark.parametrize(("count", "length"), SIZES)
@pytest.mark.parametrize("limit", [0.3, 0.95])
def test_only_kept_rows_count_by_the_greedy_rule(multiplied, count, length, limit):
    rows = embeddings(count, length, seed=2)
    order = np.random.default_rng(1).permutation(count)
    found = nearest_kept(rows, order, limit)
    expected, _ = by_hand(cosines(rows[order]), limit)
    np.testing.assert_allclose(found.cosine, expected, rtol=0, atol=1e-7)
    kept = found.cosine <= np.float32(limit)
    assert kept[found.place[found.place != NONE]].all()


@pytest.mark.parametrize(("count", "length"), SIZES)
@pytest.mark.parametrize("limit", [0.0, 0.6, 0.95])
def test_components_are_those_of_all_pairs(multiplied, count, length, limit):
    rows = embeddings(count, length, seed=3)
    order = np.random.default_rng(1).permutation(count)
    size, place = components(rows, order, limit)
    one, other = np.nonzero(np.triu(cosines(rows[order]) > np.float32(limit), 1))
    _, labels = connected_components(coo_array((np.ones(len(one)), (one, other)), shape=(count, count)), directed=False)
    first = np.array([np.flatnonzero(labels == label)[0] for label in labels])
    assert place.tolist() == first.tolist()
    assert size.tolist() == np.bincount(labels)[labels].tolist()


def test_pairs_on_both_sides_of_a_bound_are_told_apart(multiplied):
    """150 pairs far from one another, with cosines of .9 and a little more or less: a rough product errs by as much."""
    random = np.random.default_rng(5)
    one = random.normal(size=(150, 512))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other = random.normal(size=one.shape)
    other -= (other * one).sum(axis=1, keepdims=True) * one
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    cosine = 0.9 + random.uniform(-0.002, 0.002, (150, 1))
    rows = np.concatenate([one, cosine * one + np.sqrt(1 - cosine**2) * other]).astype(np.float16)
    near = cosines(rows)[np.arange(150), np.arange(150, 300)] > np.float32(0.9)
    order = np.arange(300)
    assert 50 < near.sum() < 100
    assert (components(rows, order, 0.9).place[150:] == np.arange(150)).tolist() == near.tolist()
    assert (nearest_earlier(rows, order).cosine[150:] > np.float32(0.9)).tolist() == near.tolist()
    assert (nearest_kept(rows, order, 0.9).cosine[150:] > np.float32(0.9)).tolist() == near.tolist()


def test_a_chain_by_every_rule():
    """a ~ b ~ c at 20 degrees each, so that a and c are 40 apart; .9 lies between their cosines."""
    angles = np.deg2rad([0, 20, 40])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    order = np.arange(3)
    assert (nearest_earlier(rows, order).cosine > 0.9).tolist() == [False, True, True]
    assert (nearest_kept(rows, order, 0.9).cosine > 0.9).tolist() == [False, True, False]
    assert components(rows, order, 0.9).place.tolist() == [0, 0, 0]
    assert components(rows, order, 0.95).place.tolist() == [0, 1, 2]
    assert (nearest_earlier(rows, np.array([0, 2, 1])).cosine > 0.9).tolist() == [False, False, True]


def test_equal_rows_are_nearest_to_the_first_of_them(multiplied):
    rows = np.repeat(embeddings(4, 24, copies=0), 3, axis=0)
    order = np.array([5, 0, 1, 3, 2, 4, 9, 6])
    cosine, place = nearest_earlier(rows, order)
    assert place[[2, 3, 4, 5]].tolist() == [1, 0, 1, 0]
    assert cosine[[2, 3, 4, 5]].tolist() == [1.0] * 4
    assert components(rows, order, 0.9999).place.tolist() == [0, 1, 1, 0, 1, 0, 6, 7]
    assert (nearest_kept(rows, order, 0.9999).cosine > 0.9999).tolist() == [False, False, *[True] * 4, False, False]


def test_ten_thousand_equal_rows_are_compared_once(multiplied, monkeypatch):
    tiles, compared = semantic_cells._tiles, []
    monkeypatch.setattr(semantic_cells, "_tiles", lambda n, product: compared.append(n) or tiles(n, product))
    rows = np.repeat(embeddings(2, 64), [10_000, 1], axis=0)
    cosine, place = nearest_earlier(rows, np.arange(10_001))
    assert cosine[1:10_000].min() == 1.0
    assert set(place[1:].tolist()) == {0}
    assert components(rows, np.arange(10_001), 0.9999).cosine[0] == 10_000
    assert compared == [2, 2]


@pytest.mark.parametrize("signs", [(1, -1), (1, 0, -1, 0)])
def test_no_cosine_above_0_is_none(multiplied, signs):
    rows = np.array([[sign, sign == 0] for sign in (1, -1)], np.float16) if len(signs) == 2 else np.eye(4, dtype="f2")
    cosine, place = nearest_earlier(rows, np.arange(len(rows)))
    assert cosine.tolist() == [0.0] * len(rows)
    assert place.tolist() == [NONE] * len(rows)


@pytest.mark.parametrize("scale", [2.0**-12, 1.0, 60_000.0])
def test_the_length_of_a_row_does_not_count(multiplied, scale):
    rows = embeddings(50, 16)
    rows[::2] = (rows[::2].astype(np.float64) * scale / np.abs(rows[::2]).max()).astype(np.float16)
    expected, _ = by_hand(cosines(rows))
    np.testing.assert_allclose(nearest_earlier(rows, np.arange(50)).cosine, expected, rtol=0, atol=1e-7)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 130), st.integers(1, 40), st.integers(0, 1000), st.sampled_from([0.01, 0.1, 1, 10]))
def test_any_cell(count, length, seed, spread):
    rows = embeddings(count, length, seed, spread)
    rows = rows[rows.any(axis=1)]
    order = np.random.default_rng(seed).permutation(len(rows))
    expected, _ = by_hand(cosines(rows[order]))
    np.testing.assert_allclose(nearest_earlier(rows, order).cosine, expected, rtol=0, atol=1e-7)


def test_bytes_and_floats_answer_the_same(monkeypatch):
    if not semantic_int8.available():
        pytest.skip("this processor has no AVX-512 VNNI")
    rows, order = embeddings(700, 96, copies=0.6), np.arange(700)
    ours = [nearest_earlier(rows, order), nearest_kept(rows, order, 0.9), components(rows, order, 0.9)]
    monkeypatch.setattr(semantic_cells, "available", lambda: False)
    others = [nearest_earlier(rows, order), nearest_kept(rows, order, 0.9), components(rows, order, 0.9)]
    for one, other in zip(ours, others, strict=True):
        assert one.cosine.tobytes() == other.cosine.tobytes()
        assert one.place.tobytes() == other.place.tobytes()


def test_cells_are_compared_each_by_itself():
    rows = embeddings(90, 16)
    order = np.random.default_rng(4).permutation(90)
    found = each_cell(nearest_earlier, rows, order, np.array([1, 40, 90]))
    for start, end in ((0, 1), (1, 40), (40, 90)):
        own = order[start:end]
        cosine, place = nearest_earlier(rows, own)
        assert found.cosine[own].tolist() == cosine.tolist()
        assert found.place[own].tolist() == [NONE if p == NONE else own[p] for p in place]


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -2.5, 65504.0, 6e-8, -6.1e-5, 6.104e-5, 0.1])
def test_float16_becomes_float32_as_it_is(value):
    stored = np.array([[value, 1.0]], np.float16)
    found = np.empty((1, 2), np.uint32)
    squares = load(stored.view(np.uint16), np.array([0]), found)
    assert found.view(np.float32).tolist() == stored.astype(np.float32).tolist()
    assert squares[0] == (stored.astype(np.float64) ** 2).sum()


def test_products_of_bytes_are_exact():
    if not semantic_int8.available():
        pytest.skip("this processor has no AVX-512 VNNI")
    random = np.random.default_rng(0)
    left = random.integers(0, 256, (12, 520)).astype(np.uint8)
    right = random.integers(-128, 128, (128, 520)).astype(np.int8)
    panels = semantic_int8.aligned(2 * 130 * 64 * 4).view(np.int8).reshape(2, 130, 64, 4)
    panels[:] = right.reshape(2, 64, 130, 4).transpose(0, 2, 1, 3)
    sums = np.empty((12, 128), np.int32)
    semantic_int8.multiply(left, panels, sums)
    assert (sums == left.astype(np.int64) @ right.astype(np.int64).T).all()
