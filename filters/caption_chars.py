"""Drops captions with too few or too many characters (Unicode code points, as Python's `len`).

DataComp keeps `len(text) > 5`, so 6 and more; LAION-400M 5 and more; COYO-700M 6 to 1,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Batch, Bounded, Scorer, check_bounds
from curate.gauge import Gauge


@dataclass(frozen=True)
class CountCaptionChars(Scorer):
    """Code points per caption; null where there is no caption."""

    name: ClassVar[str] = "caption_chars"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"caption_chars": pa.int32()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        return {"caption_chars": pc.utf8_length(batch.columns["caption"]).cast(pa.int32())}


@dataclass(frozen=True)
class CaptionChars(Bounded):
    """Keeps `min` to `max` code points, both included. No caption has none."""

    min: int | None = 6
    max: int | None = None

    reads: ClassVar[tuple[str, ...]] = ("caption_chars",)
    reasons: ClassVar[Mapping[str, str]] = {
        "caption_too_short": "the caption has too few characters, or there is none",
        "caption_too_long": "the caption has too many characters",
    }
    unknown: ClassVar[str | None] = "caption_too_short"

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)

    def scorer(self) -> Scorer:
        return CountCaptionChars()

    @property
    def gauge(self) -> Gauge:
        return Gauge(
            "caption_chars",
            self.reads,
            min=self.min,
            max=self.max,
            too_low="caption_too_short",
            too_high="caption_too_long",
        )
