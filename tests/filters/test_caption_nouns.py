"""The bound on nouns; how they are found is tested in test_grammar.py. One scorer serves three filters."""

import pytest

from filters.caption_action import CaptionAction
from filters.caption_complexity import CaptionComplexity
from filters.caption_nouns import CaptionNouns

CAPTIONS = ["a dog on a mat", "Rosa sits", "before baking", "2 + 2", "", None]


@pytest.mark.parametrize(
    ("nouns", "reason"), [(0, "too_few_nouns"), (1, "too_few_nouns"), (2, None), (3, None), (None, "too_few_nouns")]
)
def test_the_bound_is_included(reasons, nouns, reason):
    assert reasons(CaptionNouns(min=2), caption_nouns=[nouns]) == [reason]


def test_one_noun_is_enough(scored, reasons):
    nouns, *_ = scored(CaptionNouns(), captions=CAPTIONS)
    assert nouns == [2, 1, 0, 0, 0, None]
    assert reasons(CaptionNouns(), caption_nouns=nouns) == [None, None, *["too_few_nouns"] * 4]


def test_three_filters_share_a_scorer():
    assert CaptionNouns().scorer() == CaptionAction().scorer() == CaptionComplexity(min=3).scorer()


@pytest.mark.parametrize(
    ("settings", "words"), [({"min": -1}, "min = -1 is out of range"), ({"parser": "x"}, "parser = 'x' is neither")]
)
def test_what_makes_no_sense_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        CaptionNouns(**settings)
