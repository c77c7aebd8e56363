"""Boxes are blurred as ImageNet's faces were: grown, soft, and nothing else is touched."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curate.fetch.faces import blur
from curate.fetch.image import ImageSettings, process

HEIGHT, WIDTH = 100, 200
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def test_the_grown_box_is_smooth_and_the_rest_is_untouched() -> None:
    out = blur(NOISE, [[0.25, 0.3, 0.5, 0.7]])  # 50 x 40 px at (50, 30): grown by 5, kernel 2 * 5 + 1
    changed = np.argwhere((out != NOISE).any(2))
    top, left = changed.min(0)
    bottom, right = changed.max(0)
    assert 20 <= top <= 22  # 30, less 5 for the growth, less up to 5 for the soft edge
    assert 40 <= left <= 42
    assert 78 <= bottom <= 80
    assert 108 <= right <= 110
    assert out[35:65, 55:95].std() < 0.3 * NOISE.std()
    assert abs(float(out[35:65, 55:95].mean()) - float(NOISE.mean())) < 5
    np.testing.assert_array_equal(blur(NOISE, [[0.25, 0.3, 0.5, 0.7]]), out)


def test_the_edge_is_soft() -> None:
    stripes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stripes[:, ::2] = 255
    out = blur(stripes, [[0.25, 0.3, 0.5, 0.7]]).astype(int)
    contrast = np.abs(np.diff(out[50, :, 0]))
    assert contrast[:38].min() == 255
    assert contrast[60:90].max() < 40
    assert sum(60 < c < 230 for c in contrast[38:56]) >= 4


def test_boxes_share_one_mask_and_the_largest_sets_the_kernel() -> None:
    small, large = [0.0, 0.0, 0.05, 0.1], [0.5, 0.2, 0.9, 0.9]
    both = blur(NOISE, [small, large])
    assert (both[:5, :5] != blur(NOISE, [small])[:5, :5]).any()
    assert both[2:6, 2:6].std() < blur(NOISE, [small])[2:6, 2:6].std()


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[0.5, 0.5, 0.5, 0.5]],
        [[0.8, 0.2, 0.2, 0.9]],
        [[math.nan, 0, 1, 1]],
        [[0, 0, 1]],
        [[2, 2, 3, 3]],
        [[0, 0, math.inf, 1]],
    ],
)
def test_boxes_that_are_none_change_nothing(boxes: list[list[float]]) -> None:
    np.testing.assert_array_equal(blur(NOISE, boxes), NOISE)


@given(
    st.lists(st.lists(st.floats(-10, 10), min_size=4, max_size=4), max_size=4), st.integers(1, 40), st.integers(1, 40)
)
def test_any_boxes_keep_shape_and_kind(boxes: list[list[float]], height: int, width: int) -> None:
    out = blur(NOISE[:height, :width], boxes)
    assert out.shape == (height, width, 3)
    assert out.dtype == np.uint8


def test_a_picture_is_blurred_after_the_resize_where_it_lies_in_the_file() -> None:
    rough = Image.fromarray(np.kron(RNG.integers(0, 2, (50, 100, 1), np.uint8) * 255, np.ones((8, 8, 3), np.uint8)))
    turned = Image.Exif()
    turned[274] = 3
    out = io.BytesIO()
    rough.save(out, "PNG", exif=turned)
    settings = ImageSettings(size_px=100, format="png")
    boxes = [[0.0, 0.0, 0.4, 1.0]]
    pixels = np.asarray(Image.open(io.BytesIO(process(out.getvalue(), settings, boxes).data)))
    sharp = np.asarray(Image.open(io.BytesIO(process(out.getvalue(), settings).data)))
    np.testing.assert_array_equal(pixels[:, :45], sharp[:, :45])
    assert (pixels[:25] == 255).all()  # the border is added after the blur
    assert pixels[30:70, 68:].std() < 0.5 * sharp[30:70, 68:].std()
