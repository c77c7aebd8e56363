"""datasketch's index: ours answers as one filled text by text, and one of theirs becomes our bands."""

import datasketch
import numpy as np
import pyarrow as pa
import pytest

from curate.dedup.bands import Bands, band_digests
from curate.dedup.jaccard import candidate_pairs
from curate.dedup.lsh_index import from_datasketch, to_datasketch
from curate.dedup.minhash import permutations, sign_texts
from curate.dedup.shingles import Shingles

BANDS = Bands(16, 4)
SCHEMES = ("affine32", "legacy")


def texts():
    random = np.random.default_rng(0)
    words = [f"word{n}" for n in range(60)]
    found = []
    for _ in range(40):
        chosen = random.choice(words, 20).tolist()
        found += [" ".join(chosen), " ".join(chosen[:17] + random.choice(words, 3).tolist())]
    return [*found, "", "cat", "Cat"]


def grams(text):
    return [text[i : i + 5].encode() for i in range(len(text) - 4)] or ([text.encode()] if text else [])


def theirs(scheme, **settings):
    index = datasketch.MinHashLSH(num_perm=64, params=(BANDS.bands, BANDS.rows), **settings)
    sketches = []
    for row, text in enumerate(texts()):
        sketch = datasketch.MinHash(64, scheme=scheme)
        sketch.update_batch(grams(text.lower()))
        sketches.append(sketch)
        if text:
            index.insert(f"key {row}", sketch)
    return index, sketches


def ours(scheme):
    return sign_texts(pa.array(texts()), Shingles(), permutations(64, 1, scheme), "sha1")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_our_index_is_theirs(scheme):
    index, sketches = theirs(scheme)
    values = ours(scheme)
    built = to_datasketch([f"key {row}" for row in range(len(values))], values, permutations(64, 1, scheme), BANDS)
    assert "key 80" not in built
    for sketch in sketches:
        assert set(built.query(sketch)) == set(index.query(sketch))
    assert built.get_counts() == index.get_counts()
    assert any(len(index.query(sketch)) > 1 for sketch in sketches)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_their_index_is_our_bands(scheme):
    index, sketches = theirs(scheme)
    index.remove("key 7")
    values = ours(scheme)
    kept = [row for row in range(len(values)) if row not in (7, 80)]
    read = from_datasketch(index)
    assert read.keys == tuple(f"key {row}" for row in kept)
    assert read.bands == BANDS
    assert (read.digests == band_digests(values[kept], BANDS)).all()
    pairs = candidate_pairs(read.digests)
    met = {row: {f"key {row}"} for row in kept}
    for left, right in zip(pairs.left, pairs.right, strict=True):
        met[kept[left]].add(read.keys[right])
        met[kept[right]].add(read.keys[left])
    assert {row: set(index.query(sketches[row])) for row in kept} == met


def test_there_and_back():
    values, by = ours("affine32"), permutations(64)
    read = from_datasketch(to_datasketch(range(len(values)), values, by, BANDS))
    assert read.keys == tuple(row for row in range(len(values)) if row != 80)
    assert (read.values == values[list(read.keys)]).all()
    empty = from_datasketch(to_datasketch([], values[:0], by, BANDS))
    assert (empty.keys, empty.values.shape) == ((), (0, 64))


def affine64():
    index = datasketch.MinHashLSH(num_perm=64, params=(16, 4))
    sketch = datasketch.MinHash(64, scheme="affine64")
    sketch.update(b"one")
    index.insert("a", sketch)
    return index


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_datasketch(theirs("affine32", prepickle=True)[0]), "are pickles"),
        (lambda: from_datasketch(theirs("affine32", hashfunc=lambda band: band[:4])[0]), "hashes of its bands"),
        (lambda: from_datasketch(affine64()), "scheme affine64"),
        (lambda: to_datasketch(["a"], ours("affine32"), permutations(64), BANDS), "1 keys and 64 permutations"),
        (lambda: to_datasketch(["a", "a"], ours("legacy")[:2], permutations(64, 1, "legacy"), BANDS), "already exists"),
        (lambda: to_datasketch(["a"], ours("affine32")[:1], permutations(64), Bands(17, 4)), "17 \\* 4"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_band_of_another_length_is_refused():
    index, _ = theirs("affine32")
    index.keys.insert("key 0", b"more")
    with pytest.raises(ValueError, match="bands of 'key 0' do not have 64 numbers"):
        from_datasketch(index)
