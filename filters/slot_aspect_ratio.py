"""Drops image slots that the page shows much longer than wide, or wider than long: banners, rules, skyscrapers.

As `aspect_ratio` judges pictures that arrived; OBELICS and MMC4 keep at most 2 of those, M3W 3. A slot is known before
anything is downloaded, but a page may squeeze what it shows, so the bound is wider here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.filter import Bounded, check_bounds
from curate.gauge import Gauge


@dataclass(frozen=True)
class SlotAspectRatio(Bounded):
    """Keeps slots whose longer side is at most `max` times the shorter, included. One without both sides is kept."""

    max: float = 4.0

    reads: ClassVar[tuple[str, ...]] = ("rendered_width_px", "rendered_height_px")
    reasons: ClassVar[Mapping[str, str]] = {"shown_too_elongated": "the page shows the picture too long for its width"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max, least=1)

    @property
    def gauge(self) -> Gauge:
        return Gauge("elongation", self.reads, max=self.max, too_high="shown_too_elongated", measure="elongation")
