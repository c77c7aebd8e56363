"""Sides and bytes on both sides of each bound."""

import pytest

from filters.image_size import ImageSize


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (199, 200, "side_too_short"),
        (200, 199, "side_too_short"),
        (200, 200, None),
        (201, 200, None),
        (1000, 200, None),
        (1001, 200, "side_too_long"),
        (200, 1001, "side_too_long"),
        (1001, 199, "side_too_short"),
        (None, 200, None),
        (None, None, None),
    ],
)
def test_sides(reasons, width, height, reason):
    rule = ImageSize(min_side_px=200, max_side_px=1000)
    assert reasons(rule, original_width=[width], original_height=[height]) == [reason]


@pytest.mark.parametrize(
    ("size", "reason"), [(4999, "file_too_small"), (5000, None), (9000, None), (9001, "file_too_large"), (None, None)]
)
def test_bytes(reasons, size, reason):
    rule = ImageSize(min_side_px=None, min_bytes=5000, max_bytes=9000)
    assert reasons(rule, original_width=[1], original_height=[1], original_bytes=[size]) == [reason]


def test_bytes_are_read_only_where_they_are_bounded():
    assert ImageSize().columns == ("original_width", "original_height")
    assert "original_bytes" in ImageSize(max_bytes=1).columns


def test_bounds_that_keep_nothing_are_refused():
    with pytest.raises(ValueError, match="min_side_px = 300 is above max_side_px = 200"):
        ImageSize(min_side_px=300, max_side_px=200)
    with pytest.raises(ValueError, match="min_bytes = -1"):
        ImageSize(min_bytes=-1)
