"""The bound on relations; how they are found is tested in test_grammar.py."""

import pytest

from filters.caption_complexity import CaptionComplexity

CAPTIONS = ["a dog sits on a mat near a wall", "dog on a mat", "the dog sleeps", "red dog", "", None]


@pytest.mark.parametrize(
    ("relations", "reason"),
    [(0, "too_few_relations"), (1, "too_few_relations"), (2, None), (3, None), (None, "too_few_relations")],
)
def test_the_bound_is_included(reasons, relations, reason):
    assert reasons(CaptionComplexity(min=2), caption_relations=[relations]) == [reason]


def test_one_relation_is_enough(scored, reasons):
    *_, relations = scored(CaptionComplexity(), captions=CAPTIONS)
    assert relations == [2, 1, 0, 0, 0, None]
    assert reasons(CaptionComplexity(), caption_relations=relations) == [None, None, *["too_few_relations"] * 4]


@pytest.mark.parametrize(
    ("settings", "words"), [({"min": -1}, "min = -1 is out of range"), ({"parser": "x"}, "parser = 'x' is neither")]
)
def test_what_makes_no_sense_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        CaptionComplexity(**settings)
