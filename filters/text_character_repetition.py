"""Drops texts that repeat the same runs of characters: separators, tables of dots, keyword spam.

The measure of ROOTS and OBELICS (Laurençon et al. 2022, 2023), exactly: of the distinct 10-character sequences, the
most frequent ones, as many as the square root of their number but none that occurs once, over all. OBELICS keeps at
most 0.1, of paragraphs and of documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Batch, Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.text import common_ngram_ratio

CHARACTERS = 10


@dataclass(frozen=True)
class MeasureCharacterRepetition(Scorer):
    """Share of the most frequent 10-character sequences, 0 to 1; null for no text."""

    name: ClassVar[str] = "text_character_repetition"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"text_repeated_characters_ratio": pa.float64()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        return {"text_repeated_characters_ratio": common_ngram_ratio(batch.columns["text"], CHARACTERS)}


@dataclass(frozen=True)
class TextCharacterRepetition(Bounded):
    """Keeps texts whose share of frequent 10-character sequences is at most `max`, included; and what has no text."""

    max: float = 0.1

    reads: ClassVar[tuple[str, ...]] = ("text_repeated_characters_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {"text_repeats_characters": "the text repeats the same runs of characters"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max, most=1)

    def scorer(self) -> Scorer:
        return MeasureCharacterRepetition()

    @property
    def gauge(self) -> Gauge:
        return Gauge("text_repeated_characters_ratio", self.reads, max=self.max, too_high="text_repeats_characters")
