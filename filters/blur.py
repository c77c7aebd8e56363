"""Drops blurred pictures: the variance of the Laplacian of the grey picture, as NeMo Curator measures it.

Its default bound is 100. The measure falls with the size of the picture as well as with its sharpness, and is taken of
the picture as stored, so the bound fits one target size: look at what it drops before trusting it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Batch, Bounded, Pixels, Scorer, check_bounds
from curate.gauge import Gauge


def laplacian_variance(pixels: Pixels) -> float:
    """Variance of the 3x3 Laplacian of the grey levels; 0 for a flat picture, some 100s to 1,000s for a sharp one.

    Responses are whole numbers within 1,020, so 16 bits hold them exactly, and the value is that of double precision.
    """
    import cv2

    edges = cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_16S)
    return float(cv2.meanStdDev(edges)[1][0, 0] ** 2)


@dataclass(frozen=True)
class MeasureBlur(Scorer):
    """Variance of the Laplacian; null without a picture."""

    name: ClassVar[str] = "blur"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"laplacian_variance": pa.float32()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        variances = [None if p is None else laplacian_variance(p) for p in batch.pixels]
        return {"laplacian_variance": pa.array(variances, pa.float32())}


@dataclass(frozen=True)
class Blur(Bounded):
    """Keeps pictures with a variance of at least `min_variance`, included. No picture is kept."""

    min_variance: float = 100.0

    reads: ClassVar[tuple[str, ...]] = ("laplacian_variance",)
    reasons: ClassVar[Mapping[str, str]] = {"blurred": "the picture is blurred"}

    def __post_init__(self) -> None:
        check_bounds(self.min_variance, None, name="{}_variance")

    def scorer(self) -> Scorer:
        return MeasureBlur()

    @property
    def gauge(self) -> Gauge:
        return Gauge(
            "laplacian_variance", self.reads, min=self.min_variance, too_low="blurred", min_setting="min_variance"
        )
