"""Flat pictures, nearly flat ones, and ones with something on them."""

import numpy as np
import pytest

from filters.single_color import SingleColor, dominant_color_ratio


def canvas(color=(127, 128, 200), size=(240, 320)):
    return np.full((*size, 3), color, np.uint8)


def with_square(share):
    pixels = canvas(size=(200, 200))
    side = round(200 * share**0.5)
    pixels[:side, :side] = (255, 0, 0)
    return pixels


def with_noise(levels):
    noise = np.random.default_rng(0).integers(-levels, levels + 1, (240, 320, 3))
    return (canvas().astype(int) + noise).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "low", "high"),
    [
        (canvas(), 1, 1),
        (canvas((0, 0, 0), (1, 1)), 1, 1),
        (canvas((255, 255, 255), (1, 900)), 1, 1),
        (with_noise(4), 1, 1),
        (with_noise(60), 0, 0.02),
        (with_square(0.01), 0.98, 0.998),
        (with_square(0.10), 0.88, 0.92),
    ],
)
def test_share_of_the_dominant_color(pixels, low, high):
    assert low <= dominant_color_ratio(pixels) <= high


def test_a_row_without_a_picture_is_null(scored):
    assert scored(SingleColor(), pixels=[canvas(), None]) == [[1.0, None]]


@pytest.mark.parametrize(("ratio", "reason"), [(0.9, None), (0.91, "one_color"), (None, None)])
def test_the_bound_is_included(reasons, ratio, reason):
    assert reasons(SingleColor(max_ratio=float(np.float32(0.9))), dominant_color_ratio=[ratio]) == [reason]
