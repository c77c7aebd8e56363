"""Drops texts of too few common words of a list that you give: other languages, codes, garbled characters.

OBELICS counts words over 10 million documents of OSCAR, takes those that occur twice, and keeps paragraphs with at
least 0.8 and documents with at least 0.9 of them. `file` is such a list, with counts or without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from curate.filter import Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.text import ListedWords


@dataclass(frozen=True)
class MeasureCommonWords(ListedWords):
    """Share of words that are on the list, 0 to 1, 0 for a text without words; null for no text."""

    name: ClassVar[str] = "text_common_words"
    writes: ClassVar[Mapping[str, pa.DataType]] = {"text_common_words_ratio": pa.float64()}


@dataclass(frozen=True)
class TextCommonWords(Bounded):
    """Keeps texts whose share of words in `file` is at least `min`, included. What has no text is kept.

    Of a file with counts, words are taken that occur at least `min_count` times.
    """

    file: str = field(metadata={"runtime": True})
    min: float = 0.8
    min_count: int = 2

    reads: ClassVar[tuple[str, ...]] = ("text_common_words_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {"too_few_common_words": "the text has too few common words"}

    def __post_init__(self) -> None:
        check_bounds(self.min, None, most=1)
        self.scorer()

    def scorer(self) -> Scorer:
        return MeasureCommonWords(Path(self.file), self.min_count)

    @property
    def gauge(self) -> Gauge:
        return Gauge("text_common_words_ratio", self.reads, min=self.min, too_low="too_few_common_words")
