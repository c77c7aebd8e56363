"""Keeps the best synthetic caption by two scorers, the second of which sees only what the first takes for good.

LAION-COCO draws forty captions a picture with BLIP, keeps the distinct ones, of these the five with the highest cosine
by CLIP ViT-L/14, and of these the best one by CLIP RN50x64; the web's caption is not among them. The larger model then
reads an eighth of the texts. Its last step, in which a language model mends the grammar, is not part of the rule.
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
from curate.models.text_scores import captions_similarity

__all__ = ["CascadeRank"]


@dataclass(frozen=True)
class CascadeRank(Rule):
    """`captioner`, `first` and `second`: models of the config, the last two of kind `clip`; `keep_first`: how many
    captions the first leaves; `keep`: how many of these the second does. A caption that the second has no score for is
    not kept. Of equal scores the earlier caption comes first. `refuse_faulty`: captions with a fault are not ranked."""

    captioner: str
    first: str
    second: str
    keep_first: int = 5
    keep: int = 1
    refuse_faulty: bool = True

    source: ClassVar[str] = "LAION-COCO (Schuhmann et al. 2022)"

    def __post_init__(self) -> None:
        check_names(captioner=self.captioner, first=self.first, second=self.second)
        require_range("keep_first", self.keep_first, 1, 1_000)
        require_range("keep", self.keep, 1, self.keep_first)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(column for source in self._sources for column in source.columns))

    def require(self, models: Mapping[str, Any]) -> None:
        require_captioner(models, self.captioner)
        for key, judge in (("first", self.first), ("second", self.second)):
            require_judge(models, key, judge, "clip", self.captioner)

    def choose(self, columns: pa.Table) -> Choice:
        found = Candidates(columns, self._sources)
        found.refuse(found.of(WEB), NOT_WANTED)
        found.refuse_unjudged(0)
        found.refuse_repeated()
        found.keep_best(0, self.keep_first)
        found.keep_best(1, self.keep)
        return found.choice(found.ranked(found.scores(1)), found.scores(1))

    @property
    def _sources(self) -> tuple[Source, Source]:
        scores = [captions_similarity(judge, self.captioner) for judge in (self.first, self.second)]
        return web("", ""), written_by(self.captioner, *scores, refuse_faulty=self.refuse_faulty)
