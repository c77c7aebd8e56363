"""The measure equals NeMo Curator's formula, and falls as a picture is blurred."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.blur import Blur, laplacian_variance


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None)
def test_equals_the_formula_in_double_precision(seed, height, width):
    pixels = np.random.default_rng(seed).choice([0, 3, 128, 255], (height, width, 3)).astype(np.uint8)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    assert laplacian_variance(pixels) == pytest.approx(cv2.Laplacian(grey, cv2.CV_64F).var(), rel=1e-9, abs=1e-9)


def test_falls_with_blur(scored):
    sharp = (
        np.kron(np.indices((16, 16)).sum(axis=0) % 2 * 255, np.ones((8, 8))).astype(np.uint8)[..., None].repeat(3, 2)
    )
    pixels = [sharp, cv2.GaussianBlur(sharp, (0, 0), 2), cv2.GaussianBlur(sharp, (0, 0), 4), sharp * 0, None]
    (variance,) = scored(Blur(), pixels=pixels)
    assert variance[0] > 100 * variance[1] > 0
    assert variance[1] > variance[2] > variance[3] == 0
    assert variance[4] is None


@pytest.mark.parametrize(
    ("variance", "reason"), [(100.0, None), (99.9, "blurred"), (None, None), (float("nan"), "blurred")]
)
def test_the_bound_is_included(reasons, variance, reason):
    assert reasons(Blur(min_variance=100), laplacian_variance=[variance]) == [reason]
