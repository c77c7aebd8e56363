"""Drops banners and skyscrapers: pictures much longer than wide, or wider than long.

DataComp and COYO-700M keep a ratio of at most 3, OBELICS of at most 2. The ratio is longer over shorter side of the
picture as sent, divided in double precision, so that 600x200 is exactly 3 and kept, as in DataComp's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.filter import Bounded, check_bounds
from curate.gauge import Gauge


@dataclass(frozen=True)
class AspectRatio(Bounded):
    """Keeps pictures whose longer side is at most `max` times the shorter, included. One of no size is kept."""

    max: float = 3.0

    reads: ClassVar[tuple[str, ...]] = ("original_width", "original_height")
    reasons: ClassVar[Mapping[str, str]] = {"too_elongated": "the picture is too long for its width"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max, least=1)

    @property
    def gauge(self) -> Gauge:
        return Gauge("elongation", self.reads, max=self.max, too_high="too_elongated", measure="elongation")
