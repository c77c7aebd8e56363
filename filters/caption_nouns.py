"""Drops captions that name no thing: "before baking", "after", "2".

COYO-700M keeps captions with at least one noun. A name counts as one, and so does what no list of words knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from curate.filter import Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.grammar.score import RULES, CountGrammar


@dataclass(frozen=True)
class CaptionNouns(Bounded):
    """Keeps captions with at least `min` nouns or names, included. No caption has none.

    `parser` is "rules", for English, or "spacy:" and the name or folder of a model, for its language.
    """

    min: int = 1
    parser: str = field(default=RULES, metadata={"runtime": True})

    reads: ClassVar[tuple[str, ...]] = ("caption_nouns",)
    reasons: ClassVar[Mapping[str, str]] = {"too_few_nouns": "the caption names too few things, or there is none"}
    unknown: ClassVar[str | None] = "too_few_nouns"

    def __post_init__(self) -> None:
        check_bounds(self.min, None)
        self.scorer()

    def scorer(self) -> Scorer:
        return CountGrammar(self.parser)

    @property
    def gauge(self) -> Gauge:
        return Gauge("caption_nouns", self.reads, min=self.min, too_low="too_few_nouns")
