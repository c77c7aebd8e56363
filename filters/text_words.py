"""Drops texts with too few or too many words: captions left alone, menus, whole books.

OBELICS keeps paragraphs of 4 to 1,000 words and documents of 10 to 2,000, OmniCorpus documents of 50 to 100,000. Of 37
real articles a third is longer than OBELICS allows, and of their headings and list items most are shorter. A word is
what has at least one letter: "42" and "--" are none (`curate.text.words_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.filter import Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.text import CountWords


@dataclass(frozen=True)
class TextWords(Bounded):
    """Keeps texts of `min` to `max` words, both included. What has no text is kept."""

    min: int | None = 4
    max: int | None = None

    reads: ClassVar[tuple[str, ...]] = ("text_words",)
    reasons: ClassVar[Mapping[str, str]] = {
        "text_too_short": "the text has too few words",
        "text_too_long": "the text has too many words",
    }

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)

    def scorer(self) -> Scorer:
        return CountWords()

    @property
    def gauge(self) -> Gauge:
        return Gauge(
            "text_words", self.reads, min=self.min, max=self.max, too_low="text_too_short", too_high="text_too_long"
        )
