"""Code points, not bytes, and the bounds on them."""

import pytest

from filters.caption_chars import CaptionChars


def test_counts_code_points(scored):
    captions = ["horse", "horses", "pferdé", "馬馬馬", "👩‍🌾", " a\n", "", None]
    assert scored(CaptionChars(), captions=captions) == [[5, 6, 6, 3, 3, 3, 0, None]]


@pytest.mark.parametrize(
    ("chars", "reason"),
    [(5, "caption_too_short"), (6, None), (1000, None), (1001, "caption_too_long"), (None, "caption_too_short")],
)
def test_both_bounds_are_included(reasons, chars, reason):
    assert reasons(CaptionChars(min=6, max=1000), caption_chars=[chars]) == [reason]


def test_a_negative_bound_is_refused():
    with pytest.raises(ValueError, match="min = -1 is out of range: at least 0"):
        CaptionChars(min=-1)
