"""Drops pictures that are mostly text: scans, slides, screenshots, title pages.

Finding text is the first step of T-MARS too (Maini et al. 2023, arXiv 2307.03132), which masks it and compares picture
and caption again: `masked_similarity`. How much of a picture may be text is no part of T-MARS, and needs no model.

`detector` is as in `curate.models.text_boxes.open_detector`. The default finds text on 1 % or more of the area in 24 of
30 textbook pictures with some, and in 4 of 51 with none, there on 11 % of it (`tests/models/test_text_boxes.py`): look
at what is dropped before trusting a bound below .2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curate.filter import Batch, Bounded, Pixels, Scorer, check_bounds
from curate.gauge import Gauge
from curate.manifest import fingerprint
from curate.models.text_boxes import CLASSICAL, area_ratio, check_detector, open_detector


@dataclass(frozen=True)
class FindText(Scorer):
    """Boxes of text, [x0, y0, x1, y1] each, in 0..1 of the upright picture, and the share of it that they cover
    together, 0 to 1. Null without a picture; no box and 0 without text."""

    detector: str = CLASSICAL

    name: ClassVar[str] = "text_in_image"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("image",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {
        "text_boxes": pa.list_(pa.list_(pa.float32())),
        "text_area_ratio": pa.float32(),
    }

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "detector": open_detector(self.detector).fingerprint}

    def provenance(self) -> Mapping[str, str]:
        return {
            "text_detector": Path(self.detector).name,
            "text_detector_fingerprint": open_detector(self.detector).fingerprint,
            "model_fingerprint": fingerprint(self.identity()),
        }

    def require(self) -> None:
        open_detector(self.detector)

    def prepare(self, pixels: Pixels) -> Any:
        return open_detector(self.detector).boxes(pixels)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        boxes = [None if found is None else found.tolist() for found in batch.pixels]
        ratios = [None if found is None else area_ratio(found) for found in batch.pixels]
        return {
            "text_boxes": pa.array(boxes, self.writes["text_boxes"]),
            "text_area_ratio": pa.array(ratios, pa.float32()),
        }


@dataclass(frozen=True)
class TextInImage(Bounded):
    """Keeps pictures of which at most `max_area_ratio` (0 to 1, included) is boxes of text. One in which nobody
    could look for text is dropped too."""

    version: ClassVar[int] = 2

    max_area_ratio: float
    detector: str = CLASSICAL

    reads: ClassVar[tuple[str, ...]] = ("text_area_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {
        "text_in_image_unknown": "how much of the picture is text could not be told",
        "too_much_text": "too much of the picture is text",
    }
    unknown: ClassVar[str | None] = "text_in_image_unknown"

    def __post_init__(self) -> None:
        check_detector(self.detector)
        check_bounds(None, self.max_area_ratio, most=1, name="{}_area_ratio")

    def scorer(self) -> Scorer:
        return FindText(self.detector)

    @property
    def gauge(self) -> Gauge:
        return Gauge(
            "text_area_ratio",
            self.reads,
            max=self.max_area_ratio,
            too_high="too_much_text",
            max_setting="max_area_ratio",
        )
