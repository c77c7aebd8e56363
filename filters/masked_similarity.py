"""Drops pairs that fit only because the caption is written in the picture (T-MARS, Maini et al. 2023).

The text in the picture is painted over, and what is left is compared with the caption again. T-MARS keeps the better
half of the pairs that LAION's rule on similarity has kept before: `fraction = 0.5`, `among = "earlier"`,
`of = "left"`, as in `configs/tmars.toml`; on DataComp's medium pool that is .281 by ViT-B/32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.cut import Cut
from curate.filter import Scorer
from curate.models.masked_scores import ScoreMasked, masked_similarity
from curate.models.settings import check_model_name, require_model
from curate.models.text_boxes import CLASSICAL, check_detector


@dataclass(frozen=True)
class MaskedSimilarity(Cut):
    """Bounds as `curate.cut.Cut` has them, on a cosine of -1 to 1. `detector`: what finds text, as in
    `curate.models.text_boxes.open_detector`."""

    model: str = "clip"
    detector: str = CLASSICAL

    reads: ClassVar[tuple[str, ...]] = ("clip_masked_similarity",)
    too_low: ClassVar[str] = "masked_similarity_too_low"
    too_high: ClassVar[str] = "masked_similarity_too_high"
    not_best: ClassVar[str] = "masked_similarity_not_among_best"
    unknown: ClassVar[str] = "masked_similarity_unknown"
    reasons: ClassVar[Mapping[str, str]] = {
        "masked_similarity_unknown": "the picture without its text could not be compared with the caption",
        "masked_similarity_too_low": "without its text the picture does not fit the caption",
        "masked_similarity_too_high": "without its text the picture fits the caption too well",
        "masked_similarity_not_among_best": "other pictures without their text fit their captions better",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model_name(self.model)
        check_detector(self.detector)

    @property
    def score(self) -> str:
        return masked_similarity(self.model)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        return (ScoreMasked(self.model, require_model(models, self.model, "clip"), self.detector),)
