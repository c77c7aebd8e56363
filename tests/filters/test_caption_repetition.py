"""Said twice, and said once."""

import pyarrow as pa
import pytest

from curate.filter import above, below
from filters.caption_repetition import CaptionRepetition

ONCE = "a red circle above two blue squares"
TWICE = f"{ONCE} {ONCE}"


def test_once_twice_and_neither(scored):
    captions = [ONCE, TWICE, TWICE.upper().replace(" ", "  "), "Jr Jr", "", None]
    characters, words = scored(CaptionRepetition(), captions=captions)
    assert characters[0] == words[0] == 0
    assert characters[1] > 0.8
    assert words[1] == pytest.approx(12 / 13)
    assert (characters[2], words[2]) == (characters[1], words[1])
    assert characters[3:] == words[3:] == [0, 0, None]


def test_a_sentence_of_two_alike_halves_is_kept(scored):
    captions = ["There is a yellow triangle on the left and a yellow triangle on the right."]
    for (ratio,) in scored(CaptionRepetition(), captions=captions):
        assert 0.5 < ratio <= CaptionRepetition.max_words_ratio
    assert CaptionRepetition.max_words_ratio == CaptionRepetition.max_characters_ratio


@pytest.mark.parametrize(
    ("characters", "words", "reason"),
    [
        (0.5, 0.5, None),
        (0.5, 0.51, "repeated_words"),
        (0.51, 0.5, "repeated_characters"),
        (0.9, 0.9, "repeated_words"),
        (None, None, None),
        (float("nan"), 0.0, "repeated_characters"),
    ],
)
def test_the_bounds_are_included(reasons, characters, words, reason):
    rule = CaptionRepetition(max_characters_ratio=0.5, max_words_ratio=0.5)
    assert reasons(rule, repeated_characters_ratio=[characters], repeated_words_ratio=[words]) == [reason]


def test_a_share_is_at_most_one():
    with pytest.raises(ValueError, match=r"max_words_ratio = 1\.5 is out of range: from 0 to 1"):
        CaptionRepetition(max_words_ratio=1.5)


def test_a_bound_is_included_in_the_precision_of_the_column():

    column = pa.chunked_array([pa.array([0.6, 0.1, 0.7], pa.float32())])
    assert above(column, 0.6).to_pylist() == [False, False, True]
    assert below(column, 0.6).to_pylist() == [False, True, False]
