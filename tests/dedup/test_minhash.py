"""Signatures: to the bit those of datasketch, for its scheme of today and for the one before."""

import datasketch
import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.minhash import Permutations, permutations, sign_texts, signatures, signed
from curate.dedup.shingles import Shingles, ShingleSets, shingle_sets

SCHEMES = ("affine32", "legacy")
HASHES = st.lists(st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**32 - 1]), max_size=20), max_size=5)


def sets_of(lists):
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return ShingleSets(offsets, np.array([h for one in lists for h in one], np.uint32))


def datasketch_signature(items, count, seed, scheme, hashfunc):
    sketch = datasketch.MinHash(count, seed, hashfunc=hashfunc, scheme=scheme)
    sketch.update_batch(items)
    return sketch.hashvalues.astype(np.uint32).tolist()


@settings(deadline=None, max_examples=150)
@given(HASHES, st.sampled_from([1, 2, 7, 16, 33, 256]), st.integers(0, 3), st.sampled_from(SCHEMES))
def test_signatures_are_datasketchs(lists, count, seed, scheme):
    values = signatures(sets_of(lists), permutations(count, seed, scheme))
    assert values.dtype == np.uint32
    assert values.shape == (len(lists), count)
    assert values.tolist() == [datasketch_signature(one, count, seed, scheme, int) for one in lists]
    assert signed(values).tolist() == [bool(one) for one in lists]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("hash", "hashfunc"), [("xxh32", xxhash.xxh32_intdigest), ("sha1", None)])
def test_texts_to_signatures_as_somebody_with_datasketch_would(hash, hashfunc, scheme):
    texts = ["the quick brown fox jumps over the lazy dog", "a cat", "cat", "größe – größer – am größten", "x" * 500]
    values = sign_texts(pa.array(texts), Shingles(), permutations(128, 1, scheme), hash)
    for text, found in zip(texts, values.tolist(), strict=True):
        grams = [text[i : i + 5].encode() for i in range(len(text) - 4)] or [text.encode()]
        assert found == datasketch_signature(grams, 128, 1, scheme, hashfunc)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=9, max_size=9), st.integers(0, 2**32 - 1))
def test_the_prime_is_taken_off_without_a_division(numbers, h):
    a = np.array([*numbers, 0, 0, 0, 0], np.uint64)
    b = np.array([*numbers[1:], numbers[0], 2**61 - 2, 2**61 - 1, 2**64 - 1, 2**62 - 2], np.uint64)
    wanted = (a * np.uint64(h) + b) % np.uint64(2**61 - 1) & np.uint64(2**32 - 1)
    assert signatures(sets_of([[h]]), Permutations("legacy", 1, a, b)).tolist() == [wanted.tolist()]


def test_texts_in_batches_are_those_at_once():
    texts = pa.array(["a text that is not short", None, "", "another one"] * 50)
    by = permutations(32)
    whole = signatures(shingle_sets(texts, Shingles()), by)
    assert (sign_texts(pa.chunked_array([texts[:7], texts[7:]]), Shingles(), by) == whole).all()
    assert signed(whole).tolist() == [True, False, False, True] * 50
    assert sign_texts(pa.array([], pa.string()), Shingles(), by).shape == (0, 32)


def test_the_estimate_is_the_similarity():
    random = np.random.default_rng(0)
    shared = random.integers(0, 2**32, (400, 60), np.uint32)
    own = random.integers(0, 2**32, (800, 20), np.uint32)
    lists = [[*shared[i // 2].tolist(), *own[i].tolist()] for i in range(800)]
    values = signatures(sets_of(lists), permutations(256))
    equal = (values[::2] == values[1::2]).mean()
    assert abs(equal - 0.6) < 4 * np.sqrt(0.24 / 256 / 400)


def test_what_cannot_be_signed_is_refused():
    with pytest.raises(ValueError, match="uint32 hashes, not uint64"):
        signatures(shingle_sets(pa.array(["a"]), Shingles(), "xxh64"), permutations(8))
    with pytest.raises(ValueError, match="scheme = 'affine64' is neither"):
        permutations(8, scheme="affine64")
    with pytest.raises(ValueError, match="permutations = 0 is out of range"):
        permutations(0)
