"""Drops captions that say the same thing over and over: keyword spam, a title said twice.

Shares of repeated n-grams as in OBELICS (which has them from ROOTS) and Gopher. They take 10 characters and 5 words
in documents and keep at most 0.1. A caption of 10 words has no room for that, so words go by pairs and the bound is
0.6: 0.3 % of 10,000 real alt texts are above it, and read as a phrase said twice or more. A sentence of two alike
halves ("a yellow star on the left and a yellow star on the right") stays below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Batch, Filter, Scorer, Verdict, above, check_bounds, verdict
from curate.gauge import Gauge
from curate.text import repeated_ratio

CHARACTERS = 10
WORDS = 2


@dataclass(frozen=True)
class MeasureRepetition(Scorer):
    """Shares of repeated 10-character and 2-word sequences, in lower case and single spaces; null without caption."""

    name: ClassVar[str] = "caption_repetition"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {
        "repeated_characters_ratio": pa.float32(),
        "repeated_words_ratio": pa.float32(),
    }

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        texts = [None if c is None else tuple(c.lower().split()) for c in batch.columns["caption"].to_pylist()]
        characters = [None if t is None else repeated_ratio(" ".join(t), CHARACTERS) for t in texts]
        words = [None if t is None else repeated_ratio(t, WORDS) for t in texts]
        return dict(zip(self.writes, (pa.array(r, pa.float32()) for r in (characters, words)), strict=True))


@dataclass(frozen=True)
class CaptionRepetition(Filter):
    """Keeps captions whose shares of repeated sequences are at most these, both included. No caption is kept."""

    max_characters_ratio: float | None = 0.6
    max_words_ratio: float | None = 0.6

    reads: ClassVar[tuple[str, ...]] = tuple(MeasureRepetition.writes)
    reasons: ClassVar[Mapping[str, str]] = {
        "repeated_words": "the caption repeats the same words",
        "repeated_characters": "the caption repeats the same run of characters",
    }

    def __post_init__(self) -> None:
        check_bounds(None, self.max_characters_ratio, most=1, name="{}_characters_ratio")
        check_bounds(None, self.max_words_ratio, most=1, name="{}_words_ratio")

    def scorer(self) -> Scorer:
        return MeasureRepetition()

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        bounds = {"words": self.max_words_ratio, "characters": self.max_characters_ratio}
        return tuple(
            Gauge(
                f"repeated_{of}_ratio",
                (f"repeated_{of}_ratio",),
                max=bound,
                too_high=f"repeated_{of}",
                max_setting=f"max_{of}_ratio",
            )
            for of, bound in bounds.items()
        )

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(
            len(columns),
            ("repeated_words", above(columns["repeated_words_ratio"], self.max_words_ratio)),
            ("repeated_characters", above(columns["repeated_characters_ratio"], self.max_characters_ratio)),
        )
