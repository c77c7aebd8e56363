"""Ranks all of a picture's texts together and keeps the best few: the rule of BLIP-2.

BLIP-2 draws ten captions a picture with BLIP-large, ranks them with the web's caption by the cosine of CLIP ViT-L/14
and keeps two; at every step of training one of the two is drawn. There is no threshold: the best of bad texts is kept
too, so a bound on pictures (`clip_similarity`) still has its use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from curate.caption.rule import WEB, Choice, Rule
from curate.caption.rules._candidates import NOT_WANTED, Candidates
from curate.caption.rules._required import check_names, require_captioner, require_judge
from curate.caption.rules._sources import Source, web, written_by
from curate.config import require_range
from curate.models.pair_scores import similarity
from curate.models.text_scores import captions_similarity

__all__ = ["TopkRank"]


@dataclass(frozen=True)
class TopkRank(Rule):
    """`captioner` and `clip`: models of the config; `k`: how many texts a picture keeps at most; `include_web`: whether
    the web's caption is ranked with the others. Equal texts are ranked once; of equal scores the web's caption comes
    first, then captions in their order. `refuse_faulty`: captions with a fault are not ranked."""

    captioner: str
    clip: str
    k: int = 2
    include_web: bool = True
    refuse_faulty: bool = True

    source: ClassVar[str] = "BLIP-2 (Li et al. 2023)"

    def __post_init__(self) -> None:
        check_names(captioner=self.captioner, clip=self.clip)
        require_range("k", self.k, 1, 1_000)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(column for source in self._sources for column in source.columns)

    def require(self, models: Mapping[str, Any]) -> None:
        require_captioner(models, self.captioner)
        require_judge(models, "clip", self.clip, "clip", self.captioner)

    def choose(self, columns: pa.Table) -> Choice:
        found = Candidates(columns, self._sources)
        if not self.include_web:
            found.refuse(found.of(WEB), NOT_WANTED)
        found.refuse_unjudged(0)
        found.refuse_repeated()
        found.keep_best(0, self.k)
        return found.choice(found.ranked(found.scores(0)), found.scores(0))

    @property
    def _sources(self) -> tuple[Source, Source]:
        score = captions_similarity(self.clip, self.captioner)
        return web(similarity(self.clip)), written_by(self.captioner, score, refuse_faulty=self.refuse_faulty)
