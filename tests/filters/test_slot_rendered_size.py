"""Sizes that a page gives its pictures."""

import pytest

from filters.slot_rendered_size import SlotRenderedSize


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (150, 150, None),
        (149, 600, "shown_too_small"),
        (600, 149, "shown_too_small"),
        (20_000, 150, None),
        (20_001, 150, "shown_too_large"),
        (1, 1, "shown_too_small"),
        (None, 149, "shown_too_small"),
        (149, None, "shown_too_small"),
        (None, 20_001, "shown_too_large"),
        (None, 150, None),
        (None, None, None),
    ],
)
def test_sides_of_150_to_20000_px_as_in_obelics(reasons, width, height, reason):
    assert reasons(SlotRenderedSize(), rendered_width_px=[width], rendered_height_px=[height]) == [reason]


def test_bounds_that_cross_are_refused():
    with pytest.raises(ValueError, match="nothing would be kept"):
        SlotRenderedSize(min_px=200, max_px=100)
