"""Drops pictures that were too small or too large as the server sent them, before any resize.

DataComp and COYO-700M keep a shortest side of at least 200 px (DataComp's paper says "above 200", its code includes
200); OBELICS sides of 150 to 20,000 px; LAION-400M and COYO-700M files of at least 5 kB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Verdict, above, below, check_bounds, verdict
from curate.gauge import Gauge

SIDES = ("original_width", "original_height")


@dataclass(frozen=True)
class ImageSize(Filter):
    """Keeps pictures whose shorter side, longer side and file size are inside bounds, all included.

    A picture that was never read has no size and is kept: fetch_status answers for it.
    """

    min_side_px: int | None = 200
    max_side_px: int | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None

    reads: ClassVar[tuple[str, ...]] = (*SIDES, "original_bytes")
    reasons: ClassVar[Mapping[str, str]] = {
        "side_too_short": "the picture's shorter side is too short",
        "side_too_long": "the picture's longer side is too long",
        "file_too_small": "the picture's file has too few bytes",
        "file_too_large": "the picture's file has too many bytes",
    }

    def __post_init__(self) -> None:
        check_bounds(self.min_side_px, self.max_side_px, name="{}_side_px")
        check_bounds(self.min_bytes, self.max_bytes, name="{}_bytes")

    @property
    def columns(self) -> tuple[str, ...]:
        return SIDES if self.min_bytes is None and self.max_bytes is None else self.reads

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        bounds = (
            Gauge("shorter_side_px", SIDES, self.min_side_px, None, "side_too_short", "", "least", "min_side_px"),
            Gauge("longer_side_px", SIDES, None, self.max_side_px, "", "side_too_long", "most", "", "max_side_px"),
            Gauge(
                "original_bytes",
                ("original_bytes",),
                self.min_bytes,
                self.max_bytes,
                "file_too_small",
                "file_too_large",
                "value",
                "min_bytes",
                "max_bytes",
            ),
        )
        return tuple(gauge for gauge in bounds if gauge.min is not None or gauge.max is not None)

    def judge(self, columns: pa.Table) -> Verdict:
        width, height = (columns[name] for name in SIDES)
        rules = [
            ("side_too_short", below(pc.min_element_wise(width, height, skip_nulls=False), self.min_side_px)),
            ("side_too_long", above(pc.max_element_wise(width, height, skip_nulls=False), self.max_side_px)),
        ]
        if "original_bytes" in self.columns:
            size = columns["original_bytes"]
            rules += [("file_too_small", below(size, self.min_bytes)), ("file_too_large", above(size, self.max_bytes))]
        return verdict(len(columns), *rules)
