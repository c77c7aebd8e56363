"""Drops image slots that the page shows small: icons, avatars, tracking pixels; known before anything is downloaded.

OBELICS keeps slots whose width and height are 150 to 20,000 px where the page gives them. Few pages do: with CSS or
lazy loading the sizes are not in the markup, and what is unknown is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Verdict, above, below, check_bounds, verdict
from curate.gauge import Gauge


@dataclass(frozen=True)
class SlotRenderedSize(Filter):
    """Keeps slots whose known sides are `min_px` to `max_px` CSS pixels, both included."""

    min_px: int | None = 150
    max_px: int | None = 20_000

    reads: ClassVar[tuple[str, ...]] = ("rendered_width_px", "rendered_height_px")
    reasons: ClassVar[Mapping[str, str]] = {
        "shown_too_small": "the page shows the picture too small",
        "shown_too_large": "the page shows the picture too large",
    }

    def __post_init__(self) -> None:
        check_bounds(self.min_px, self.max_px, name="{}_px")

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        return (
            Gauge(
                "shorter_side_shown_px", self.reads, self.min_px, None, "shown_too_small", "", "least_known", "min_px"
            ),
            Gauge(
                "longer_side_shown_px", self.reads, None, self.max_px, "", "shown_too_large", "most_known", "", "max_px"
            ),
        )

    def judge(self, columns: pa.Table) -> Verdict:
        sides = [columns[name] for name in self.reads]
        return verdict(
            len(columns),
            ("shown_too_small", below(pc.min_element_wise(*sides), self.min_px)),
            ("shown_too_large", above(pc.max_element_wise(*sides), self.max_px)),
        )
