"""Drops documents with too few or too many pictures: none left to learn from, or a gallery.

OBELICS and MINT-1T keep documents of 1 to 30. Slots count that no filter has dropped so far; the count is taken anew,
and judged anew, in each round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.filter import Bounded, check_bounds
from curate.gauge import Gauge


@dataclass(frozen=True)
class ImageCount(Bounded):
    """Keeps documents of `min` to `max` pictures, both included."""

    min: int | None = 1
    max: int | None = 30

    reads: ClassVar[tuple[str, ...]] = ("image_count",)
    reasons: ClassVar[Mapping[str, str]] = {
        "too_few_images": "the document has too few pictures, or none is left",
        "too_many_images": "the document has too many pictures",
    }

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)

    @property
    def gauge(self) -> Gauge:
        return Gauge(
            "image_count", self.reads, min=self.min, max=self.max, too_low="too_few_images", too_high="too_many_images"
        )
