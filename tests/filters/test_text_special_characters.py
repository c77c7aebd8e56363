"""Shares of special characters, with and without digits and spaces."""

import pytest

from filters.text_special_characters import CountSpecialCharacters, TextSpecialCharacters

OBELICS = TextSpecialCharacters(max=0.275, digits=True, spaces=True)
MONEY = "It cost £4,215 in 2019, £3,180 in 2020 and £2,990 in 2021, the company said in its report."


def judged(rule, scored, reasons, *texts):
    names = CountSpecialCharacters.writes
    return reasons(rule, **dict(zip(names, scored(rule, texts=list(texts)), strict=True)))


def test_counts(scored):
    texts = ["a-1 b", "½ €", "🙂‍🔥️", "été नमस्ते", "\u00a0\t\n", "", None]
    chars, symbols, digits, spaces = scored(OBELICS, texts=texts)
    assert chars == [5, 3, 4, 10, 3, 0, None]
    assert symbols == [1, 2, 4, 0, 0, 0, None]
    assert digits == [1, 0, 0, 0, 0, 0, None]
    assert spaces == [1, 1, 0, 1, 3, 0, None]


def test_obelics_drops_a_sentence_of_money_and_the_default_does_not(scored, reasons):
    assert judged(OBELICS, scored, reasons, MONEY) == ["too_many_special_characters"]
    assert judged(TextSpecialCharacters(), scored, reasons, MONEY) == [None]


def test_rows_of_signs_fall_either_way(scored, reasons):
    for rule in (OBELICS, TextSpecialCharacters()):
        assert judged(rule, scored, reasons, "★★★★☆ | 🙂🙂 | >>> «»", "") == ["too_many_special_characters", None]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max": 0.2}, None),
        ({"max": 0.19}, "too_many_special_characters"),
        ({"max": 0.3, "digits": True}, None),
        ({"max": 0.29, "digits": True}, "too_many_special_characters"),
        ({"max": 0.5, "spaces": True}, None),
        ({"max": 0.6, "digits": True, "spaces": True}, None),
        ({"max": 0.59, "digits": True, "spaces": True}, "too_many_special_characters"),
    ],
)
def test_bounds_are_included(reasons, settings, reason):
    counts = {"text_chars": [10], "text_symbols": [2], "text_digits": [1], "text_spaces": [3]}
    assert reasons(TextSpecialCharacters(**settings), **counts) == [reason]


@pytest.mark.parametrize("bound", [-0.1, 1.1])
def test_a_bound_that_is_no_share_is_refused(bound):
    with pytest.raises(ValueError, match=r"max = .* is out of range"):
        TextSpecialCharacters(max=bound)
