"""Keeps texts by a score that a classifier gave to picture and text, whoever computed it.

SmolVLM trains a small network on the embeddings of SigLIP, of picture and text side by side, to tell good pairs from
bad ones, and uses it on LAION-COCO. Here the scores are columns by name: of a filter of ours, or brought along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.caption.rule import WEB, Choice, Rule
from curate.caption.rules._candidates import NOT_WANTED, Candidates
from curate.caption.rules._required import check_names
from curate.caption.rules._sources import Source, web, written_by
from curate.config import require_range

__all__ = ["Classifier"]


@dataclass(frozen=True)
class Classifier(Rule):
    """`captioner`: of the config; `web_score`: a column of numbers, for the web's caption; `synthetic_score`: one of
    lists of numbers, one for each of the captioner's captions. Either may be left out, and then texts of that kind are
    not kept. `min`: the least score, included. `refuse_faulty`: captions with a fault are not kept."""

    captioner: str
    web_score: str = ""
    synthetic_score: str = ""
    min: float = 0.5
    refuse_faulty: bool = True

    source: ClassVar[str] = "the filter on LAION-COCO of SmolVLM (Marafioti et al. 2025)"

    def __post_init__(self) -> None:
        check_names(captioner=self.captioner)
        require_range("min", self.min, -1e30, 1e30)
        if not (self.web_score or self.synthetic_score):
            raise ValueError("judges by nothing; give web_score, synthetic_score or both, each the name of a column")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(column for source in self._sources for column in source.columns)

    def choose(self, columns: pa.Table) -> Choice:
        found = Candidates(columns, self._sources)
        of_web = found.of(WEB)
        if not self.web_score:
            found.refuse(of_web, NOT_WANTED)
        if not self.synthetic_score:
            found.refuse(~of_web, "synthetic_text_not_wanted")
        found.refuse_unjudged(0)
        low = found.below(0, self.min)
        found.refuse(low & of_web, "web_text_scores_too_low")
        found.refuse(low & ~of_web, "synthetic_text_scores_too_low")
        found.refuse_repeated()
        return found.choice(found.in_order(), found.scores(0))

    @property
    def _sources(self) -> tuple[Source, Source]:
        own = written_by(self.captioner, self.synthetic_score, refuse_faulty=self.refuse_faulty)
        return web(self.web_score), own
