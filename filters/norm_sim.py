"""Drops pictures unlike those of a target set, by NormSim (Wang et al. 2024): a norm of their similarities to it.

The target set is a file of embeddings by the same model, such as those of ImageNet's training pictures. With
`p = "inf"` the score is the largest similarity to any of them, with `p = "2"` the root of the sum of squares, which
needs no more than the d x d matrix of their products, however many they are. The paper keeps the best 20 % of the
whole by p = inf, among the best 30 % by negCLIPLoss.

The score of a picture depends on nothing but itself and the targets, to the last bit, so how rows are packed into
shards changes no place among them. On one core 2,048 pictures take 1.8 s for every 40,000 targets of 768 numbers, half
as much again as the plain product, and with p = 2 0.6 s for any number. The file is read in blocks of 32 MB, again for
every 2,048 pictures (0.07 s of the 1.8), so that workers need not hold the 2 to 4 GB that ImageNet's 1.28 million take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from curate.models.contrast import nearest
from curate.models.embeddings import embeddings_of, file_length
from curate.models.heads import made_on_top
from curate.models.model_files import digest_of
from curate.models.pair_scores import image_embedding
from curate.models.settings import check_model_name, require_model
from curate.models.weights import embedding_length

BLOCK_BYTES = 32 << 20
ROWS = 64
TARGETS = "[filters.norm_sim] targets"
Rows = npt.NDArray[np.float32]
Norms = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CompareWithTargets(Scorer):
    """NormSim of each picture with an embedding; null for the others, and for what is not finite.

    `length` is that of the model's embeddings, where it is known before the run."""

    targets: str
    model: str = "clip"
    p: Literal["2", "inf"] = "inf"
    length: int | None = None

    name: ClassVar[str] = "norm_sim"
    version: ClassVar[int] = 2
    writes: ClassVar[Mapping[str, pa.DataType]] = {"norm_sim": pa.float32()}

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model),)

    @property
    def gpus(self) -> float:
        return 1.0 if self.p == "inf" else 0.0

    def identity(self) -> Any:
        return {
            "scorer": self.name,
            "version": self.version,
            "model": self.model,
            "p": self.p,
            "targets": self._digest,
        }

    def provenance(self) -> Mapping[str, str]:
        return self.made_from({})

    def made_from(self, told: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        """As `provenance`, where it is known what the columns of `reads` say of themselves."""
        about = {"targets": Path(self.targets).name, "targets_digest": self._digest}
        return made_on_top(told.get(self.reads[0], {}), [self.name, self.version, self.p, self._digest], about)

    @property
    def _digest(self) -> str:
        return digest_of(self.targets, TARGETS)

    def require(self) -> None:
        try:
            self._check(self.length or file_length(Path(self.targets), TARGETS)[1])
            finite = all(np.isfinite(block).all() for block in _blocks(self.targets))
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if not finite:
            raise ConfigError(f"{TARGETS} = {self.targets!r} has values that are not finite; leave such rows out")

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        rows, known = embeddings_of(batch.columns[0])
        self._check(rows.shape[1])
        norms = _largest(rows, self.targets) if self.p == "inf" else _root_of_squares(rows, self.targets)
        with np.errstate(over="ignore"):
            scores = norms.astype(np.float32)
        return {"norm_sim": pa.array(scores, mask=~(known & np.isfinite(scores)))}

    def _check(self, length: int) -> None:
        """Raise ConfigError unless targets and pictures have embeddings of one length."""
        own = file_length(Path(self.targets), TARGETS)[1]
        if own != length:
            raise ConfigError(
                f"{TARGETS} = {self.targets!r} has embeddings of {own} numbers, and {image_embedding(self.model)} has "
                f"{length}; take those of the same model"
            )


def _blocks(path: str) -> Iterator[Rows]:
    """The target set, float32 (some, d) at a time."""
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    size = max(1, BLOCK_BYTES // (4 * stored.shape[1]))
    for start in range(0, len(stored), size):
        yield np.array(stored[start : start + size], np.float32, order="C")


def _largest(rows: Rows, targets: str) -> Norms:
    """The largest similarity of each row to any target, (n,)."""
    best = np.full(len(rows), -np.inf)
    for block in _blocks(targets):
        np.maximum(best, (block[nearest(rows, block)] * rows.astype(np.float64)).sum(axis=1), out=best)
    return best


def _root_of_squares(rows: Rows, targets: str) -> Norms:
    """The root of the sum of squares of each row's similarities to all targets, (n,).

    A product of matrices adds up in an order that depends on where in the matrix a row stands; this does not."""
    products = _products(targets, Path(targets).stat().st_mtime_ns)
    squares = np.empty(len(rows))
    for start in range(0, len(rows), ROWS):
        block = rows[start : start + ROWS].astype(np.float64)
        turned = np.zeros_like(block)
        for number, line in enumerate(products):
            turned += block[:, number, None] * line
        squares[start : start + ROWS] = (turned * block).sum(axis=1)
    return np.sqrt(np.maximum(squares, 0))


@lru_cache(maxsize=2)
def _products(path: str, changed_ns: int) -> Norms:
    """What all targets add up to, float64 (d, d)."""
    total = sum(block.T.astype(np.float64) @ block for block in _blocks(path))
    return np.asarray(total)


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
            raise ValueError("needs a value for 'targets': a .npy of embeddings, of shape (n, d)")

    @property
    def score(self) -> str:
        return "norm_sim"

    def scorer(self) -> Scorer:
        return CompareWithTargets(self.targets, self.model, self.p)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        settings = require_model(models, self.model, embeddings=True)
        return (CompareWithTargets(self.targets, self.model, self.p, embedding_length(settings)),)
