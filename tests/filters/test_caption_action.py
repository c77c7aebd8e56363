"""The bound on verbs; how they are found is tested in test_grammar.py."""

import pytest

from filters.caption_action import CaptionAction

CAPTIONS = ["a dog sits and eats", "a dog is sitting", "a dog is brown", "running shoes", "", None]


@pytest.mark.parametrize(
    ("verbs", "reason"), [(0, "too_few_verbs"), (1, "too_few_verbs"), (2, None), (3, None), (None, "too_few_verbs")]
)
def test_the_bound_is_included(reasons, verbs, reason):
    assert reasons(CaptionAction(min=2), caption_verbs=[verbs]) == [reason]


def test_one_verb_is_enough(scored, reasons):
    _, verbs, _ = scored(CaptionAction(), captions=CAPTIONS)
    assert verbs == [2, 1, 0, 0, 0, None]
    assert reasons(CaptionAction(), caption_verbs=verbs) == [None, None, *["too_few_verbs"] * 4]


@pytest.mark.parametrize(
    ("settings", "words"), [({"min": -1}, "min = -1 is out of range"), ({"parser": "x"}, "parser = 'x' is neither")]
)
def test_what_makes_no_sense_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        CaptionAction(**settings)
