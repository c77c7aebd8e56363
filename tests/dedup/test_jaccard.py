"""Pairs: all of them in small buckets, a line of them in large ones, and exact similarities."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.bands import band_digests, choose_bands
from curate.dedup.jaccard import candidate_pairs, distinct_pairs, jaccard, pairs_of_buckets, sorted_sets
from curate.dedup.minhash import permutations, sign_texts, signatures, signed
from curate.dedup.shingles import Shingles, ShingleSets, shingle_sets

RECIPES = Path(__file__).resolve().parents[2] / ".." / "shared/data/neardup/recipes_text_pairs.jsonl"
NUMBERS = st.integers(0, 12) | st.integers(2**64 - 12, 2**64 - 1)


def sets_of(lists):
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return ShingleSets(offsets, np.array([h for one in lists for h in one], np.uint64))


def rows(*numbers):
    return np.array(numbers, np.int64)


@settings(deadline=None)
@given(st.lists(st.lists(NUMBERS, unique=True, max_size=12), min_size=1, max_size=6))
def test_similarities_are_those_of_plain_sets(lists):
    pairs = np.array([(i, j) for i in range(len(lists)) for j in range(len(lists))], np.int64)
    found = jaccard(sorted_sets(sets_of(lists)), pairs[:, 0], pairs[:, 1])
    for (i, j), similarity in zip(pairs, found, strict=True):
        one, other = set(lists[i]), set(lists[j])
        assert similarity == (len(one & other) / len(one | other) if one | other else 0)


def test_sorting_leaves_the_sets_given_alone():
    sets = sets_of([[3, 1], [2]])
    assert sorted_sets(sets).hashes.tolist() == [1, 3, 2]
    assert sets.hashes.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("sets", "left", "right", "message"),
    [
        (sets_of([[2, 1]]), rows(0), rows(0), "use sorted_sets"),
        (sets_of([[1, 1]]), rows(0), rows(0), "use sorted_sets"),
        (sets_of([[1], [2]]), rows(0), rows(2), "not among the 2 sets"),
        (sets_of([[1], [2]]), rows(-1), rows(1), "not among the 2 sets"),
        (sets_of([[1], [2]]), rows(0, 1), rows(1), "make no pairs"),
        (shingle_sets(pa.array(["a", "b"]), Shingles()), rows(0), rows(1), "cut the texts with xxh64"),
    ],
)
def test_what_cannot_be_compared_is_refused(sets, left, right, message):
    with pytest.raises(ValueError, match=message):
        jaccard(sets, left, right)


def test_a_set_may_begin_below_the_end_of_the_one_before():
    assert jaccard(sets_of([[5, 9], [1, 5]]), rows(0), rows(1)).tolist() == [1 / 3]


BUCKETS = st.lists(st.integers(0, 4), max_size=30).map(sorted)


@settings(deadline=None)
@given(BUCKETS, st.integers(2, 8), st.randoms(), st.booleans())
def test_small_buckets_give_all_pairs_and_large_ones_a_chain_at_least(keys, cap, random, with_near):
    numbers = list(range(len(keys)))
    random.shuffle(numbers)
    near = np.array([random.randrange(3) for _ in keys], np.uint64) if with_near else None
    found = pairs_of_buckets(np.array(keys, np.uint64), np.array(numbers, np.int64), cap, near)
    pairs = list(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert all(left < right for left, right in pairs)
    capped, wanted = 0, 0
    for key in set(keys):
        members = [n for k, n in zip(keys, numbers, strict=True) if k == key]
        own = [pair for pair in pairs if set(pair) <= set(members)]
        wanted += len(members) * (len(members) - 1) // 2
        if len(members) <= cap:
            assert set(own) == set(combinations(sorted(members), 2))
        else:
            capped += 1
            assert len(members) - 1 <= len(own) <= len(members) * max((cap - 1) // 2, 1)
            assert connected(members, own)
    assert len(pairs) == wanted - found.pairs_left_out
    assert found.capped_buckets == capped


def connected(members, pairs):
    reached = {members[0]}
    for _ in members:
        reached |= {n for pair in pairs if set(pair) & reached for n in pair}
    return reached == set(members)


@pytest.mark.parametrize(("size", "cap", "pairs", "capped"), [(5, 5, 10, 0), (6, 5, 9, 1), (3, 2, 2, 1), (2, 2, 1, 0)])
def test_the_cap_itself_is_below_the_cap(size, cap, pairs, capped):
    found = pairs_of_buckets(np.zeros(size, np.uint64), np.arange(size), cap)
    assert (len(found), found.capped_buckets, found.pairs_left_out) == (pairs, capped, size * (size - 1) // 2 - pairs)


def test_large_buckets_keep_near_ones_together():
    near = np.array([7, 1, 7, 1, 7, 1], np.uint64)
    found = pairs_of_buckets(np.zeros(6, np.uint64), np.arange(6), 3, near)
    assert set(zip(found.left.tolist(), found.right.tolist(), strict=True)) == {(1, 3), (3, 5), (0, 5), (0, 2), (2, 4)}


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_a_bucket_of_equal_ones_is_linear(size):
    found = pairs_of_buckets(np.zeros(size, np.uint64), np.arange(size), 64, np.zeros(size, np.uint64))
    assert (len(found), found.capped_buckets) == (size - 1, 1)
    assert found.pairs_left_out == size * (size - 1) // 2 - (size - 1)
    assert (found.right - found.left == 1).all()


def test_a_bucket_of_10_000_different_ones_is_linear():
    near = np.random.default_rng(0).integers(0, 2**63, 10_000).astype(np.uint64)
    found = pairs_of_buckets(np.zeros(10_000, np.uint64), np.arange(10_000), 64, near)
    assert len(found) == 10_000 * 31 - 31 * 32 // 2


@pytest.mark.parametrize(
    ("keys", "numbers", "cap", "message"),
    [
        ([2, 1], [0, 1], 8, "not in ascending order"),
        ([1, 1], [0], 8, "2 keys for 1 rows"),
        ([1, 1], [0, 1], 1, "cap = 1 is out of range"),
    ],
)
def test_buckets_that_are_none_are_refused(keys, numbers, cap, message):
    with pytest.raises(ValueError, match=message):
        pairs_of_buckets(np.array(keys, np.uint64), np.array(numbers, np.int64), cap)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), max_size=12), st.data())
def test_candidates_share_a_band(lists, data):
    chosen = data.draw(st.lists(st.sampled_from(range(max(len(lists), 1))), unique=True)) if lists else []
    digests = np.array(lists, np.uint64).reshape(-1, 3) * np.uint64(10) + np.arange(3, dtype=np.uint64)
    found = candidate_pairs(digests, rows=np.array(chosen, np.int64))
    wanted = [(i, j) for i, j in combinations(sorted(chosen), 2) if (digests[i] == digests[j]).any()]
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == wanted
    assert (found.capped_buckets, found.pairs_left_out) == (0, 0)


def test_pairs_come_once_and_large_numbers_are_refused():
    left, right = distinct_pairs(rows(3, 1, 3, 2**32 - 1), rows(4, 2, 4, 0))
    assert (left.tolist(), right.tolist()) == ([1, 3, 2**32 - 1], [2, 4, 0])
    with pytest.raises(ValueError, match="more than 32 bits"):
        distinct_pairs(rows(2**32), rows(1))


def test_empty_and_short_texts_are_duplicates_of_equals_only():
    texts = pa.array(["", None, " ", "cat", "Cat ", "dog", "a cat", "cats", "no", "on"])
    values = sign_texts(texts, Shingles(), permutations(64))
    digests = band_digests(values, choose_bands(0.8, 64))
    found = candidate_pairs(digests, rows=np.flatnonzero(signed(values)))
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == [(3, 4)]


def test_planted_pairs_are_found_as_often_as_the_theory_says():
    random = np.random.default_rng(1)
    common = random.integers(10, 50, 3_000)
    hashes, offsets = [], [0]
    for shared in common:
        both = random.integers(0, 2**32, shared, np.uint32)
        for _ in range(2):
            own = random.integers(0, 2**32, (60 - shared) // 2, np.uint32)
            hashes += [both, own]
            offsets.append(offsets[-1] + shared + len(own))
    sets = ShingleSets(np.array(offsets), np.concatenate(hashes))
    bands = choose_bands(0.8, 128)
    found = candidate_pairs(band_digests(signatures(sets, permutations(128)), bands))
    met = np.count_nonzero((found.left % 2 == 0) & (found.right == found.left + 1))
    sizes = sets.sizes[::2]
    theory = bands.probability(common / (2 * sizes - common))
    assert abs(met - theory.sum()) < 4 * np.sqrt((theory * (1 - theory)).sum())


@pytest.mark.skipif(not RECIPES.is_file(), reason="the recipes of shared/data are not here")
def test_every_edited_recipe_of_a_fork_is_found():
    pairs = [json.loads(line) for line in RECIPES.read_text("utf-8").splitlines()]
    known = [pair for pair in pairs if pair["a"] and pair["b"]]
    texts = pa.array([text for pair in known for text in (pair["a"], pair["b"])])
    values = sign_texts(texts, Shingles(), permutations(256))
    found = candidate_pairs(band_digests(values, choose_bands(0.8, 256)))
    sets = sorted_sets(shingle_sets(texts, Shingles(), "xxh64"))
    verified = jaccard(sets, found.left, found.right) >= 0.8
    near = set(zip(found.left[verified].tolist(), found.right[verified].tolist(), strict=True))
    every = np.arange(len(known))
    similarity = jaccard(sets, 2 * every, 2 * every + 1)
    assert {(2 * i, 2 * i + 1) for i in np.flatnonzero(similarity >= 0.8).tolist()} <= near
    assert all((2 * i, 2 * i + 1) in near for i, pair in enumerate(known) if pair["jaccard5"] >= 0.8), "of 5 words"
    assert sum(pair["a"] == pair["b"] for pair in known) == 315
    assert all((2 * i, 2 * i + 1) in near for i, pair in enumerate(known) if pair["a"] == pair["b"])
