"""Keeps the web's caption where it is good, and a synthetic one where that is as good: the rule of Nguyen et al.

The web's caption stays where its cosine with the picture is among the best 30 % of the pool; for the other pictures a
synthetic caption is taken if *its* cosine reaches the same threshold, and pictures with neither have no text. On
DataComp's medium pool this was the best of the mixes that were tried: web captions are more diverse, synthetic ones
describe the picture, and one threshold makes both answer to the same measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.rule import WEB, Choice, Rule
from curate.caption.rules._candidates import NOT_JUDGED, Candidates
from curate.caption.rules._required import check_names, require_captioner, require_judge
from curate.caption.rules._sources import Source, web, written_by
from curate.caption.threshold import Threshold, threshold_column
from curate.config import require_range
from curate.models.pair_scores import similarity
from curate.models.text_scores import captions_similarity
from curate.stage import Work

__all__ = ["RawElseSynthetic"]

FRACTION = 0.3


@dataclass(frozen=True)
class RawElseSynthetic(Rule):
    """`captioner` and `clip`: models of the config. The threshold is that of the best `fraction` of all web captions
    with a score, exact over all shards (`curate.caption.threshold`), .3 where nothing is said; or `min`, a cosine, is
    given by value. Of several synthetic captions the one with the highest cosine is taken, of equal ones the first.
    `refuse_faulty`: captions with a fault are not taken."""

    captioner: str
    clip: str
    fraction: float | None = None
    min: float | None = None
    refuse_faulty: bool = True

    source: ClassVar[str] = "Improving multimodal datasets with image captioning (Nguyen et al. 2023)"

    def __post_init__(self) -> None:
        check_names(captioner=self.captioner, clip=self.clip)
        require_range("fraction", self.fraction, 1e-9, 1)
        require_range("min", self.min, -1, 1)
        if self.fraction is not None and self.min is not None:
            raise ValueError(f"fraction = {self.fraction!r} and min = {self.min!r} are both given; keep one")

    @property
    def reads(self) -> tuple[str, ...]:
        own = tuple(column for source in self._sources for column in source.columns)
        return own if self.min is not None else (*own, threshold_column(*self._threshold))

    def require(self, models: Mapping[str, Any]) -> None:
        require_captioner(models, self.captioner)
        require_judge(models, "clip", self.clip, "clip", self.captioner)

    def steps(self, name: str) -> tuple[Work, ...]:
        return () if self.min is not None else (Threshold(*self._threshold),)

    def choose(self, columns: pa.Table) -> Choice:
        found = Candidates(columns, self._sources)
        of_web, low = found.of(WEB), found.below(0, self._bound(columns))
        found.refuse(of_web & np.isnan(found.scores(0)), NOT_JUDGED)
        found.refuse(of_web & low, "web_text_not_similar_enough")
        good = np.zeros(found.rows, bool)
        good[found.row[found.left & of_web]] = True
        found.refuse(good[found.row] & ~of_web, "web_text_is_good_enough")
        found.refuse_unjudged(0)
        found.refuse(low, "synthetic_text_not_similar_enough")
        found.refuse_repeated()
        found.keep_best(0, 1)
        return found.choice(found.in_order(), found.scores(0))

    def _bound(self, columns: pa.Table) -> float:
        """The threshold; above everything where no row has a score."""
        if self.min is not None:
            return self.min
        known = pc.max(columns[threshold_column(*self._threshold)]).as_py()
        return float("inf") if known is None else float(known)

    @property
    def _threshold(self) -> tuple[str, float]:
        return similarity(self.clip), FRACTION if self.fraction is None else self.fraction

    @property
    def _sources(self) -> tuple[Source, Source]:
        score = captions_similarity(self.clip, self.captioner)
        return web(similarity(self.clip)), written_by(self.captioner, score, refuse_faulty=self.refuse_faulty)
