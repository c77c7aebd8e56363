"""Drops texts of too many words of buttons, notices and invitations to share: subscribe, cookies, click.

The last step of OBELICS: paragraphs are kept below 0.12 of its 40 words (without 0.12 itself: write 0.11999 for that).
The list here, `text_spam_words.txt`, has our own; OBELICS' takes in `like`, `might` and `interested`, which are every
author's words too. `file` is another one.
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
class MeasureSpamWords(ListedWords):
    """Share of words that are on the list, 0 to 1, 0 for a text without words; null for no text."""

    name: ClassVar[str] = "text_spam_words"
    writes: ClassVar[Mapping[str, pa.DataType]] = {"text_spam_words_ratio": pa.float64()}


@dataclass(frozen=True)
class TextSpamWords(Bounded):
    """Keeps texts whose share of spam words is at most `max`, included. What has no text is kept."""

    max: float = 0.12
    file: str = field(default="", metadata={"runtime": True})

    reads: ClassVar[tuple[str, ...]] = ("text_spam_words_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {
        "too_many_spam_words": "the text is of buttons, notices and invitations to share"
    }

    def __post_init__(self) -> None:
        check_bounds(None, self.max, most=1)
        self.scorer()

    def scorer(self) -> Scorer:
        return MeasureSpamWords(Path(self.file) if self.file else WORDS)

    @property
    def gauge(self) -> Gauge:
        return Gauge("text_spam_words_ratio", self.reads, max=self.max, too_high="too_many_spam_words")
