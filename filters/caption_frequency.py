"""Drops captions that stand beside many pictures: "Stock Photo", the name of a shop, what was there before the text.

COYO-700M removes texts that occur more than 10 times. They are counted over all shards, kept and dropped rows alike
(`curate.dedup.captions`): equal but for white space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.dedup.captions import CaptionFrequency as CountCaptions
from curate.filter import Bounded, Rules, check_bounds
from curate.gauge import Gauge
from curate.stage import Work


@dataclass(frozen=True)
class CaptionFrequency(Bounded):
    """Keeps captions that occur at most `max` times, included. What has no caption is kept."""

    max: int = 10

    reads: ClassVar[tuple[str, ...]] = ("caption_count",)
    reasons: ClassVar[Mapping[str, str]] = {"caption_too_frequent": "the caption stands beside too many pictures"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max, least=1)

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        return (CountCaptions(),)

    @property
    def gauge(self) -> Gauge:
        return Gauge("caption_count", self.reads, max=self.max, too_high="caption_too_frequent")
