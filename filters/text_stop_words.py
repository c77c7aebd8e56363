"""Drops texts of too few function words: lists of names, of ingredients, of links, and other languages.

OBELICS keeps paragraphs with at least 0.3 and documents with at least 0.35 of its 301 English stop words, so "Photo by
John Smith" (0.25) goes, and with it credits, captions and headings: 23 % of 2,200 blocks of real articles, 16 % still
at a bound of 0.1. A document is what to ask this of; Gopher asks for two of eight words in one.

The list here, `text_stop_words.txt`, has our own. `file` is another one, for another language or for OBELICS'.
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

WORDS = Path(__file__).with_suffix(".txt")


@dataclass(frozen=True)
class MeasureStopWords(ListedWords):
    """Share of words that are on the list, 0 to 1, 0 for a text without words; null for no text."""

    name: ClassVar[str] = "text_stop_words"
    writes: ClassVar[Mapping[str, pa.DataType]] = {"text_stop_words_ratio": pa.float64()}


@dataclass(frozen=True)
class TextStopWords(Bounded):
    """Keeps texts whose share of stop words is at least `min`, included. What has no text is kept."""

    min: float = 0.2
    file: str = field(default="", metadata={"runtime": True})

    reads: ClassVar[tuple[str, ...]] = ("text_stop_words_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {"too_few_stop_words": "the text has too few function words to be sentences"}

    def __post_init__(self) -> None:
        check_bounds(self.min, None, most=1)
        self.scorer()

    def scorer(self) -> Scorer:
        return MeasureStopWords(Path(self.file) if self.file else WORDS)

    @property
    def gauge(self) -> Gauge:
        return Gauge("text_stop_words_ratio", self.reads, min=self.min, too_low="too_few_stop_words")
