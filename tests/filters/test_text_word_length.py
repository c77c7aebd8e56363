"""Bounds on the mean length of words."""

import pytest

from filters.text_word_length import TextWordLength


def test_the_mean_is_of_letters_not_of_what_stands_around_words(scored):
    _, mean = scored(TextWordLength(), texts=["ab, (abcd)", "été", "12 !", "", None])
    assert mean == [3.0, 3.0, None, None, None]


@pytest.mark.parametrize(
    ("mean", "reason"), [(2.99, "words_too_short"), (3.0, None), (10.0, None), (10.01, "words_too_long"), (None, None)]
)
def test_gopher_keeps_3_to_10_characters(reasons, mean, reason):
    assert reasons(TextWordLength(), text_mean_word_chars=[mean]) == [reason]
