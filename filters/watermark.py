"""Drops pictures with a visible watermark, by LAION's detector.

`weights` is the path of its file, `watermark_model_v1.pt` of LAION-AI/LAION-5B-WatermarkDetection (MIT, 48 MB), or a
`.safetensors` of it. LAION's high-resolution sets keep what is below .8, data-juicer what is at most .8, DiHT at most
.5. 0.1 s a picture on one core: score with it what other filters keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.filter import Batch, Bounded, Pixels, Scorer, check_bounds
from curate.gauge import Gauge
from curate.manifest import fingerprint
from curate.models.model_files import digest_of
from curate.models.watermark import PREPROCESS, require_weights, watermark_probabilities


@dataclass(frozen=True)
class ScoreWatermark(Scorer):
    """The probability of a watermark, 0 to 1; null without a picture."""

    weights: str

    name: ClassVar[str] = "watermark"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("image",)
    gpus: ClassVar[float] = 1.0
    writes: ClassVar[Mapping[str, pa.DataType]] = {"watermark_probability": pa.float32()}

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "weights": self._digest}

    def provenance(self) -> Mapping[str, str]:
        about = {"model": Path(self.weights).name, "model_digest": self._digest}
        return {**about, "model_fingerprint": fingerprint(self.identity())}

    def require(self) -> None:
        _ = self._digest
        require_weights(self.weights)

    @property
    def _digest(self) -> str:
        return digest_of(self.weights, "[filters.watermark] weights")

    def prepare(self, pixels: Pixels) -> Any:
        return PREPROCESS(pixels)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        seen = np.array([view is not None for view in batch.pixels], bool)
        values = np.full(len(seen), np.nan, np.float32)
        if seen.any():
            views = [view for view in batch.pixels if view is not None]
            values[seen] = watermark_probabilities(self.weights, self._digest, views)
        return {"watermark_probability": pa.array(values, mask=~np.isfinite(values))}


@dataclass(frozen=True)
class Watermark(Bounded):
    """Keeps pictures with a probability of at most `max`, included. One without a probability is dropped too: nobody
    could look at it."""

    version: ClassVar[int] = 2

    weights: str = ""
    max: float = 0.8

    reads: ClassVar[tuple[str, ...]] = ("watermark_probability",)
    reasons: ClassVar[Mapping[str, str]] = {
        "watermark_unknown": "whether the picture has a watermark could not be told",
        "watermarked": "the picture likely has a watermark",
    }
    unknown: ClassVar[str | None] = "watermark_unknown"

    def __post_init__(self) -> None:
        check_bounds(None, self.max, most=1)
        if not self.weights:
            raise ValueError(
                "needs a value for 'weights': the path of LAION's watermark detector, watermark_model_v1.pt, which "
                "LAION-AI/LAION-5B-WatermarkDetection on GitHub publishes, or a .safetensors of it"
            )

    def scorer(self) -> Scorer:
        return ScoreWatermark(self.weights)

    @property
    def gauge(self) -> Gauge:
        return Gauge("watermark_probability", self.reads, max=self.max, too_high="watermarked")
