"""Drops documents with too few blocks of text: what paragraph filters and paragraph dedup have left nothing of.

OBELICS drops a document that has lost all of its text or all of its pictures on the way (steps 05 and 10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.filter import Bounded, check_bounds
from curate.gauge import Gauge


@dataclass(frozen=True)
class TextCount(Bounded):
    """Keeps documents with at least `min` blocks of text, counted after the filters on blocks."""

    min: int = 1

    reads: ClassVar[tuple[str, ...]] = ("text_count",)
    reasons: ClassVar[Mapping[str, str]] = {"too_little_text": "the document has too few blocks of text left"}

    def __post_init__(self) -> None:
        check_bounds(self.min, None, name="{}")

    @property
    def gauge(self) -> Gauge:
        return Gauge("text_count", self.reads, min=self.min, too_low="too_little_text")
