"""Finds lines of printed text without a model: ink of even stroke on an even ground, in pieces in a row.

It is there so that masking text works out of the box: 5 ms for a picture of 256 px on one core, and nothing to
download. The trade is quality. Of 81 textbook pictures that nothing was tuned on it finds text in 24 of 30 with some
and in 4 of 51 with none (`tests/models/test_text_boxes.py`). Missed are handwriting, curved and upright lines, single
letters, letters below 3 px or above a quarter of the picture; rows of windows, stars or people are taken for words.

Each piece of ink (`text_boxes_letters`) points at the likeliest next one on its right, which makes chains. A chain is
judged by six numbers, weighted and added: a logistic regression on the chains of 268 photos and prints on which words
were drawn, five times each; what is asked of the sum was set on 223 more textbook pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from curate.filter import Pixels
from curate.models.text_boxes_letters import Letters, Numbers, ink, letters, scales

__all__ = ["MOST_BOXES", "find_lines"]

Places = npt.NDArray[np.intp]
Boxes = npt.NDArray[np.float32]

MOST_BOXES = 300
TALLER, THICKER, OTHER_GREY = 2.2, 2.2, 60
RISE, GAP, OVERLAP, FORTH = 0.45, 0.9, 0.5, 0.15
"""How far a letter may differ from the next: times the height, times the stroke, grey levels; and where it may stand,
in heights: up or down, apart (and 2 px), into it (in widths), to its right."""
LONE_CROSSINGS, LEAST_ELONGATION = 5, 1.3
"""A piece alone is a line if its rows cross more strokes: a word run together. A line is wider than high."""
WEIGHTS = np.array([2.5, -2.6, -15.0, -5.0, 11.0, 1.2])
"""Of `Lines.signs`, in order."""
BIAS = {1: -10.0, 2: -10.8}
"""By scale; a line is text from a sum of 0 on. At half scale lines are larger, and so is what a false one costs."""
MARGIN, INNER = 0.15, 0.8
"""Added around a line, in line heights; the share of a box in a larger one from which on it is left out."""


def find_lines(pixels: Pixels) -> Boxes:
    """Boxes of lines of text, float32 (n, 4), [x0, y0, x1, y1] in 0..1, the surest first, at most MOST_BOXES.

    `pixels`: uint8 height x width x 3 of any size: larger ones are shrunk first, and pieces and boxes are bounded, so
    4,000 x 4,000 px of noise take 0.03 s.
    """
    found = list(_judged(pixels))
    if not found:
        return np.zeros((0, 4), np.float32)
    boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    best = np.argsort(-scores, kind="stable")[:MOST_BOXES]
    return _without_inner(boxes[best[scores[best] > 0]])


def _judged(pixels: Pixels) -> Iterator[tuple[Boxes, Numbers]]:
    """Boxes of lines in 0..1 and how sure they are, per scale and shade."""
    for step, grey in scales(pixels):
        height, width = grey.shape
        sums = cv2.integral2(grey, sdepth=cv2.CV_32S, sqdepth=cv2.CV_64F)
        for mask in ink(grey):
            found = letters(grey, mask, step)
            if not len(found):
                continue
            lines = Lines.of(found, last_of_line(found))
            signs, long = lines.signs(*(_inside(table, lines.box) for table in sums))
            margin = MARGIN * (lines.box[:, 3:] - lines.box[:, 1:2]) * [-1, -1, 1, 1]
            boxes = np.clip((lines.box + margin) / [width, height, width, height], 0, 1).astype(np.float32)
            yield boxes[long], (signs @ WEIGHTS + BIAS[step])[long]


def last_of_line(found: Letters) -> Places:
    """The last letter of each letter's line: every one points at the likeliest next on its right, and so on."""
    one, other = _neighbours(found)
    height, width = found.bottom - found.top, found.right - found.left
    lower, taller = _sorted(height[one], height[other])
    thin, thick = _sorted(found.stroke[one], found.stroke[other])
    rise = np.abs(found.top[one] + found.bottom[one] - found.top[other] - found.bottom[other]) / 2
    forth = (found.left[other] + found.right[other] - found.left[one] - found.right[one]) / 2
    gap = found.left[other] - found.right[one]
    fits = (taller <= TALLER * lower) & (thick <= THICKER * thin) & (rise <= RISE * taller) & (forth > FORTH * lower)
    fits &= (gap <= GAP * lower + 2) & (gap >= -OVERLAP * np.minimum(width[one], width[other]))
    fits &= np.abs(found.grey[one] - found.grey[other]) <= OTHER_GREY
    cost = ((np.abs(gap) + 1.5 * rise) / taller + np.log(taller / lower))[fits]
    one, other = one[fits], other[fits]
    order = np.lexsort((cost, one))
    one, other = one[order], other[order]
    likeliest = np.diff(one, prepend=-1) > 0
    last = np.arange(len(found))
    last[one[likeliest]] = other[likeliest]
    while not np.array_equal(last, last[last]):
        last = last[last]
    return last


def _neighbours(found: Letters) -> tuple[Places, Places]:
    """Pairs of places, the second not left of the first and near enough on its right; `found` is by `left`."""
    reach = np.searchsorted(found.left, found.right + GAP * (found.bottom - found.top) + 2)
    places = np.arange(len(found))
    number = np.maximum(reach - places - 1, 0)
    one = np.repeat(places, number)
    return one, np.arange(len(one)) - np.repeat(np.cumsum(number) - number, number) + one + 1


def _sorted(one: Numbers, other: Numbers) -> tuple[Numbers, Numbers]:
    return np.minimum(one, other), np.maximum(one, other)


@dataclass(frozen=True)
class Lines:
    """Letters by line: `line` is the number of each letter's line, `box` of each line left, top, right, bottom."""

    found: Letters
    line: Places
    count: Places
    box: npt.NDArray[np.int64]

    @classmethod
    def of(cls, found: Letters, last: Places) -> Lines:
        _, line, count = np.unique(last, return_inverse=True, return_counts=True)
        order = np.argsort(line, kind="stable")
        starts = np.cumsum(count) - count
        sides = (
            (np.minimum, found.left),
            (np.minimum, found.top),
            (np.maximum, found.right),
            (np.maximum, found.bottom),
        )
        box = np.stack([end.reduceat(side[order], starts) for end, side in sides], 1).astype(np.int64)
        return cls(found, line, count, box)

    def total(self, values: Numbers) -> Numbers:
        return np.bincount(self.line, values, len(self.count)).astype(np.float64, copy=False)

    def mean(self, values: Numbers) -> Numbers:
        return self.total(values) / self.count

    def signs(self, grey: Numbers, square: Numbers) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """Six numbers per line (n, 6), and whether it is long enough to be one.

        They are the logarithm of the strokes that a row crosses, the stroke's width in heights and how much it varies,
        how far the line bends in heights, how well ink and ground part, and the logarithm of their contrast. `grey` and
        `square` are sums over its box.
        """
        found = self.found
        height = self.mean(found.bottom - found.top)
        crossings = self.total(found.crossings)
        parted, contrast = self._against_ground(grey, square)
        numbers = (
            np.log(np.maximum(crossings, 1e-3)),
            self.mean(found.stroke) / height,
            self.mean(found.spread / found.stroke),
            np.minimum(self._bend(found.top), self._bend(found.bottom)) / height,
            parted,
            np.log(np.maximum(contrast, 1)),
        )
        left, top, right, bottom = self.box.T
        long = (right - left > LEAST_ELONGATION * (bottom - top)) & ((self.count > 1) | (crossings > LONE_CROSSINGS))
        return np.stack(numbers, 1), long

    def _against_ground(self, grey: Numbers, square: Numbers) -> tuple[Numbers, Numbers]:
        """The share (0 to 1) of the variance in the box that ink against ground explains, and their contrast."""
        found = self.found
        area = (self.box[:, 2] - self.box[:, 0]) * (self.box[:, 3] - self.box[:, 1]).astype(np.float64)
        inked = self.total(found.area)
        ground = np.maximum(area - inked, 1)
        ink_grey, ink_square = self.total(found.grey * found.area), self.total(found.square * found.area)
        within = np.maximum(ink_square - ink_grey**2 / inked, 0)
        within += np.maximum(square - ink_square - (grey - ink_grey) ** 2 / ground, 0)
        contrast = np.abs(ink_grey / inked - (grey - ink_grey) / ground)
        return 1 - within / np.maximum(square - grey**2 / area, 1e-6), contrast

    def _bend(self, side: Numbers) -> Numbers:
        """Standard deviation of the letters' tops or bottoms about a straight line, in pixels."""
        x = self.found.left + self.found.right
        x, y = (values - self.mean(values)[self.line] for values in (x, side))
        xx, xy, yy = (self.total(values) for values in (x * x, x * y, y * y))
        bend: Numbers = np.sqrt(np.maximum(yy - xy**2 / np.maximum(xx, 1e-6), 0) / self.count)
        return bend


def _inside(table: npt.NDArray[np.int32] | Numbers, box: npt.NDArray[np.int64]) -> Numbers:
    """The sum in each box, of an integral image."""
    left, top, right, bottom = box.T
    total = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return np.asarray(total, np.float64)


def _without_inner(boxes: Boxes) -> Boxes:
    """Less those that lie mostly in another: a line is often found at both scales and in both shades."""
    left, top, right, bottom = boxes.T
    area = (right - left) * (bottom - top)
    wide = np.minimum.outer(right, right) - np.maximum.outer(left, left)
    high = np.minimum.outer(bottom, bottom) - np.maximum.outer(top, top)
    inside = np.maximum(wide, 0) * np.maximum(high, 0) >= INNER * area[:, None]
    larger = (area[None] > area[:, None]) | ((area[None] == area[:, None]) & np.tri(len(boxes), k=-1, dtype=bool))
    outer: Boxes = boxes[~(inside & larger).any(axis=1)]
    return outer
