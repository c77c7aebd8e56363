"""Drops pairs whose picture and caption do not fit, by the cosine of their CLIP embeddings (CLIPScore).

The model is a table of its own, `[models.NAME]`; `model` says which. Thresholds are of a model: LAION-400M keeps .3 and
LAION-2B .28 of ViT-B/32; of DataComp's pool the best 30 % begin at .281 (B/32) and .243 (L/14). By `fraction` with
`ties = "datacomp"` the choice is DataComp's, row for row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.cut import Cut
from curate.filter import Scorer
from curate.models.pair_scores import similarity
from curate.models.settings import check_model_name, require_model


@dataclass(frozen=True)
class ClipSimilarity(Cut):
    """Bounds as `curate.cut.Cut` has them, on a cosine of -1 to 1."""

    model: str = "clip"

    reads: ClassVar[tuple[str, ...]] = ("clip_similarity",)
    too_low: ClassVar[str] = "similarity_too_low"
    too_high: ClassVar[str] = "similarity_too_high"
    not_best: ClassVar[str] = "similarity_not_among_best"
    unknown: ClassVar[str] = "similarity_unknown"
    reasons: ClassVar[Mapping[str, str]] = {
        "similarity_unknown": "picture and caption could not be compared",
        "similarity_too_low": "picture and caption do not fit",
        "similarity_too_high": "picture and caption fit too well, as a picture of its caption does",
        "similarity_not_among_best": "other pairs of picture and caption fit better",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model_name(self.model)

    @property
    def score(self) -> str:
        return similarity(self.model)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        require_model(models, self.model)
        return ()
