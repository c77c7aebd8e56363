"""A masked picture is the picture outside the boxes, and inside them the mean of what lies around."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.models.mask_text import RING_PX, in_pixels, mask_text, merged

SIDES = st.integers(1, 24)


def noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def ring_mean(pixels, left, top, right, bottom):
    """The mean colour of what is within RING_PX of a box and not in it, pixel by pixel."""
    around = [
        pixels[y, x].astype(float)
        for y in range(max(top - RING_PX, 0), min(bottom + RING_PX, pixels.shape[0]))
        for x in range(max(left - RING_PX, 0), min(right + RING_PX, pixels.shape[1]))
        if not (left <= x < right and top <= y < bottom)
    ]
    return np.mean(around, axis=0) if around else pixels[top:bottom, left:right].mean(axis=(0, 1))


@st.composite
def masked(draw):
    """A picture and boxes with corners on its pixels, some without width or height."""
    height, width = draw(SIDES), draw(SIDES)
    across, down = st.integers(0, width), st.integers(0, height)
    corners = draw(st.lists(st.tuples(across, down, across, down), max_size=5))
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]
    parts = (np.array(boxes).reshape(-1, 4) / [width, height, width, height]).astype(np.float32)
    return noise(draw(st.integers(0, 99)), height, width), boxes, parts


@given(masked())
@settings(deadline=None)
def test_outside_is_kept_and_inside_is_the_mean_of_the_ring(case):
    pixels, boxes, parts = case
    before = pixels.copy()
    painted = mask_text(pixels, parts)
    assert np.array_equal(pixels, before)
    assert painted.dtype == np.uint8
    inside = np.zeros(pixels.shape[:2], bool)
    for left, top, right, bottom in merged(in_pixels(parts, *pixels.shape[:2])).tolist():
        inside[top:bottom, left:right] = True
        expected = np.rint(ring_mean(pixels, left, top, right, bottom))
        assert np.abs(painted[top:bottom, left:right] - expected).max() <= 1e-9
    for left, top, right, bottom in boxes:
        assert inside[top:bottom, left:right].all()
    assert np.array_equal(painted[~inside], pixels[~inside])


def test_text_on_a_plain_ground_is_gone():
    pixels = np.full((40, 60, 3), (200, 180, 20), np.uint8)
    pixels[12:20:2, 10:40] = 0
    assert np.array_equal(
        mask_text(pixels, [[9 / 60, 11 / 40, 41 / 60, 21 / 40]]), np.full_like(pixels, (200, 180, 20))
    )


@pytest.mark.parametrize(
    "box",
    [
        [0.5, 0.5, 0.5, 0.9],  # no width
        [0.6, 0.2, 0.4, 0.8],  # the wrong way round
        [1.0, 0.0, 1.5, 1.0],  # right of the picture
        [-2.0, -2.0, -1.0, -1.0],
        [0.1, float("nan"), 0.5, 0.5],
        [0.1, 0.1, float("inf"), 0.5],
    ],
)
def test_a_box_without_pixels_changes_nothing(box):
    pixels = noise(0, 20, 20)
    painted = mask_text(pixels, [box])
    assert np.array_equal(painted, pixels)
    assert not np.shares_memory(painted, pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (6, 9)])
def test_a_box_as_large_as_the_picture_gets_its_own_mean(shape):
    pixels = noise(1, *shape)
    painted = mask_text(pixels, [[-1, 0, 2, 1]])
    assert np.all(painted == np.rint(pixels.mean(axis=(0, 1))))


def test_no_boxes():
    pixels = noise(2, 4, 4)
    assert np.array_equal(mask_text(pixels, []), pixels)
    assert np.array_equal(mask_text(pixels, np.zeros((0, 4), np.float32)), pixels)


def test_a_picture_that_may_not_be_written_to():
    pixels = noise(3, 12, 12)
    pixels.flags.writeable = False
    assert mask_text(pixels, [[0.25, 0.25, 0.5, 0.5]]).flags.writeable


@pytest.mark.parametrize(
    ("part", "pixels"),
    [
        ([0.25, 0, 0.5, 1], [2, 0, 4, 10]),
        ([0.26, 0.11, 0.49, 0.89], [2, 1, 4, 9]),  # a pixel that is touched is covered
        ([0.375, 0, 0.38, 0.001], [3, 0, 4, 1]),
        ([np.float32(0.3), np.float32(0.7), 1, 1], [2, 7, 8, 10]),  # .7 as float32 is 7 of 10, not 6.9999999
    ],
)
def test_parts_as_pixels(part, pixels):
    assert in_pixels([part], 10, 8).tolist() == [pixels]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[0, 0, 4, 4], [4, 0, 8, 4]], [[0, 0, 4, 4], [4, 0, 8, 4]]),  # they touch and share nothing
        ([[0, 0, 4, 4], [3, 3, 8, 8]], [[0, 0, 8, 8]]),
        ([[0, 0, 9, 9], [2, 2, 3, 3]], [[0, 0, 9, 9]]),
        ([[0, 0, 2, 2], [0, 0, 2, 2]], [[0, 0, 2, 2]]),
        ([[0, 0, 4, 4], [3, 3, 8, 8], [6, 0, 7, 2]], [[0, 0, 8, 8]]),  # the box around two takes in the third
        ([[0, 0, 2, 9], [4, 0, 6, 9], [1, 4, 5, 5], [7, 0, 9, 9]], [[0, 0, 6, 9], [7, 0, 9, 9]]),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_boxes_that_share_a_pixel_are_one(boxes, expected, turn):
    assert merged(np.array(boxes[::turn])).tolist() == expected
