"""Drops texts that repeat the same sequences of words: refrains, lists of near-equal lines, generated text.

The measure of ROOTS and OBELICS (Laurençon et al. 2022, 2023), exactly: occurrences of 5-word sequences that occur more
than once, over all. OBELICS keeps at most 0.1 of paragraphs and 0.2 of documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Batch, Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.text import repeated_ngram_ratio

WORDS = 5


@dataclass(frozen=True)
class MeasureWordRepetition(Scorer):
    """Share of 5-word sequences that occur more than once, 0 to 1; null for no text."""

    name: ClassVar[str] = "text_word_repetition"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"text_repeated_words_ratio": pa.float64()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        return {"text_repeated_words_ratio": repeated_ngram_ratio(batch.columns["text"], WORDS)}


@dataclass(frozen=True)
class TextWordRepetition(Bounded):
    """Keeps texts whose share of repeated 5-word sequences is at most `max`, included. What has no text is kept."""

    max: float = 0.2

    reads: ClassVar[tuple[str, ...]] = ("text_repeated_words_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {"text_repeats_words": "the text repeats the same sequences of words"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max, most=1)

    def scorer(self) -> Scorer:
        return MeasureWordRepetition()

    @property
    def gauge(self) -> Gauge:
        return Gauge("text_repeated_words_ratio", self.reads, max=self.max, too_high="text_repeats_words")
