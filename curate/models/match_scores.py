"""The scorer of a matcher: for every pair the probability that the caption describes the picture.

A matcher looks at picture and text together, so nothing of it can be computed once per text or kept for later: one
number a pair is all it writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.filter import Batch, Pixels, Scorer
from curate.manifest import fingerprint
from curate.models.device import device, require_device
from curate.models.settings import ModelSettings
from curate.models.weights import weights_digest

__all__ = ["ScoreMatches", "match_probability"]


def match_probability(model: str) -> str:
    """The column with the probability, float32 in 0 to 1."""
    return f"{model}_probability"


@dataclass(frozen=True)
class ScoreMatches(Scorer):
    """`model` is its name in the config. Null where there is no readable picture, or no caption."""

    model: str
    settings: ModelSettings

    @property
    def name(self) -> str:
        return self.model

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image", "caption")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {match_probability(self.model): pa.float32()}

    @property
    def gpus(self) -> float:
        return 0.0 if self.settings.device == "cpu" else 1.0

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "model": self._fingerprint}

    def provenance(self) -> Mapping[str, str]:
        return {"model": "toy matcher", "model_precision": "fp32", "model_fingerprint": self._fingerprint}

    def require(self) -> None:
        from curate.models.toy import load_toy_matcher

        require_device(self.settings.device)
        load_toy_matcher()

    @property
    def _fingerprint(self) -> str:
        return fingerprint(["matcher", 1, weights_digest(self.settings)])

    def prepare(self, pixels: Pixels) -> Any:
        from curate.models.toy import prepare

        return prepare(pixels)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        captions = batch.columns["caption"].to_pylist()
        rows = [
            row
            for row, (view, caption) in enumerate(zip(batch.pixels, captions, strict=True))
            if view is not None and caption and not caption.isspace()
        ]
        values = np.full(len(captions), np.nan, np.float32)
        if rows:
            values[rows] = _match(
                self.settings,
                np.stack([np.asarray(batch.pixels[row]) for row in rows]),
                [captions[row] for row in rows],
            )
        return {match_probability(self.model): pa.array(values, mask=~np.isfinite(values))}


@lru_cache(maxsize=2)
def _loaded(settings: ModelSettings) -> Any:
    from curate.models.toy import load_toy_matcher

    return load_toy_matcher().to(device(settings.device))


def _match(settings: ModelSettings, views: npt.NDArray[np.uint8], captions: list[str]) -> npt.NDArray[np.float32]:
    """Probabilities of prepared pictures, uint8 (n, size, size, 3), and their captions."""
    import torch

    from curate.models.toy import tokenize

    model = _loaded(settings)
    where = next(model.parameters()).device
    mean, std = (torch.tensor(values, device=where).view(1, 3, 1, 1) for values in (model.mean, model.std))
    with torch.inference_mode():
        images = torch.from_numpy(views).to(where).permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
        found: npt.NDArray[np.float32] = torch.sigmoid(model.match(images, tokenize(captions).to(where))).cpu().numpy()
    return found
