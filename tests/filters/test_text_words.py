"""Bounds on the number of words."""

import pytest

from filters.text_words import TextWords


def test_words_are_what_has_a_letter(scored):
    texts = ["Hello, “World”! 42 -- 3rd (a.b)", "", " \n ", "1984 - 2001", "don't stop\u00a0me\u3000now", None]
    assert scored(TextWords(), texts=texts)[0] == [4, 0, 0, 0, 4, None]


@pytest.mark.parametrize(
    ("words", "reason"),
    [(3, "text_too_short"), (4, None), (1000, None), (1001, "text_too_long"), (0, "text_too_short"), (None, None)],
)
def test_obelics_keeps_paragraphs_of_4_to_1000_words(reasons, words, reason):
    assert reasons(TextWords(min=4, max=1000), text_words=[words]) == [reason]


def test_bounds_that_cross_are_refused():
    with pytest.raises(ValueError, match="nothing would be kept"):
        TextWords(min=5, max=4)
