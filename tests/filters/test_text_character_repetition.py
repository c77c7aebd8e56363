"""The share of the most frequent 10-character sequences."""

import pytest

from filters.text_character_repetition import TextCharacterRepetition

RULE = TextCharacterRepetition()


def test_only_as_many_sequences_as_the_square_root_count(scored):
    block = "abcdefghijkl"
    twice = block * 2  # 15 sequences, 12 of them distinct: three occur twice
    texts = ["a" * 10, "a" * 11, block, twice, "abcdefghi", "", None]
    assert scored(RULE, texts=texts)[0] == [0, 1, 0, 6 / 15, 0, 0, None]
    thrice = "abcdefghijk" * 3  # 11 distinct of 24: two occur three times, the others twice; the first 3 count
    assert scored(RULE, texts=[thrice])[0] == [8 / 24]


@pytest.mark.parametrize(("ratio", "reason"), [(0.1, None), (0.1001, "text_repeats_characters"), (None, None)])
def test_the_bound_is_included(reasons, ratio, reason):
    assert reasons(RULE, text_repeated_characters_ratio=[ratio]) == [reason]


def test_one_in_ten_is_not_above_a_tenth(scored, reasons):
    text = "abcdefghijk" + "".join(chr(0x100 + i) for i in range(8)) + "abcdefghij"  # 20 sequences, one occurs twice
    ratio = scored(RULE, texts=[text])[0]
    assert ratio == [0.1]
    assert reasons(RULE, text_repeated_characters_ratio=ratio) == [None]


def test_dots_of_a_table_of_contents_fall(scored, reasons):
    lines = "\n".join(f"Chapter {n} {'.' * 40} {n * 7}" for n in range(1, 6))
    assert reasons(RULE, text_repeated_characters_ratio=scored(RULE, texts=[lines])[0]) == ["text_repeats_characters"]
