"""Drops pictures that look pornographic to the NSFW MobileNet of nsfwjs, which looks at pixels and needs no CLIP.

`weights` is the folder of a TensorFlow.js layers model, such as `models/mobilenet_v2` of infinitered/nsfwjs (MIT; 2.6
MB of weights in bytes), or the `model.json` in it. OBELICS drops hentai above .9 and porn above .85 by a sibling of it.
nsfwjs resizes without looking at what lies between, so a large picture loses detail as it does there. 20 ms a picture
on one core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import ConfigError
from curate.filter import Batch, Filter, Pixels, Scorer, Verdict, above, check_bounds, verdict
from curate.gauge import Gauge
from curate.manifest import fingerprint
from curate.models.keras_layers import classify, model_parts, read_layers_model, squashed
from curate.models.model_files import digest_of

SIDE_PX = 224
TOPOLOGY = "model.json"
CLASSES = ("drawing", "hentai", "neutral", "porn", "sexy")
"""In the order of the network's outputs."""
WORDS = {"hentai": "pornographic_drawing", "porn": "pornographic", "sexy": "suggestive"}
"""The reason that a class gives."""


@dataclass(frozen=True)
class ScoreNsfwPicture(Scorer):
    """Five probabilities that sum to 1; null without a picture. `weights` is the folder with `model.json`."""

    weights: str

    name: ClassVar[str] = "nsfw_picture"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("image",)
    gpus: ClassVar[float] = 1.0
    writes: ClassVar[Mapping[str, pa.DataType]] = {f"nsfw_{name}_probability": pa.float32() for name in CLASSES}

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "weights": self._digest}

    def provenance(self) -> Mapping[str, str]:
        about = {"model": Path(self.weights).name, "model_digest": self._digest}
        return {**about, "model_fingerprint": fingerprint(self.identity())}

    def require(self) -> None:
        model = read_layers_model(Path(self.weights))
        if model.shape != (SIDE_PX, SIDE_PX, 3) or model.width != len(CLASSES):
            raise ConfigError(
                f"[filters.nsfw_picture] weights = {self.weights!r} takes pictures of {model.shape} and gives "
                f"{model.width} numbers; nsfwjs' MobileNet takes 224 x 224 x 3 and gives 5"
            )

    @property
    def _digest(self) -> str:
        return digest_of(self.weights, "[filters.nsfw_picture] weights", model_parts(Path(self.weights)))

    def prepare(self, pixels: Pixels) -> npt.NDArray[np.uint8]:
        return squashed(pixels, SIDE_PX)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        seen = np.array([view is not None for view in batch.pixels], bool)
        values = np.full((len(seen), len(CLASSES)), np.nan, np.float32)
        if seen.any():
            values[seen] = classify(self.weights, self._digest, [view for view in batch.pixels if view is not None])
        unknown = ~np.isfinite(values).all(axis=1)
        return {name: pa.array(column, mask=unknown) for name, column in zip(self.writes, values.T, strict=True)}


@dataclass(frozen=True)
class NsfwPicture(Filter):
    """Keeps pictures with probabilities of at most these, included; None is no bound. A picture without probabilities
    is dropped too: what nobody looked at is not safe."""

    weights: str = ""
    max_hentai: float | None = 0.9
    max_porn: float | None = 0.85
    max_sexy: float | None = None

    reads: ClassVar[tuple[str, ...]] = ("nsfw_hentai_probability", "nsfw_porn_probability")
    reasons: ClassVar[Mapping[str, str]] = {
        "nsfw_picture_unknown": "whether the picture is pornographic could not be judged",
        "pornographic_drawing": "the picture is likely a pornographic drawing",
        "pornographic": "the picture is likely pornographic",
        "suggestive": "the picture is likely sexually suggestive",
    }

    def __post_init__(self) -> None:
        for name, bound in self._bounds.items():
            check_bounds(None, bound, most=1, name=f"{{}}_{name}")
        if not self._bounded:
            raise ValueError("has no bound; give max_hentai, max_porn or max_sexy")
        if not self.weights:
            raise ValueError("needs a value for 'weights': the folder of nsfwjs' MobileNet, the one with model.json")

    @property
    def _bounds(self) -> Mapping[str, float | None]:
        return {"hentai": self.max_hentai, "porn": self.max_porn, "sexy": self.max_sexy}

    @property
    def _bounded(self) -> Sequence[str]:
        return [name for name, bound in self._bounds.items() if bound is not None]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"nsfw_{name}_probability" for name in self._bounded)

    def scorer(self) -> Scorer:
        path = Path(self.weights)
        return ScoreNsfwPicture(str(path.parent) if path.name == TOPOLOGY else self.weights)

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        return tuple(
            Gauge(column, (column,), max=self._bounds[name], too_high=WORDS[name], max_setting=f"max_{name}")
            for name, column in zip(self._bounded, self.columns, strict=True)
        )

    def judge(self, columns: pa.Table) -> Verdict:
        unknown = columns[self.columns[0]].is_null(nan_is_null=True)
        rules = [
            (WORDS[name], above(columns[f"nsfw_{name}_probability"], self._bounds[name])) for name in self._bounded
        ]
        return verdict(len(columns), ("nsfw_picture_unknown", unknown), *rules)
