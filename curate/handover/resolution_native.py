"""The size at which models that keep a picture's shape see it: a vectorised copy of each published rule.

    smart_resize   Qwen2-VL (Wang et al. 2024): sides are multiples of `factor` px, pixels within bounds
    fit_side       Pixtral (Agrawal et al. 2024): a longest side, rounded up to patches
    fit_box        Fuyu (Bavishi et al. 2023): a box of 1920 x 1080 px, rounded up to patches

The order of floating-point operations is that of the rule's code in transformers 5, so that a side on the border of a
patch falls to the same side of it. A million pictures take 0.02 s.
"""

from __future__ import annotations

import numpy as np

from curate.handover.resolution_tiles import Grid, Numbers

__all__ = ["fit_box", "fit_side", "smart_resize"]


def smart_resize(width: Numbers, height: Numbers, factor: int, min_pixels: int, max_pixels: int) -> Grid:
    """Width and height in px, each a multiple of `factor`: the nearest (half to even), or where that has more than
    `max_pixels` (0: any number) or fewer than `min_pixels`, the picture scaled into them. At least one `factor`."""
    across, down = (np.rint(side / factor).astype(np.int64) * factor for side in (width, height))
    pixels = across * down
    if max_pixels:
        shrink = np.sqrt(width * height / max_pixels)
        smaller = [np.maximum(factor, np.floor(s / shrink / factor).astype(np.int64) * factor) for s in (width, height)]
        across, down = (np.where(pixels > max_pixels, a, b) for a, b in zip(smaller, (across, down), strict=True))
    grow = np.sqrt(min_pixels / (width * height))
    larger = [np.ceil(s * grow / factor).astype(np.int64) * factor for s in (width, height)]
    across, down = (np.where(pixels < min_pixels, a, b) for a, b in zip(larger, (across, down), strict=True))
    return np.maximum(across, factor), np.maximum(down, factor)


def fit_side(width: Numbers, height: Numbers, patch: int, longest: int) -> Grid:
    """Width and height in px, multiples of `patch`, of a picture whose longest side is brought down to `longest` (0:
    left as it is)."""
    if longest:
        ratio = np.maximum(np.maximum(height / longest, width / longest), 1.0)
        width, height = (np.maximum(np.floor(side / ratio).astype(np.int64), 1) for side in (width, height))
    return -(-width // patch) * patch, -(-height // patch) * patch


def fit_box(width: Numbers, height: Numbers, patch: int, widest: int, highest: int) -> Grid:
    """Width and height in px, multiples of `patch`, of a picture brought down into a box of `widest` x `highest`."""
    scale = np.minimum(highest / height, widest / width)
    across = np.minimum(np.maximum((width * scale).astype(np.int64), 1), width)
    down = np.minimum(np.maximum((height * scale).astype(np.int64), 1), height)
    return -(-across // patch) * patch, -(-down // patch) * patch
