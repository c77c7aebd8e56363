"""Texts as shingles: the sets that plain Python makes, whatever their length, script and packing."""

import subprocess
import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from datasketch.hashfunc import sha1_hash32
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup import shingles
from curate.dedup.shingles import Shingles, normal_texts, shingle_batches, shingle_sets

HASHES = {"xxh32": xxhash.xxh32_intdigest, "xxh64": xxhash.xxh64_intdigest, "sha1": sha1_hash32}
WIDE = "\x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
LETTERS = "abAB12 \t\n-,'\x00éÄßﬁ中文🙂’\u200bÀ" + WIDE
TEXTS = st.lists(st.text(LETTERS, max_size=30), max_size=8)
CUTS = st.builds(Shingles, st.just("chars"), st.integers(1, 7), st.sampled_from(["none", "text", "bare"])) | st.builds(
    Shingles,
    st.just("words"),
    st.integers(1, 4),
    st.sampled_from(["text", "bare"]),
    st.sampled_from(["exact", "chars"]),
)


def normal(text, form):
    if form == "none":
        return text
    text = unicodedata.normalize("NFKC", text).lower()
    if form == "bare":
        text = "".join(
            " " if unicodedata.category(c)[0] in "PS" or unicodedata.category(c) in ("Cc", "Cf") else c for c in text
        )
    return " ".join(text.split())


def reference(text, cut):
    text = normal(text, cut.normalise)
    units, glue, n = (text, "", cut.n) if cut.kind == "chars" else (text.split(), " ", cut.n)
    if len(units) < n and cut.short == "chars":
        units, glue, n = text, "", 5
    if len(units) < n:
        return [text] if text else []
    return list(dict.fromkeys(glue.join(units[i : i + n]) for i in range(len(units) - n + 1)))


def found(texts, cut, hash="xxh64"):
    sets = shingle_sets(pa.array(texts, pa.string()) if isinstance(texts, list) else texts, cut, hash)
    return [sets.hashes[a:b].tolist() for a, b in zip(sets.offsets[:-1], sets.offsets[1:], strict=True)]


@settings(deadline=None, max_examples=100)
@given(TEXTS, CUTS, st.sampled_from(list(HASHES)))
def test_shingles_are_those_of_plain_python(texts, cut, hash):
    assert normal_texts(pa.array(texts, pa.string()), cut.normalise).to_pylist() == [
        normal(t, cut.normalise) for t in texts
    ]
    wanted = [[HASHES[hash](shingle.encode()) for shingle in reference(text, cut)] for text in texts]
    assert found(texts, cut, hash) == wanted


@pytest.mark.parametrize("hash", HASHES)
def test_every_length_around_the_blocks_of_a_hash(hash):
    texts = [("äbcdefg" * 40)[:length] for length in range(1, 200)]
    wanted = [[HASHES[hash](text.encode())] for text in texts]
    assert found(texts, Shingles(n=1000, normalise="none"), hash) == wanted
    for n in (3, 12, 15, 16, 40):
        cut = Shingles(n=n, normalise="none")
        assert found(texts, cut, hash) == [[HASHES[hash](s.encode()) for s in reference(t, cut)] for t in texts]


@pytest.mark.parametrize(
    ("cut", "text", "shingles"),
    [
        (Shingles(), "Hello", ["hello"]),
        (Shingles(), "Hell", ["hell"]),
        (Shingles(), " Hello\t\nB ", ["hello", "ello ", "llo b"]),
        (Shingles(), "aaaaaaaa", ["aaaaa"]),
        (Shingles(), "", []),
        (Shingles(), " \u3000\n", []),
        (Shingles(), None, []),
        (Shingles(normalise="bare"), "--!", []),
        (Shingles(normalise="bare"), "Figure 1.", ["figur", "igure", "gure ", "ure 1"]),
        (Shingles(normalise="none"), "Ab C", ["Ab C"]),
        (Shingles(normalise="none"), "  ", ["  "]),
        (Shingles("words", 2), "A dog, a  dog", ["a dog,", "dog, a", "a dog"]),
        (Shingles("words", 2, "bare"), "A dog, a  dog", ["a dog", "dog a"]),
        (Shingles("words", 3), "Big dog", ["big dog"]),
        (Shingles("words", 3, short="chars"), "Big dog", ["big d", "ig do", "g dog"]),
        (Shingles("words", 3, short="chars"), "A cat", ["a cat"]),
        (Shingles("words", 3, short="chars"), "cat", ["cat"]),
        (Shingles("words", 2, short="chars"), "the cats", ["the cats"]),
    ],
)
def test_short_texts_have_a_rule(cut, text, shingles):
    assert found([text], cut) == [[xxhash.xxh64_intdigest(s.encode()) for s in shingles]]


@settings(deadline=None)
@given(st.lists(st.text("ab c", max_size=12), max_size=12), CUTS.filter(lambda cut: cut.short == "exact"))
def test_short_texts_share_shingles_with_equal_texts_only(texts, cut):
    sets = found(texts, cut)
    plain = [normal(text, cut.normalise) for text in texts]
    for one, text in zip(sets, plain, strict=True):
        units = len(text if cut.kind == "chars" else text.split())
        if units < cut.n:
            sharing = [other for other, set_ in zip(plain, sets, strict=True) if set(set_) & set(one)]
            assert set(sharing) <= {text}


@settings(deadline=None)
@given(TEXTS, st.integers(1, 40), st.integers(0, 4), st.integers(0, 5))
def test_packing_does_not_count(texts, batch_bytes, start, size):
    whole, cut = found(texts, Shingles(n=2)), Shingles(n=2)
    array = pa.array(texts, pa.string())
    batches = list(shingle_batches(array, cut, "xxh64", batch_bytes))
    assert sum(map(len, batches)) == len(texts)
    assert [h for batch in batches for h in batch.hashes.tolist()] == [h for one in whole for h in one]
    assert found(array.slice(min(start, len(texts)), size), cut) == whole[start : start + size]
    assert found(pa.chunked_array([texts[:start], texts[start:]], pa.string()), cut) == whole
    assert found(array.cast(pa.large_string()), cut) == whole


def test_batches_have_the_bytes_they_may_have():
    sizes = [len(batch) for batch in shingle_batches(pa.array(["abcd"] * 5 + ["x" * 50, "ab"]), Shingles(), "xxh32", 8)]
    assert sizes == [2, 2, 1, 1, 1]
    for batch_bytes, wanted in ((8, [2, 1]), (9, [3])):
        assert [
            len(batch) for batch in shingle_batches(pa.array(["abc"] * 3), Shingles(), "xxh32", batch_bytes)
        ] == wanted


def test_what_the_table_is_keyed_by_does_not_count(monkeypatch):
    text = ["".join(chr(97 + i * i % 26) + chr(97 + i % 23) for i in range(700)) * 2]
    whole = found(text, Shingles(n=3), "xxh32")
    assert len(whole[0]) > 100
    monkeypatch.setattr(shingles.secrets, "randbits", lambda _: 0)
    assert found(text, Shingles(n=3), "xxh32") == whole, "also where each has the same place"


def test_no_text_at_all():
    for none in (pa.array([], pa.string()), pa.chunked_array([], pa.string())):
        sets = shingle_sets(none, Shingles(), "xxh32")
        assert len(sets) == 0
        assert sets.offsets.tolist() == [0]
        assert sets.hashes.dtype == np.uint32
    sets = shingle_sets(pa.array([None, ""]), Shingles())
    assert sets.sizes.tolist() == [0, 0]


@pytest.mark.parametrize("bad", [b"caf\xe9", b"\xff\xfe\xfd", b"\xe2\x80", b"abc\xe3"])
def test_bytes_that_are_no_text_are_refused_and_read_nothing_outside(bad):
    texts = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, len(bad)], np.int32)), pa.py_buffer(bad))
    with pytest.raises(ValueError, match="no UTF-8"):
        shingle_sets(texts, Shingles())
    assert shingle_sets(texts, Shingles(normalise="none")).sizes.tolist() == [1]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"n": 0}, "n = 0 is out of range"),
        ({"n": 1001}, "n = 1001 is out of range"),
        ({"kind": "letters"}, "kind = 'letters' is none of chars, words"),
        ({"normalise": "nfd"}, "normalise = 'nfd' is none of none, text, bare"),
        ({"short": "skip"}, "short = 'skip' is none of exact, chars"),
        ({"kind": "words", "normalise": "none"}, "white space in order"),
        ({"short": "chars"}, "is for kind"),
    ],
)
def test_settings_that_cannot_be_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        Shingles(**bad)


def test_a_hash_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="hash = 'md5' is none of xxh32, xxh64, sha1"):
        shingle_sets(pa.array(["a"]), Shingles(), "md5")


def test_a_text_of_four_megabytes_takes_bounded_memory():
    code = (
        "import resource, numpy as np, pyarrow as pa\n"
        "from curate.dedup.shingles import *\n"
        "shingle_sets(pa.array(['warm up é']), Shingles())\n"
        "text = pa.array([np.random.default_rng(0).integers(97, 123, 4_000_000).astype('u1').tobytes().decode()])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "sets = shingle_sets(text, Shingles())\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, len(sets.hashes))"
    )
    megabytes, size = map(
        int, subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout.split()
    )
    assert size > 3_000_000
    assert megabytes < 200


def test_settings_cost_no_compiler():
    code = "import sys, curate.dedup.shingles, curate.dedup.bands; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
