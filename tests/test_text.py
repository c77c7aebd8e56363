"""The shared definitions of word and letter, against Python's and fastText's own on any text."""

import unicodedata
from collections import Counter

import fasttext
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text import count_words, letter_ratio, repeated_ratio

SPACES = "".join(c for c in map(chr, range(0x110000)) if c.isspace())
TEXT = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(SPACES + "\0\u200b"), st.sampled_from("ab"))
)


@given(TEXT)
def test_words_are_pythons_and_fasttexts(text):
    assert count_words(text, "whitespace") == len(text.split())
    assert count_words(text, "fasttext") == len(fasttext.tokenize(text))


@pytest.mark.parametrize("character", [*SPACES, "\0", "\u200b", "\ufeff", "_"], ids=ascii)
def test_each_space_by_both_rules(character):
    text = f"a{character}b"
    assert count_words(text, "whitespace") == len(text.split()) == 1 + character.isspace()
    assert count_words(text, "fasttext") == len(fasttext.tokenize(text))


def plain_letter_ratio(text: str | None) -> float | None:
    inked = [c for c in text or "" if not c.isspace()]
    return sum(unicodedata.category(c)[0] in "LM" for c in inked) / len(inked) if inked else None


# Of the last years' Unicode RE2 and Python know different versions, so new letters are left out.
@given(
    st.lists(
        st.one_of(st.none(), st.text(st.characters(max_codepoint=0x17FF, categories=["L", "M", "N", "P", "Z", "Cc"])))
    )
)
def test_letter_ratio_is_what_it_says(texts):
    found = letter_ratio(pa.array(texts, pa.string()))
    assert found.type == pa.float32()
    assert found.to_pylist() == pytest.approx([plain_letter_ratio(t) for t in texts])


def test_every_space_is_left_out_of_the_letter_ratio():
    assert letter_ratio(pa.array([f"a{SPACES}b1", SPACES])).to_pylist() == [pytest.approx(2 / 3), None]


@pytest.mark.parametrize(
    ("items", "size", "ratio"),
    [
        ("abcabc", 3, 2 / 4),
        ("abcab", 3, 0),
        ("aaaa", 2, 1),
        ("ab", 2, 0),
        ("", 2, 0),
        (("a", "b", "a", "b"), 2, 2 / 3),
        (("ab", "ab"), 1, 1),
    ],
)
def test_repeated_ratio(items, size, ratio):
    assert repeated_ratio(items, size) == pytest.approx(ratio)


@given(st.text("abc", max_size=60), st.integers(1, 5))
def test_repeated_ratio_is_a_share(text, size):
    ratio = repeated_ratio(text, size)
    grams = [text[i : i + size] for i in range(len(text) - size + 1)]
    assert 0 <= ratio <= 1
    assert (ratio == 0) == (not grams or max(Counter(grams).values()) == 1)
