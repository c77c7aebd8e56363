"""Shapes that a page gives its pictures."""

import pytest

from filters.slot_aspect_ratio import SlotAspectRatio


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (400, 100, None),
        (100, 400, None),
        (401, 100, "shown_too_elongated"),
        (100, 401, "shown_too_elongated"),
        (728, 90, "shown_too_elongated"),
        (100, 0, "shown_too_elongated"),
        (900, None, None),
        (None, None, None),
    ],
)
def test_at_most_four_times_as_long(reasons, width, height, reason):
    assert reasons(SlotAspectRatio(), rendered_width_px=[width], rendered_height_px=[height]) == [reason]


def test_a_ratio_below_one_is_refused():
    with pytest.raises(ValueError, match="out of range"):
        SlotAspectRatio(max=0.5)
