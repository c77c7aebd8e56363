"""Drops pictures that are likely not safe for work, by LAION's detectors on CLIP embeddings.

`head` is the path of one, of LAION-AI/CLIP-based-NSFW-Detector (MIT): `clip_autokeras_binary_nsfw.zip` for ViT-L/14,
`clip_autokeras_nsfw_b32.zip` for ViT-B/32, both of OpenAI's weights, or their copies in PyTorch. DataComp dropped what
is above .1 by the one for L/14: 14.4 % of its crawl, 97.4 % right on a labelled set. LAION marks from .5 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curate.filter import Batch, Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.models.heads import Head, made_on_top, require_length, scores_of
from curate.models.model_files import digest_of
from curate.models.nsfw_head import nsfw_head
from curate.models.pair_scores import image_embedding
from curate.models.saved_model import FILES
from curate.models.settings import check_model_name, require_model
from curate.models.weights import embedding_length


@dataclass(frozen=True)
class ScoreNsfw(Scorer):
    """The probability, 0 to 1, of each picture with an embedding; null for the others.

    `length` is that of the model's embeddings, where it is known before the run."""

    head: str
    model: str = "clip"
    length: int | None = None

    name: ClassVar[str] = "nsfw"
    version: ClassVar[int] = 2
    writes: ClassVar[Mapping[str, pa.DataType]] = {"nsfw_probability": pa.float32()}

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model),)

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "model": self.model, "head": self._digest}

    def provenance(self) -> Mapping[str, str]:
        return self.made_from({})

    def made_from(self, told: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        """As `provenance`, where it is known what the columns of `reads` say of themselves."""
        about = {"head": Path(self.head).name, "head_digest": self._digest}
        return made_on_top(told.get(self.reads[0], {}), [self.name, self.version, self._digest], about)

    def require(self) -> None:
        head = _loaded(self.head, self._digest)
        require_length(head, self.length or head.length, f"[models.{self.model}]")

    @property
    def _digest(self) -> str:
        return digest_of(self.head, "[filters.nsfw] head", FILES)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        head = _loaded(self.head, self._digest)
        return {"nsfw_probability": scores_of(head, batch.columns[self.reads[0]], self.reads[0])}


@lru_cache(maxsize=4)
def _loaded(path: str, digest: str) -> Head:
    return nsfw_head(Path(path))


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
