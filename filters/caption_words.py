"""Drops captions with too few or too many words, counted by either of DataComp's two rules.

`rule = "whitespace"` is its basic filter (`len(text.split())`, at least 3), `rule = "fasttext"` its caption filter
(`len(fasttext.tokenize(text))`, at least 2). Both counts are stored, so changing the rule scores nothing anew.
COYO-700M keeps 3 to 256 words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Batch, Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.text import WordRule, count_words

COLUMNS: Mapping[WordRule, str] = {"whitespace": "caption_words", "fasttext": "caption_words_fasttext"}


@dataclass(frozen=True)
class CountCaptionWords(Scorer):
    """Words per caption by each rule; null where there is no caption."""

    name: ClassVar[str] = "caption_words"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[Mapping[str, pa.DataType]] = dict.fromkeys(COLUMNS.values(), pa.int32())

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        captions = batch.columns["caption"].to_pylist()
        return {
            column: pa.array([None if c is None else count_words(c, rule) for c in captions], pa.int32())
            for rule, column in COLUMNS.items()
        }


@dataclass(frozen=True)
class CaptionWords(Bounded):
    """Keeps `min` to `max` words, both included. No caption is zero words."""

    min: int | None = 3
    max: int | None = None
    rule: WordRule = "whitespace"

    reads: ClassVar[tuple[str, ...]] = tuple(COLUMNS.values())
    reasons: ClassVar[Mapping[str, str]] = {
        "too_few_words": "the caption has too few words, or there is none",
        "too_many_words": "the caption has too many words",
    }
    unknown: ClassVar[str | None] = "too_few_words"

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max)

    def scorer(self) -> Scorer:
        return CountCaptionWords()

    @property
    def gauge(self) -> Gauge:
        return Gauge(
            COLUMNS[self.rule],
            (COLUMNS[self.rule],),
            min=self.min,
            max=self.max,
            too_low="too_few_words",
            too_high="too_many_words",
        )
