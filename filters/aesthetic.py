"""Drops pictures that people would not find beautiful, by LAION's aesthetic predictors on CLIP embeddings.

`head` is the path of one: `sa_0_4_vit_l_14_linear.pth` (or b_32, b_16) of LAION-AI/aesthetic-predictor, by which LAION
made its sets above 7 (120 million pictures) and 8, or `sac+logos+ava1-l14-linearMSE.pth` of
christophschuhmann/improved-aesthetic-predictor (ViT-L/14), of which 4.5 to 6.5 are the bounds of "aesthetics v2". The
two have other scales: on the mean embeddings of pictures that people rated 0 to 9 the first gives -2.5 to 11.3, the
second 1.7 to 5.7. The head must be of the CLIP model that `[models.NAME]` names, to its weights (OpenAI's).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curate.cut import Cut
from curate.filter import Scorer
from curate.models.head_scores import ScoreByHead
from curate.models.heads import Head, aesthetic_head
from curate.models.settings import check_model_name, require_model
from curate.models.weights import embedding_length


@dataclass(frozen=True)
class ScoreAesthetic(ScoreByHead):
    """The score of each picture with an embedding, about 1 to 10; null for the others."""

    name: ClassVar[str] = "aesthetic"
    writes: ClassVar[Mapping[str, pa.DataType]] = {"aesthetic_score": pa.float32()}

    @staticmethod
    def opened(path: Path) -> Head:
        return aesthetic_head(path)


@dataclass(frozen=True)
class Aesthetic(Cut):
    """Bounds as `curate.cut.Cut` has them. `head`: see above; `model`: the name of the CLIP model in the config."""

    head: str = ""
    model: str = "clip"

    reads: ClassVar[tuple[str, ...]] = ("aesthetic_score",)
    too_low: ClassVar[str] = "aesthetic_too_low"
    too_high: ClassVar[str] = "aesthetic_too_high"
    not_best: ClassVar[str] = "aesthetic_not_among_best"
    unknown: ClassVar[str] = "aesthetic_unknown"
    reasons: ClassVar[Mapping[str, str]] = {
        "aesthetic_unknown": "how beautiful the picture is could not be judged",
        "aesthetic_too_low": "the picture is not beautiful enough",
        "aesthetic_too_high": "the picture is too beautiful",
        "aesthetic_not_among_best": "other pictures are more beautiful",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model_name(self.model)
        if not self.head:
            raise ValueError(
                "needs a value for 'head': the path of an aesthetic predictor, such as sa_0_4_vit_l_14_linear.pth"
            )

    @property
    def score(self) -> str:
        return "aesthetic_score"

    def scorer(self) -> Scorer:
        return ScoreAesthetic(self.head, self.model)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        settings = require_model(models, self.model, embeddings=True)
        return (ScoreAesthetic(self.head, self.model, embedding_length(settings)),)
