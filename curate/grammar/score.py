"""What the filters that ask what a caption says have in common: verbs, nouns and relations come of one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.filter import Batch, Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.grammar.rules import tally_by_rules
from curate.grammar.spacy_parser import model_name, tally_by_spacy
from curate.grammar.tally import Tally

__all__ = ["RULES", "CountGrammar", "LeastGrammar"]

RULES = "rules"
SPACY = "spacy:"


@dataclass(frozen=True)
class CountGrammar(Scorer):
    """Nouns, verbs and relations per caption, as `Tally` has them; null where there is no caption.

    `parser` is "rules", or "spacy:" and the name or folder of a model. Raises ValueError for anything else.
    """

    parser: str = RULES

    name: ClassVar[str] = "caption_action"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {
        "caption_nouns": pa.int32(),
        "caption_verbs": pa.int32(),
        "caption_relations": pa.int32(),
    }

    def __post_init__(self) -> None:
        if self.parser != RULES and not (self.parser.startswith(SPACY) and self.model):
            raise ValueError(f"parser = {self.parser!r} is neither {RULES!r} nor 'spacy:' and a model")

    @property
    def model(self) -> str:
        """Name or folder of spaCy's model; empty for the rules."""
        return self.parser.removeprefix(SPACY) if self.parser != RULES else ""

    def require(self) -> None:
        if self.model:
            model_name(self.model)

    def identity(self) -> Any:
        parser = model_name(self.model) if self.model else RULES
        return {"scorer": self.name, "version": self.version, "parser": parser}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        captions = batch.columns["caption"].to_pylist()
        there = [caption for caption in captions if caption is not None]
        found = tally_by_spacy(self.model, there) if self.model else tally_by_rules(there)
        return _columns(found, np.array([caption is not None for caption in captions], bool))


def _columns(found: Tally, there: Any) -> Mapping[str, pa.Array]:
    """Counts put where the captions are, null elsewhere."""
    columns = {}
    for name, counts in zip(CountGrammar.writes, (found.nouns, found.verbs, found.relations), strict=True):
        whole = np.zeros(len(there), np.int32)
        whole[there] = counts
        columns[name] = pa.array(whole, pa.int32(), mask=~there)
    return columns


@dataclass(frozen=True)
class LeastGrammar(Bounded):
    """Keeps captions with at least `min` of what is counted, included. No caption has none.

    `parser` is "rules", for English, or "spacy:" and the name or folder of a model, for its language.
    """

    min: int = 1
    parser: str = field(default=RULES, metadata={"runtime": True})

    unknown: ClassVar[str]
    """Its only reason; what is counted is the only column of `reads`."""

    def __post_init__(self) -> None:
        check_bounds(self.min, None)
        self.scorer()

    def scorer(self) -> Scorer:
        return CountGrammar(self.parser)

    @property
    def gauge(self) -> Gauge:
        return Gauge(self.reads[0], self.reads, min=self.min, too_low=self.unknown)
