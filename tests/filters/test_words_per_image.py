"""Words for each picture."""

import pytest

from filters.words_per_image import WordsPerImage


@pytest.mark.parametrize(
    ("words", "images", "reason"),
    [
        (150, 3, None),
        (149, 3, "too_few_words_per_image"),
        (0, 2, None),
        (0, 0, None),
        (100, None, None),
        (None, 5, None),
    ],
)
def test_omnicorpus_asks_for_50_from_three_pictures_on(reasons, words, images, reason):
    assert reasons(WordsPerImage(), text_words=[words], image_count=[images]) == [reason]


def test_pictures_that_are_free_are_counted_in(reasons):
    rule = WordsPerImage(min=0.5, free_images=0)
    assert reasons(rule, text_words=[1, 1, 0], image_count=[2, 3, 0]) == [None, "too_few_words_per_image", None]


def test_words_are_those_of_text_words(scored):
    assert scored(WordsPerImage(), texts=["a b, c", None])[0] == [3, None]
