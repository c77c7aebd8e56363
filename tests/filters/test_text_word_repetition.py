"""The share of 5-word sequences that occur more than once."""

import pytest

from filters.text_word_repetition import TextWordRepetition

RULE = TextWordRepetition(max=0.1)


def test_occurrences_of_repeated_sequences_over_all(scored):
    texts = ["a b c d e f", "a b c d e a b c d e", "One two, three four five! ONE two three four five", "a a", "", None]
    assert scored(RULE, texts=texts)[0] == [0, 2 / 6, 2 / 6, 0, 0, None]


@pytest.mark.parametrize(("ratio", "reason"), [(0.1, None), (0.1001, "text_repeats_words"), (None, None)])
def test_the_bound_is_included(reasons, ratio, reason):
    assert reasons(RULE, text_repeated_words_ratio=[ratio]) == [reason]


def test_a_refrain_falls_and_prose_stays(scored, reasons):
    refrain = "Buy one now and get one more for free today.\n" * 4
    prose = "The bridge was built in 1894 by two brothers, who had learned their trade at the harbour of the old town."
    ratio = scored(RULE, texts=[refrain, prose])[0]
    assert reasons(RULE, text_repeated_words_ratio=ratio) == ["text_repeats_words", None]
