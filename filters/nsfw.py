"""Drops pictures that are likely not safe for work, by LAION's detectors on CLIP embeddings.

`head` is the path of one, of LAION-AI/CLIP-based-NSFW-Detector (MIT): `clip_autokeras_binary_nsfw.zip` for ViT-L/14,
`clip_autokeras_nsfw_b32.zip` for ViT-B/32, both of OpenAI's weights, or their copies in PyTorch. DataComp dropped what
is above .1 by the one for L/14: 14.4 % of its crawl, 97.4 % right on a labelled set. LAION marks from .5 on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curate.filter import Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.models.head_scores import ScoreByHead
from curate.models.heads import Head
from curate.models.nsfw_head import nsfw_head
from curate.models.saved_model import FILES
from curate.models.settings import check_model_name, require_model
from curate.models.weights import embedding_length


@dataclass(frozen=True)
class ScoreNsfw(ScoreByHead):
    """The probability, 0 to 1, of each picture with an embedding; null for the others."""

    name: ClassVar[str] = "nsfw"
    files: ClassVar[Sequence[str]] = FILES
    writes: ClassVar[Mapping[str, pa.DataType]] = {"nsfw_probability": pa.float32()}

    @staticmethod
    def opened(path: Path) -> Head:
        return nsfw_head(path)


@dataclass(frozen=True)
class Nsfw(Bounded):
    """Keeps pictures with a probability of at most `max`, included. One without a probability is dropped too: what
    nobody looked at is not safe. `model`: the name of the CLIP model in the config."""

    head: str = ""
    max: float = 0.1
    model: str = "clip"

    reads: ClassVar[tuple[str, ...]] = ("nsfw_probability",)
    reasons: ClassVar[Mapping[str, str]] = {
        "nsfw_unknown": "whether the picture is safe for work could not be judged",
        "not_safe_for_work": "the picture is likely not safe for work",
    }
    unknown: ClassVar[str | None] = "nsfw_unknown"

    def __post_init__(self) -> None:
        check_bounds(None, self.max, most=1)
        check_model_name(self.model)
        if not self.head:
            raise ValueError(
                "needs a value for 'head': the path of a CLIP NSFW detector, such as clip_autokeras_binary_nsfw.zip"
            )

    def scorer(self) -> Scorer:
        return ScoreNsfw(self.head, self.model)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        settings = require_model(models, self.model, embeddings=True)
        return (ScoreNsfw(self.head, self.model, embedding_length(settings)),)

    @property
    def gauge(self) -> Gauge:
        return Gauge("nsfw_probability", self.reads, max=self.max, too_high="not_safe_for_work")
