"""Drops pictures unlike those of a target set, by NormSim (Wang et al. 2024): a norm of their similarities to it.

The target set is a file of embeddings by the same model, such as those of ImageNet's training pictures. With
`p = "inf"` the score is the largest similarity to any of them, with `p = "2"` the root of the sum of squares, which
needs no more than the d x d matrix of their products, however many they are. The paper keeps the best 20 % of the
whole by p = inf, among the best 30 % by negCLIPLoss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.cut import Cut
from curate.errors import ConfigError
from curate.filter import Batch, Scorer
from curate.models.contrast import largest_products
from curate.models.embeddings import embeddings_of, file_length, read_embeddings
from curate.models.pair_scores import image_embedding
from curate.models.settings import check_model_name
from curate.source.model_file import config_digest


@dataclass(frozen=True)
class CompareWithTargets(Scorer):
    """NormSim of each picture with an embedding; null for the others."""

    targets: str
    model: str = "clip"
    p: Literal["2", "inf"] = "inf"

    name: ClassVar[str] = "norm_sim"
    writes: ClassVar[Mapping[str, pa.DataType]] = {"norm_sim": pa.float32()}

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model),)

    def identity(self) -> Any:
        return {
            "scorer": self.name,
            "version": self.version,
            "model": self.model,
            "p": self.p,
            "targets": config_digest(self.targets, "[filters.norm_sim] targets"),
        }

    def require(self) -> None:
        try:
            file_length(Path(self.targets), "[filters.norm_sim] targets")
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        rows, known = embeddings_of(batch.columns[0])
        targets = _targets(self.targets, rows.shape[1])
        if self.p == "inf":
            norms = largest_products(rows, targets)
        else:
            norms = np.sqrt(np.maximum(np.einsum("nd,nd->n", rows @ _products(self.targets, rows.shape[1]), rows), 0))
        return {"norm_sim": pa.array(norms.astype(np.float32), mask=~known)}


@lru_cache(maxsize=2)
def _targets(path: str, length: int) -> npt.NDArray[np.float32]:
    return read_embeddings(Path(path), length)


@lru_cache(maxsize=2)
def _products(path: str, length: int) -> npt.NDArray[np.float32]:
    targets = _targets(path, length)
    products: npt.NDArray[np.float32] = targets.T @ targets
    return products


@dataclass(frozen=True)
class NormSim(Cut):
    """Bounds as `curate.cut.Cut` has them. `targets`: a `.npy` of shape (n, d), of unit length; `p`: see above."""

    targets: str = ""
    model: str = "clip"
    p: Literal["2", "inf"] = "inf"

    reads: ClassVar[tuple[str, ...]] = ("norm_sim",)
    too_low: ClassVar[str] = "unlike_targets"
    too_high: ClassVar[str] = "too_like_targets"
    not_best: ClassVar[str] = "targets_not_among_nearest"
    unknown: ClassVar[str] = "targets_similarity_unknown"
    reasons: ClassVar[Mapping[str, str]] = {
        "targets_similarity_unknown": "the picture could not be compared with the target set",
        "unlike_targets": "the picture is unlike all of the target set",
        "too_like_targets": "the picture is too much like one of the target set",
        "targets_not_among_nearest": "other pictures are more like the target set",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model_name(self.model)
        if not self.targets:
            raise ValueError('needs targets = "a .npy of embeddings"')

    @property
    def score(self) -> str:
        return "norm_sim"

    def scorer(self) -> Scorer:
        return CompareWithTargets(self.targets, self.model, self.p)
