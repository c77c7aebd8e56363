"""Drops pictures of one colour: placeholders, spacers, blank frames.

The share of pixels within 8 levels of the median colour in every channel is measured on at most 64x64 pixels taken
evenly from the picture as stored. A median does not care where a histogram's bins end, so the noise of JPEG does not
split one colour into two. A product on white paper reaches 0.9, which is why the default is 0.98.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from curate.filter import Batch, Bounded, Pixels, Scorer, check_bounds
from curate.gauge import Gauge

SIDE = 64
LEVELS = 8


def dominant_color_ratio(pixels: Pixels) -> float:
    """Share of pixels near the median colour, 0 to 1."""
    rows, columns = (np.linspace(0, n - 1, min(n, SIDE)).astype(int) for n in pixels.shape[:2])
    few = pixels[np.ix_(rows, columns)].reshape(-1, 3)
    near = np.abs(few - np.median(few, axis=0)) <= LEVELS
    return float(near.all(axis=1).mean())


@dataclass(frozen=True)
class MeasureColors(Scorer):
    """Share of the dominant colour; null without a picture."""

    name: ClassVar[str] = "single_color"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"dominant_color_ratio": pa.float32()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        ratios = [None if p is None else dominant_color_ratio(p) for p in batch.pixels]
        return {"dominant_color_ratio": pa.array(ratios, pa.float32())}


@dataclass(frozen=True)
class SingleColor(Bounded):
    """Keeps pictures whose dominant colour takes at most `max_ratio` of them, included. No picture is kept."""

    max_ratio: float = 0.98

    reads: ClassVar[tuple[str, ...]] = ("dominant_color_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {"one_color": "the picture is of one colour"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max_ratio, most=1, name="{}_ratio")

    def scorer(self) -> Scorer:
        return MeasureColors()

    @property
    def gauge(self) -> Gauge:
        return Gauge(
            "dominant_color_ratio", self.reads, max=self.max_ratio, too_high="one_color", max_setting="max_ratio"
        )
