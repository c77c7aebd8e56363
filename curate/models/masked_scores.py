"""The similarity of a caption and its picture without the picture's text (T-MARS, Maini et al. 2023).

A picture of its own caption has a high CLIP similarity and shows nothing. So each box of text is filled with the colour
around it before the picture is made ready for the model, in the threads that decode. The picture tower works as often
again as for the similarity itself; captions come from the model's memory when both scorers run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate.filter import Batch, Pixels, Scorer
from curate.models.mask_text import mask_text
from curate.models.pair_scores import ScorePairs, similarity
from curate.models.settings import ModelSettings
from curate.models.text_boxes import open_detector

__all__ = ["ScoreMasked", "masked_similarity"]


def masked_similarity(model: str) -> str:
    """The column with the cosine of caption and picture without its text, float32 in -1 to 1."""
    return f"{model}_masked_similarity"


@dataclass(frozen=True)
class ScoreMasked(Scorer):
    """`model` is its name in the config, `detector` what finds text (`curate.models.text_boxes.open_detector`). Null
    where the similarity is null."""

    model: str
    settings: ModelSettings
    detector: str = "classical"

    @property
    def name(self) -> str:
        return f"{self.model}_masked"

    @property
    def reads(self) -> tuple[str, ...]:
        return self._pairs.reads

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {masked_similarity(self.model): pa.float32()}

    @property
    def gpus(self) -> float:
        return self._pairs.gpus

    @property
    def batch_pictures(self) -> int:
        return self._pairs.batch_pictures

    @property
    def _pairs(self) -> ScorePairs:
        return ScorePairs(self.model, self.settings)

    def identity(self) -> Any:
        from curate.models.clip import clip_fingerprint

        return {
            "scorer": self.name,
            "version": self.version,
            "model": clip_fingerprint(self.settings),
            "detector": open_detector(self.detector).fingerprint,
        }

    def provenance(self) -> Mapping[str, str]:
        return {**self._pairs.provenance(), "text_detector": open_detector(self.detector).fingerprint}

    def require(self) -> None:
        self._pairs.require()
        open_detector(self.detector)

    def prepare(self, pixels: Pixels) -> Any:
        return self._pairs.prepare(mask_text(pixels, open_detector(self.detector).boxes(pixels)))

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        return self.start(batch)()

    def start(self, batch: Batch) -> Callable[[], Mapping[str, pa.Array]]:
        begun = self._pairs.start(batch)
        return lambda: {masked_similarity(self.model): begun()[similarity(self.model)]}
