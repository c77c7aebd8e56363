"""Drops documents with too few or too many pictures: none left to learn from, or a gallery.

OBELICS and MINT-1T keep documents of 1 to 30. Slots count that no filter has dropped so far; the count is taken anew,
and judged anew, in each round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Filter, Verdict, between, check_bounds


@dataclass(frozen=True)
class ImageCount(Filter):
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

    def judge(self, columns: pa.Table) -> Verdict:
        return between(columns["image_count"], self.min, self.max, "too_few_images", "too_many_images")
