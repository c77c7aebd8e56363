"""Blur boxes in a picture (`face_bboxes`), as ImageNet's faces were blurred and img2dataset does for DataComp.

The edges are soft, so that a model does not learn to look for rectangles. Nothing is drawn at random: the same
picture and boxes give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from curate.filter import Pixels

__all__ = ["blur"]

GROW_RATIO = 0.1
SIGMA_RATIO = 0.1


def blur(pixels: Pixels, boxes: Sequence[Sequence[float]]) -> Pixels:
    """Height x width x 3 with all boxes blurred.

    A box is [x0, y0, x1, y1] in 0..1 of width and height; it is grown by a tenth of its longer side each way. One
    mask holds all boxes; mask and picture are blurred alike (Gaussian, sigma a tenth of the longest side of any box,
    kernel 2 * ceil(sigma) + 1) and blended. Boxes that are empty, not finite or outside are skipped.
    """
    height, width = pixels.shape[:2]
    mask = np.zeros((height, width), np.float32)
    longest = 0
    for box in boxes:
        if len(box) != 4 or not all(math.isfinite(value) for value in box):
            continue
        x0, y0, x1, y1 = (int(min(max(v, 0), 1) * side) for v, side in zip(box, (width, height) * 2, strict=True))
        side = max(x1 - x0, y1 - y0)
        if x1 < x0 or y1 < y0 or side == 0:
            continue
        grow = GROW_RATIO * side
        mask[max(int(y0 - grow), 0) : int(y1 + grow) + 1, max(int(x0 - grow), 0) : int(x1 + grow) + 1] = 1
        longest = max(longest, side)
    if longest == 0:
        return pixels
    sigma = SIGMA_RATIO * longest
    kernel = (2 * math.ceil(sigma) + 1,) * 2
    soft = cv2.GaussianBlur(mask, kernel, sigma)[:, :, None]
    blurred = cv2.GaussianBlur(pixels, kernel, sigma)
    mixed: Pixels = np.rint(blurred * soft + pixels * (1 - soft)).astype(np.uint8)
    return mixed
