"""Drops texts whose words are too short or too long on average: lists of codes, glued words, addresses.

Gopher (Rae et al. 2021) and OmniCorpus keep a mean of 3 to 10 characters. English is near 4.7, German near 6; Chinese
and Japanese, which put no spaces between words, are far above 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.filter import Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.text import CountWords


@dataclass(frozen=True)
class TextWordLength(Bounded):
    """Keeps texts whose mean word has `min` to `max` characters, both included. What has no words is kept."""

    min: float | None = 3.0
    max: float | None = 10.0

    reads: ClassVar[tuple[str, ...]] = ("text_mean_word_chars",)
    reasons: ClassVar[Mapping[str, str]] = {
        "words_too_short": "the text's words are too short on average",
        "words_too_long": "the text's words are too long on average",
    }

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)

    def scorer(self) -> Scorer:
        return CountWords()

    @property
    def gauge(self) -> Gauge:
        return Gauge(
            "text_mean_word_chars",
            self.reads,
            min=self.min,
            max=self.max,
            too_low="words_too_short",
            too_high="words_too_long",
        )
