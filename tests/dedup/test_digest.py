"""Digests of strings: equal for equal strings however they lie in memory, different for all others."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup import digest
from curate.dedup.digest import digest_sets, digest_strings, join_digests

TEXTS = st.lists(st.text(max_size=60) | st.sampled_from(["", "a", "a" * 16, "a" * 17, "\0", "\0\0"]))


def numbers(texts, type=None):
    found = digest_strings(
        texts if isinstance(texts, pa.Array | pa.ChunkedArray) else pa.array(texts, type or pa.string())
    )
    return [tuple(row) for row in found.tolist()]


@settings(deadline=None)
@given(TEXTS)
def test_equal_digests_are_equal_strings(texts):
    found = numbers(texts)
    assert len(set(found)) == len(set(texts))
    assert dict(zip(texts, found, strict=True)) == {text: numbers([text])[0] for text in texts}


@settings(deadline=None)
@given(TEXTS, st.integers(0, 9), st.integers(0, 9))
def test_slices_chunks_and_types_do_not_count(texts, start, size):
    whole = numbers(texts)
    array = pa.array(texts, pa.string())
    assert numbers(array.slice(min(start, len(texts)), size)) == whole[start : start + size]
    assert numbers(pa.chunked_array([texts[:start], texts[start:]], pa.string())) == whole
    assert numbers(texts, pa.large_string()) == whole
    assert numbers(array.cast(pa.binary())) == whole


def test_every_length_around_the_blocks_and_the_bound_differs_in_its_last_byte():
    lengths = [*range(70), 1007, 1008, 1009, 1023, 1024, 1025, 1040, 5000]
    texts = [("x" * length + end) for length in lengths for end in ("y", "z", "")]
    found = numbers(texts)
    assert len(set(found)) == len(set(texts))
    assert [numbers([text])[0] for text in texts] == found, "whatever lies beside it"


def test_a_byte_anywhere_turns_half_of_the_bits():
    base = "the quick brown fox jumps over the lazy dog, twice"
    changed = [base[:i] + chr(ord(base[i]) ^ 1) + base[i + 1 :] for i in range(len(base))]
    found = digest_strings(pa.array([base, *changed]))
    flipped = np.bitwise_count(found[1:] ^ found[0])
    assert (flipped.sum(axis=1) > 30).all()
    assert abs(flipped.mean() - 32) < 2
    assert abs(np.bitwise_count(found[1:, 0] ^ found[1:, 1]).mean() - 32) < 3, "the halves have nothing in common"


def test_many_short_and_similar_strings_do_not_meet_in_either_half():
    found = digest_strings(pa.array([f"http://x.test/{i}.jpg" for i in range(200_000)]))
    assert len(np.unique(found[:, 0])) == len(np.unique(found[:, 1])) == 200_000


def test_windows_of_strings_side_by_side_do_not_count(monkeypatch):
    texts = ["x" * (i % 50) + str(i % 7) for i in range(500)]
    whole = numbers(texts)
    monkeypatch.setattr(digest, "SIDE_BY_SIDE", 7)
    assert numbers(texts) == whole


def test_a_null_is_refused():
    with pytest.raises(ValueError, match="a null has no digest"):
        digest_strings(pa.array(["a", None]))


def test_pairs_differ_by_either_member_and_by_order():
    one, other = digest_strings(pa.array(["a", "a", "b", "b"])), digest_strings(pa.array(["a", "b", "a", "b"]))
    joined = {tuple(row) for row in join_digests(one, other).tolist()}
    assert len(joined) == 4


SETS = st.lists(st.lists(st.sampled_from(["a", "b", "ab", "c", "bc", "abc"]), max_size=5), max_size=8)


@settings(deadline=None)
@given(SETS, st.randoms())
def test_equal_sets_have_equal_digests_and_others_have_not(sets, random):
    rows = [(owner, member) for owner, members in enumerate(sets) for member in members]
    random.shuffle(rows)
    owners = np.array([owner for owner, _ in rows], np.int64)
    own, found = digest_sets(owners, digest_strings(pa.array([member for _, member in rows], pa.string())))
    assert own.tolist() == [owner for owner, members in enumerate(sets) if members]
    by_set = {}
    for owner, row in zip(own, found.tolist(), strict=True):
        by_set.setdefault(frozenset(sets[owner]), set()).add(tuple(row))
    assert all(len(digests) == 1 for digests in by_set.values())
    assert len(set.union(set(), *by_set.values())) == len(by_set)
