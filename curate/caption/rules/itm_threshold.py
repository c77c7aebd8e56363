"""Keeps each text that a matcher takes for a description of the picture: the rule of BLIP's CapFilt.

The web's caption and the synthetic ones are judged apart, so that a picture keeps all of them, some or none; every text
that is kept is a row of training of its own. BLIP asks for a probability of .5 or more by its image-text matching head,
one caption a picture drawn by nucleus sampling (.9), and a matcher whose weights are not those of the captioner: with
shared ones it rejected 8 % of the captions where it should have been 25 %, and the model trained on them was worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from curate.caption.rule import WEB, Choice, Rule
from curate.caption.rules._candidates import Candidates
from curate.caption.rules._required import check_names, require_captioner, require_judge
from curate.caption.rules._sources import Source, web, written_by
from curate.config import require_range
from curate.models.match_scores import captions_probability, match_probability

__all__ = ["ItmThreshold"]


@dataclass(frozen=True)
class ItmThreshold(Rule):
    """`captioner` and `matcher`: models of the config; `min`: the least probability, 0 to 1, included;
    `refuse_faulty`: captions with a fault are not kept whatever the matcher says."""

    captioner: str
    matcher: str
    min: float = 0.5
    refuse_faulty: bool = True

    source: ClassVar[str] = "CapFilt of BLIP (Li et al. 2022)"

    def __post_init__(self) -> None:
        check_names(captioner=self.captioner, matcher=self.matcher)
        require_range("min", self.min, 0, 1)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(column for source in self._sources for column in source.columns)

    def require(self, models: Mapping[str, Any]) -> None:
        require_captioner(models, self.captioner)
        require_judge(models, "matcher", self.matcher, "matcher", self.captioner)

    def choose(self, columns: pa.Table) -> Choice:
        found = Candidates(columns, self._sources)
        found.refuse_unjudged(0)
        low, of_web = found.below(0, self.min), found.of(WEB)
        found.refuse(low & of_web, "web_text_does_not_match")
        found.refuse(low & ~of_web, "synthetic_text_does_not_match")
        found.refuse_repeated()
        return found.choice(found.in_order(), found.scores(0))

    @property
    def _sources(self) -> tuple[Source, Source]:
        score = captions_probability(self.matcher, self.captioner)
        return (
            web(match_probability(self.matcher)),
            written_by(self.captioner, score, refuse_faulty=self.refuse_faulty),
        )
