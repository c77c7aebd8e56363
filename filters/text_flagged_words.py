"""Drops texts with too many words of a list that you give: slurs, pornography, what nobody should train on.

No list comes with this project, for what belongs on one is for those to say who use the data. OBELICS keeps paragraphs
and documents of at most 0.01 of its 67 words, OmniCorpus documents of at most 0.02; C4 drops a page for one word.
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
class MeasureFlaggedWords(ListedWords):
    """Share of words that are on the list, 0 to 1, 0 for a text without words; null for no text."""

    name: ClassVar[str] = "text_flagged_words"
    writes: ClassVar[Mapping[str, pa.DataType]] = {"text_flagged_words_ratio": pa.float64()}


@dataclass(frozen=True)
class TextFlaggedWords(Bounded):
    """Keeps texts whose share of words in `file` is at most `max`, included. What has no text is kept."""

    file: str = field(metadata={"runtime": True})
    max: float = 0.01

    reads: ClassVar[tuple[str, ...]] = ("text_flagged_words_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {"too_many_flagged_words": "the text has too many words of the given list"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max, most=1)
        self.scorer()

    def scorer(self) -> Scorer:
        return MeasureFlaggedWords(Path(self.file))

    @property
    def gauge(self) -> Gauge:
        return Gauge("text_flagged_words_ratio", self.reads, max=self.max, too_high="too_many_flagged_words")
