"""Drops pictures unlike those of a target set, by NormSim (Wang et al. 2024): a norm of their similarities to it.

The target set is a file of embeddings by the same model, such as those of ImageNet's training pictures. With
`p = "inf"` the score is the largest similarity to any of them, with `p = "2"` the root of the sum of squares, which
needs no more than the d x d matrix of their products, however many they are. The paper keeps the best 20 % of the
whole by p = inf, among the best 30 % by negCLIPLoss.

The score of a picture depends on nothing but itself and the targets, to the last bit, so how rows are packed into
shards changes no place among them. On one core 2,048 pictures take 1.7 s for every 40,000 targets of 768 numbers, half
as much again as the plain product, and with p = 2 0.6 s for any number. The file is read once a shard, or for every
32,768 pictures of a large one, in blocks of 128 MB, so that a worker holds 0.6 GB and not the 2 to 4 that ImageNet's
1.28 million take; to read and measure these takes 4 to 5 s, which is what a GPU waits for, so shards are not to be
small.
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
from curate.errors import ConfigError, ShardError
from curate.filter import Rules, Scorer
from curate.manifest import Attempt
from curate.models.contrast import nearest
from curate.models.device import work_on
from curate.models.embeddings import embeddings_of, file_length
from curate.models.heads import made_on_top
from curate.models.model_files import digest_of
from curate.models.pair_scores import image_embedding
from curate.models.settings import check_model_name, require_model
from curate.models.weights import embedding_length
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage, Work

BLOCK_BYTES = 128 << 20
MOST_ROWS = 1 << 15
ROWS = 64
TARGETS = "[filters.norm_sim] targets"
Rows = npt.NDArray[np.float32]
Norms = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CompareWithTargets(Stage):
    """Writes `norm_sim`, float32, of each picture with an embedding; null for the others, and for what is not finite.

    A stage and no scorer, because a scorer gets 2,048 rows at a time and would read all targets for each of these."""

    targets: str
    model: str = "clip"
    p: Literal["2", "inf"] = "inf"

    name: ClassVar[str] = "norm_sim"

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model),)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("norm_sim",)

    @property
    def resources(self) -> Resources:
        return Resources(gpus=1.0 if self.p == "inf" else 0.0)

    def identity(self) -> Any:
        about = {"model": self.model, "p": self.p, "targets": self._digest}
        return {"stage": self.label, "version": self.version, **about}

    @property
    def _digest(self) -> str:
        return digest_of(self.targets, TARGETS)

    def require(self, runtime: Runtime) -> None:
        length_of(self.targets)
        if not all(np.isfinite(block).all() for block in _blocks(self.targets)):
            raise ConfigError(f"{TARGETS} = {self.targets!r} has values that are not finite; leave such rows out")

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        work_on(runtime.gpu, runtime.threads)
        table = shard.columns(["key", *self.reads])
        try:
            scores = self.scores(table[1])
        except ValueError as error:
            raise ShardError(f"shard {shard.id}: {self.reads[0]}: {error}") from None
        about = {"targets": Path(self.targets).name, "targets_digest": self._digest}
        own = [self.name, self.version, self.p, self._digest]
        field = pa.field("norm_sim", pa.float32(), metadata=made_on_top(shard.provenance(self.reads[0]), own, about))
        schema = pa.schema([table.schema.field("key"), field])
        attempt.write_table(shard.table_name(self.label), pa.table([table["key"], scores], schema=schema))
        attempt.counts.update({"in": len(table), "compared": len(table) - scores.null_count})

    def scores(self, column: pa.Array | pa.ChunkedArray) -> pa.Array:
        """float32 for a column of embeddings. Raises ConfigError for targets of another length, and ValueError for a
        column that is none of embeddings."""
        found: list[pa.Array] = []
        for start in range(0, len(column), MOST_ROWS):
            rows, known = embeddings_of(column.slice(start, MOST_ROWS))
            require_same_length(self.targets, rows.shape[1], self.reads[0])
            norms = _largest(rows, self.targets) if self.p == "inf" else _root_of_squares(rows, self.targets)
            with np.errstate(over="ignore"):
                scores = norms.astype(np.float32)
            found.append(pa.array(scores, mask=~(known & np.isfinite(scores))))
        return pa.concat_arrays(found) if found else pa.nulls(0, pa.float32())


def length_of(targets: str) -> int:
    """Numbers in an embedding of the target set. Raises ConfigError."""
    try:
        return file_length(Path(targets), TARGETS)[1]
    except ValueError as error:
        raise ConfigError(str(error)) from None


def require_same_length(targets: str, length: int, column: str) -> None:
    """Raise ConfigError unless targets and pictures have embeddings of one length."""
    own = length_of(targets)
    if own != length:
        raise ConfigError(
            f"{TARGETS} = {targets!r} has embeddings of {own} numbers, and {column} has {length}; take those of the "
            "same model"
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
        found = nearest(rows, block)
        for start in range(0, len(rows), ROWS):
            some = slice(start, start + ROWS)
            products = block[found[some]] * rows[some].astype(np.float64)
            np.maximum(best[some], products.sum(axis=1), out=best[some])
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

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        """None; but a target set that is there must be of the model's length. Raises ConfigError."""
        settings = require_model(models, self.model, embeddings=True)
        if Path(self.targets).is_file():
            require_same_length(self.targets, embedding_length(settings), f"[models.{self.model}]")
        return ()

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        return (CompareWithTargets(self.targets, self.model, self.p), *super().steps(earlier))
