"""Drops documents with too few blocks of text: what paragraph filters and paragraph dedup have left nothing of.

OBELICS drops a document that has lost all of its text or all of its pictures on the way (steps 05 and 10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Filter, Verdict, below, check_bounds, verdict


@dataclass(frozen=True)
class TextCount(Filter):
    """Keeps documents with at least `min` blocks of text, counted after the filters on blocks."""

    min: int = 1

    reads: ClassVar[tuple[str, ...]] = ("text_count",)
    reasons: ClassVar[Mapping[str, str]] = {"too_little_text": "the document has too few blocks of text left"}

    def __post_init__(self) -> None:
        check_bounds(self.min, None, name="{}")

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(len(columns), ("too_little_text", below(columns["text_count"], self.min)))
