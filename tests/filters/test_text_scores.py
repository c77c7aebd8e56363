"""What holds for the scores of any text, and what the published definitions say of the same texts."""

import string
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.filter import Batch
from curate.registry import filter_class
from curate.text import common_ngram_ratio, repeated_ngram_ratio, word_ratio, words_of

NAMES = [
    *("text_words", "text_character_repetition", "text_word_repetition", "text_special_characters", "text_stop_words"),
    *("text_spam_words", "text_punctuation", "text_lines_end", "text_language", "paragraph_lengths"),
]
TEXTS = st.lists(st.none() | st.text(max_size=80) | st.text("ab .\n🙂9", max_size=60), max_size=6)


def score(scorer, texts):
    return {name: values.to_pylist() for name, values in scorer.score(batch(texts)).items()}


def batch(texts):
    return Batch(pa.table({"text": pa.chunked_array([pa.array(texts, pa.string())])}))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(texts=TEXTS)
def test_any_text_has_a_score_of_its_own(name, texts):
    scorer = filter_class(name)().scorer()
    together = score(scorer, texts)
    alone = [score(scorer, [text]) for text in texts]
    for column, values in together.items():
        assert values == [one[column][0] for one in alone]
        if column != "text_mean_word_chars":
            assert [v is None for v in values] == [text is None for text in texts] or "probability" in column
        if column.endswith("_ratio"):
            assert all(0 <= v <= 1 for v in values if v is not None)


@given(st.text(string.ascii_letters[:4] + " .,-'1\n\tA", max_size=60))
def test_words_are_those_of_obelics(text):
    special = string.punctuation + string.digits + string.whitespace
    words = [word.strip(special) for word in text.lower().split()]
    assert words_of(pa.array([text])).to_pylist() == [[word for word in words if word]]


def published_character_ratio(text, size):
    counts = sorted(Counter(text[i : i + size] for i in range(len(text) - size + 1)).values(), reverse=True)
    once = sum(1 for count in counts if count == 1)
    return sum(counts[: min(int(len(counts) ** 0.5), len(counts) - once)]) / sum(counts) if counts else 0.0


@given(st.lists(st.text("abc🙂", max_size=60), min_size=1, max_size=5), st.integers(1, 10))
def test_character_repetition_is_that_of_obelics(texts, size):
    expected = [published_character_ratio(text, size) for text in texts]
    assert common_ngram_ratio(pa.array(texts), size).to_pylist() == expected


@given(st.lists(st.text("ab ", max_size=60), min_size=1, max_size=5), st.integers(1, 5))
def test_word_repetition_is_that_of_obelics(texts, size):
    for text, found in zip(texts, repeated_ngram_ratio(pa.array(texts), size).to_pylist(), strict=True):
        words = text.split()
        counts = Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))
        assert found == sum(n for n in counts.values() if n > 1) / max(sum(counts.values()), 1)


def test_a_batch_in_portions_is_the_same(monkeypatch):
    texts = pa.array(["abcabcabcabcabcabc" * n for n in range(12)] + [None, ""])
    whole = common_ngram_ratio(texts, 3), repeated_ngram_ratio(texts, 1)
    monkeypatch.setattr("curate.text.NGRAM_CHARS", 40)
    assert (common_ngram_ratio(texts, 3), repeated_ngram_ratio(texts, 1)) == whole


def test_a_slice_is_scored_as_what_it_shows():
    texts = pa.array(["the dog", "cat", None, "of the", "x"])
    assert word_ratio(texts.slice(1, 3), frozenset(["the", "of"])).to_pylist() == [0, None, 1]
    assert words_of(texts.slice(3)).to_pylist() == [["of", "the"], ["x"]]


@pytest.mark.parametrize("text", ["-" * 1_000_000, "a" * 1_000_000, "- " * 500_000, "a.\n" * 300_000, "\n" * 1_000_000])
def test_a_megabyte_of_one_thing_is_scored(text):
    for name in NAMES:
        assert all(len(values) == 1 for values in filter_class(name)().scorer().score(batch([text])).values())
