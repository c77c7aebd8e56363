"""n-grams that an earlier document has: by sets in Python, in any shards; and the filter's rate, memory and limits."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from document_shards import Doc, bytes_of, column, image, run_barrier, text, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.bloom import NgramDuplicates
from curate.dedup.bloom_filter import LINE_BYTES, false_positive_rate, lines_needed, new_filter, seen_before
from curate.errors import StageError

RATE = 1e-6


def answers(folder, shards, **settings):
    """The share of every part, and of every document, shard by shard; and the counts."""
    handles = write_shards(folder, shards)
    commit = run_barrier(NgramDuplicates(**{"n": 2, "false_positive_rate": RATE, **settings}), handles, folder)
    return column(handles, "part.seen_ngrams_ratio"), column(handles, "seen_ngrams_ratio"), commit.counts


def test_only_earlier_documents_count(tmp_path):
    first = [Doc(parts=[text("a b c"), image("u"), text("A  b c")]), Doc(parts=[text("b c d e"), text("x y")])]
    second = [Doc(), Doc(parts=[text("a b q r s")])]
    parts, documents, counts = answers(tmp_path, [first, [], second])
    assert parts == [[0, None, 0, pytest.approx(1 / 3), 0], [], [0.25]]
    assert documents == [[0, 0.25], [], [None, 0.25]]
    assert {name: counts[name] for name in ("ngrams", "new", "seen")} == {"ngrams": 12, "new": 8, "seen": 2}


def test_a_text_of_fewer_words_is_one_ngram(tmp_path):
    shard = [Doc(parts=[text("share"), text("share it now")]), Doc(parts=[text("Share"), text(""), text("now")])]
    assert answers(tmp_path, [shard])[:2] == ([[0, 0, 1, None, 0]], [[0, 0.5]])


def test_only_kept_text_of_kept_documents_that_are_no_copies_is_asked_and_added(tmp_path):
    shard = [
        Doc(parts=[text("a b", keep=False), text(None)]),
        Doc(parts=[text("a b")], keep=False),
        Doc(parts=[text("a b")], copy_of="00000000000"),
        Doc(parts=[text("a b")]),
    ]
    assert answers(tmp_path / "one", [shard])[:2] == ([[None] * 4 + [0]], [[None] * 3 + [0]])
    assert answers(tmp_path / "all", [shard], distinct_urls=False)[0] == [[None] * 3 + [0, 1]]


def test_no_shards_and_no_text(tmp_path):
    assert run_barrier(NgramDuplicates(), [], tmp_path / "none").files == ()
    assert answers(tmp_path / "some", [[Doc(parts=[image("u")])], []])[:2] == ([[None], []], [[None], []])


def test_key_and_types_of_both_files(tmp_path):
    handles = write_shards(tmp_path, [[Doc(parts=[text("a b c"), image("u")])]])
    run_barrier(NgramDuplicates(), handles, tmp_path)
    for shard in (handles[0], handles[0].parts):
        schema = shard.schema("ngram_duplicates")
        assert schema.names == ["key", "seen_ngrams_ratio"]
        assert schema.types == [pa.string(), pa.float32()]


WORDS = st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(WORDS, max_size=3), max_size=10), st.lists(st.integers(0, 10), max_size=4), st.integers(1, 3))
def test_any_shards_of_one_order_give_the_same_shares(tmp_path_factory, documents, cuts, n):
    known, expected = set(), []
    for texts in documents:
        own = [set(zip(*(words.split()[k:] for k in range(n)), strict=False)) or {words} for words in texts]
        own = [grams if words else set() for grams, words in zip(own, texts, strict=True)]
        expected += [len(grams & known) / len(grams) if grams else None for grams in own]
        known = known.union(*own)
    docs = [Doc(parts=[text(words) for words in texts]) for texts in documents]
    ends = [0, *sorted(min(cut, len(docs)) for cut in cuts), len(docs)]
    shards = [docs[a:b] for a, b in pairwise(ends)]
    parts, _, counts = answers(tmp_path_factory.mktemp("set"), shards, n=n)
    assert [ratio for shard in parts for ratio in shard] == pytest.approx(expected, nan_ok=True)
    assert counts.get("new", 0) == len(known)


def test_twice_the_bytes_are_the_same(tmp_path):
    shards = [[Doc(parts=[text(f"some words {(n * row) % 5} and more")]) for row in range(9)] for n in range(4)]
    for number in range(2):
        answers(tmp_path / str(number), shards)
    one, other = (bytes_of(tmp_path / str(number), "ngram_duplicates") for number in range(2))
    assert one == other


@pytest.mark.parametrize(("keys", "rate"), [(20_000, 0.1), (20_000, 0.01), (200_000, 0.001)])
def test_the_filter_forgets_nothing_and_errs_as_often_as_it_may(keys, rate):
    random = np.random.default_rng(0)
    own, others = random.integers(0, 1 << 64, (2, keys), np.uint64)
    lines = new_filter(lines_needed(keys, rate))
    seen = np.zeros(keys, bool)
    new = seen_before(lines, own, np.array([keys]), seen)
    assert not seen.any()
    assert keys * (1 - 2 * rate) <= new <= keys
    seen_before(lines.copy(), own, np.array([keys]), seen)
    assert seen.all()
    seen_before(lines.copy(), others, np.array([keys]), seen)
    assert abs(seen.mean() - rate) <= 5 * (rate / keys) ** 0.5 + 0.01 * rate
    assert false_positive_rate(keys, len(lines)) <= rate < false_positive_rate(keys, len(lines) - 1)


def test_documents_are_asked_before_they_are_added():
    keys, seen = np.array([5, 5, 6, 5, 7, 7], np.uint64), np.zeros(6, bool)
    assert seen_before(new_filter(4), keys, np.array([2, 2, 4, 6]), seen) == 3
    assert seen.tolist() == [False, False, False, True, False, False]


def test_a_filter_above_the_limit_is_refused(tmp_path):
    limit = 0.001
    fits = int(limit * 1e9 // LINE_BYTES)
    keys = 50 * fits
    assert lines_needed(keys, 0.01) <= fits < lines_needed(keys + fits, 0.01)
    words = "takes 0.1 GB, and max_filter_gb = 0.001; raise that"
    with pytest.raises(StageError, match=words):
        answers(tmp_path / "one", [[Doc()]], max_filter_gb=limit, expected_ngrams=50_000_000, false_positive_rate=0.01)
    answers(tmp_path / "two", [[Doc()]], max_filter_gb=limit, expected_ngrams=keys, false_positive_rate=0.01)
    with pytest.raises(StageError, match="takes"):
        answers(
            tmp_path / "three", [[Doc()]], max_filter_gb=limit, expected_ngrams=keys + fits, false_positive_rate=0.01
        )


def test_more_ngrams_than_expected_are_told(tmp_path):
    shard = [Doc(parts=[text("a b c d")])]
    answers(tmp_path / "one", [shard], expected_ngrams=3)
    with pytest.raises(StageError, match="more than the expected 2 n-grams by shard 00000"):
        answers(tmp_path / "two", [shard], expected_ngrams=2)


@pytest.mark.parametrize(
    "settings", [{"n": 0}, {"expected_ngrams": -1}, {"false_positive_rate": 0.0}, {"max_filter_gb": 0.0}]
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match="out of range"):
        NgramDuplicates(**settings)


def test_the_limit_of_memory_is_no_part_of_the_identity():
    assert (
        NgramDuplicates(max_filter_gb=1).identity() == NgramDuplicates().identity() != NgramDuplicates(n=5).identity()
    )
