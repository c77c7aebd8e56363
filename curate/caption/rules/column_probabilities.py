"""Keeps every text, each with a probability to be drawn in training: the rule of VeCLIP, LaCLIP and Recap-DataComp.

They keep the web's caption beside one or more rewritten ones and draw anew at each step: LaCLIP one of five with equal
probability, VeCLIP one of two, Recap-DataComp in a proportion; open_clip does it by `--json-text-key-probs`. Nothing is
judged. A text that is missing gives its probability to the others of its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.caption.rule import WEB, Choice, Rule
from curate.caption.rules._candidates import Candidates
from curate.caption.rules._required import check_names, require_captioner
from curate.caption.rules._sources import CAPTION, Source, web, written_by
from curate.config import require_range

__all__ = ["ColumnProbabilities"]


@dataclass(frozen=True)
class ColumnProbabilities(Rule):
    """`probabilities`: of `caption`, the web's, and of captioners by name; a captioner's is shared among the captions
    that a row has of it. `columns`: of other columns of text, or of lists of texts, by name. They are divided by their
    sum, so that 1 and 4 say .2 and .8. `refuse_faulty`: captions with a fault are not kept. Texts are in the order of
    their probability; what is there twice has both."""

    probabilities: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, float] = field(default_factory=dict)
    refuse_faulty: bool = True

    source: ClassVar[str] = "VeCLIP (Lai et al. 2023), LaCLIP (Fan et al. 2023), Recap-DataComp (Li et al. 2024)"

    def __post_init__(self) -> None:
        for name, value in {**self.probabilities, **self.columns}.items():
            require_range(f"the probability of {name!r}", value, 1e-9, 1e9)
        check_names(**{name: name for name in self._captioners})
        if not (self.probabilities or self.columns):
            raise ValueError("draws from nothing; write probabilities = {caption = 0.2, NAME_OF_A_CAPTIONER = 0.8}")
        if CAPTION in self.columns:
            raise ValueError(f"columns has {CAPTION!r}, which is the web's caption; put it into probabilities")
        for name in self.columns:
            if name == WEB or name in self.probabilities:
                raise ValueError(f"columns has {name!r}, which is what other texts come from; rename the column")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(column for source, _ in self._sources for column in source.columns))

    def require(self, models: Mapping[str, Any]) -> None:
        for captioner in self._captioners:
            require_captioner(models, captioner)

    def choose(self, columns: pa.Table) -> Choice:
        found = Candidates(columns, [source for source, _ in self._sources])
        weights = np.zeros(len(found.row))
        for source, probability in self._sources:
            own = found.left & found.of(source.origin)
            texts = np.bincount(found.row[own], minlength=found.rows)
            weights[own] = probability / texts[found.row[own]]
        first = found.refuse_repeated()
        both = np.bincount(first, weights, minlength=len(weights))
        return found.choice(found.ranked(both), weights=both)

    @property
    def _captioners(self) -> list[str]:
        return sorted(name for name in self.probabilities if name != CAPTION)

    @property
    def _sources(self) -> list[tuple[Source, float]]:
        """In an order that is not that of the config's keys, which no fingerprint covers."""
        faulty = self.refuse_faulty
        sources = [(web(), self.probabilities[CAPTION])] if CAPTION in self.probabilities else []
        sources += [(written_by(name, refuse_faulty=faulty), self.probabilities[name]) for name in self._captioners]
        return sources + [(Source(name, name), value) for name, value in sorted(self.columns.items())]
