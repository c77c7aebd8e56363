"""The bound on how often a caption occurs; counting is tested in tests/dedup/test_captions.py."""

import pytest

from curate.dedup.captions import CaptionFrequency as CountCaptions
from curate.signals import signal_steps
from filters.caption_frequency import CaptionFrequency


@pytest.mark.parametrize(
    ("count", "reason"),
    [(1, None), (10, None), (11, "caption_too_frequent"), (10**12, "caption_too_frequent"), (None, None)],
)
def test_the_bound_is_included(reasons, count, reason):
    assert reasons(CaptionFrequency(), caption_count=[count]) == [reason]


def test_it_asks_for_the_count_once():
    rules = {"caption_frequency": CaptionFrequency(), "caption_frequency-strict": CaptionFrequency(max=2)}
    assert signal_steps(rules, {}, set()) == [CountCaptions()]


@pytest.mark.parametrize("bound", [0, -1])
def test_a_bound_that_keeps_nothing_is_refused(bound):
    with pytest.raises(ValueError, match=f"max = {bound} is out of range"):
        CaptionFrequency(max=bound)
