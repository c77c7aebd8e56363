"""Punctuation marks per token."""

import pytest

from filters.text_punctuation import TextPunctuation

PARAGRAPH, DOCUMENT = TextPunctuation(), TextPunctuation(min=0.03, min_words=0)


def test_tokens_are_words_and_single_marks(scored):
    tokens, marks = scored(PARAGRAPH, texts=["Don't stop, it's e.g. 1.5!!", "a-b (c) “d”", "", None])
    assert tokens == [13, 4, 0, None]
    assert marks == [6, 0, 0, None]


@pytest.mark.parametrize(
    ("tokens", "marks", "reason"),
    [(11, 0, None), (12, 0, "too_little_punctuation"), (1000, 1, None), (1001, 1, "too_little_punctuation")],
)
def test_a_paragraph_is_judged_from_12_tokens_on(reasons, tokens, marks, reason):
    assert reasons(PARAGRAPH, text_tokens=[tokens], text_punctuation_marks=[marks]) == [reason]


@pytest.mark.parametrize(
    ("tokens", "marks", "reason"),
    [(100, 3, None), (101, 3, "too_little_punctuation"), (5, 0, "too_little_punctuation"), (None, None, None)],
)
def test_a_document_always(reasons, tokens, marks, reason):
    assert reasons(DOCUMENT, text_tokens=[tokens], text_punctuation_marks=[marks]) == [reason]


@pytest.mark.parametrize("bound", [-0.1, 1.1])
def test_a_bound_that_is_no_share_is_refused(bound):
    with pytest.raises(ValueError, match=r"min = .* is out of range"):
        TextPunctuation(min=bound)
