"""Drops pairs whose caption does not describe the picture, by a matcher that looks at both together.

A dual encoder is nearly blind to one wrong word, because it compares two summaries; a matcher is not (BLIP's ITM head,
Li et al. 2022; CapFilt keeps a text from .5 on). The model is a table `[models.NAME]` with `kind = "matcher"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.cut import Cut
from curate.filter import Scorer
from curate.models.match_scores import match_probability
from curate.models.settings import check_model_name, require_model


@dataclass(frozen=True)
class MatchProbability(Cut):
    """Bounds as `curate.cut.Cut` has them, on a probability of 0 to 1."""

    model: str = "matcher"

    reads: ClassVar[tuple[str, ...]] = ("matcher_probability",)
    too_low: ClassVar[str] = "caption_does_not_match"
    too_high: ClassVar[str] = "match_too_sure"
    not_best: ClassVar[str] = "match_not_among_best"
    unknown: ClassVar[str] = "match_unknown"
    reasons: ClassVar[Mapping[str, str]] = {
        "match_unknown": "picture and caption could not be matched",
        "caption_does_not_match": "the caption does not describe the picture",
        "match_too_sure": "the matcher is too sure of the pair",
        "match_not_among_best": "other pairs match better",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model_name(self.model)

    @property
    def score(self) -> str:
        return match_probability(self.model)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        require_model(models, self.model, "matcher")
        return ()
