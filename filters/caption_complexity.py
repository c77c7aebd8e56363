"""Drops captions that relate nothing to anything: a name, a list of keywords.

CAT (Radenovic et al. 2023) keeps captions whose parse has at least one relation, and data-juicer those in which a thing
depends on another word. A relation is here "dog on a mat" or "dog chases cat"; "red dog" is none, nor is "the dog
sleeps". How right the count is stands in `curate.grammar`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from curate.filter import Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.grammar.score import RULES, CountGrammar


@dataclass(frozen=True)
class CaptionComplexity(Bounded):
    """Keeps captions with at least `min` relations, included. No caption has none.

    `parser` is "rules", for English, or "spacy:" and the name or folder of a model, for its language.
    """

    min: int = 1
    parser: str = field(default=RULES, metadata={"runtime": True})

    reads: ClassVar[tuple[str, ...]] = ("caption_relations",)
    reasons: ClassVar[Mapping[str, str]] = {"too_few_relations": "the caption relates too few things, or there is none"}
    unknown: ClassVar[str | None] = "too_few_relations"

    def __post_init__(self) -> None:
        check_bounds(self.min, None)
        self.scorer()

    def scorer(self) -> Scorer:
        return CountGrammar(self.parser)

    @property
    def gauge(self) -> Gauge:
        return Gauge("caption_relations", self.reads, min=self.min, too_low="too_few_relations")
