"""Drops pictures whose URL is in many documents: headers, badges, pictures of the author.

OBELICS removes every copy of a picture whose URL occurs more than 10 times in the whole corpus; counting is the step
`image_url_frequency`. A URL that was not counted is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.filter import Bounded, check_bounds
from curate.gauge import Gauge


@dataclass(frozen=True)
class ImageUrlFrequency(Bounded):
    """Keeps pictures whose URL occurs at most `max` times, included."""

    max: int = 10

    reads: ClassVar[tuple[str, ...]] = ("image_url_count",)
    reasons: ClassVar[Mapping[str, str]] = {"image_url_too_frequent": "the picture's URL occurs too often"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max, least=1)

    @property
    def gauge(self) -> Gauge:
        return Gauge("image_url_count", self.reads, max=self.max, too_high="image_url_too_frequent")
