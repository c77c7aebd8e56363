"""Both word rules, told apart, and the bounds on them."""

import fasttext
import pytest

from filters.caption_words import CaptionWords

NBSP, IDEOGRAPHIC = "\u00a0", "\u3000"

CAPTIONS = [  # caption, len(text.split()), len(fasttext.tokenize(text))
    ("a dog", 2, 2),
    ("a dog barks", 3, 3),
    ("  a   dog\tbarks ", 3, 3),
    ("dog\n", 1, 2),
    ("a dog\nbarks", 3, 4),
    (f"dog{NBSP}cat{NBSP}cow", 3, 1),
    (f"犬{IDEOGRAPHIC}猫{IDEOGRAPHIC}牛", 3, 1),
    ("a\x1cb\x85c", 3, 1),
    ("a\0b c", 2, 3),
    ("", 0, 0),
    (None, None, None),
]


def test_counts_by_both_rules(scored):
    whitespace, by_fasttext = scored(CaptionWords(), captions=[c for c, _, _ in CAPTIONS])
    assert whitespace == [n for _, n, _ in CAPTIONS]
    assert by_fasttext == [n for _, _, n in CAPTIONS]
    assert by_fasttext == [None if c is None else len(fasttext.tokenize(c)) for c, _, _ in CAPTIONS]


@pytest.mark.parametrize(
    ("words", "reason"),
    [(2, "too_few_words"), (3, None), (8, None), (9, "too_many_words"), (0, "too_few_words"), (None, "too_few_words")],
)
def test_both_bounds_are_included(reasons, words, reason):
    assert reasons(CaptionWords(min=3, max=8), caption_words=[words]) == [reason]


def test_the_rule_chooses_the_column(reasons):
    assert reasons(CaptionWords(min=2, rule="fasttext"), caption_words_fasttext=[1, 2]) == ["too_few_words", None]


def test_without_a_lower_bound_a_missing_caption_is_still_dropped(reasons):
    assert reasons(CaptionWords(min=None, max=2), caption_words=[0, None]) == [None, "too_few_words"]


@pytest.mark.parametrize("settings", [{"min": -1}, {"min": 5, "max": 4}, {"min": 2**63}])
def test_bounds_that_keep_nothing_are_refused(settings):
    with pytest.raises(ValueError, match="min"):
        CaptionWords(**settings)


def test_the_largest_bound_is_compared(reasons):
    assert reasons(CaptionWords(min=3, max=2**63 - 1), caption_words=[3, 2]) == [None, "too_few_words"]
