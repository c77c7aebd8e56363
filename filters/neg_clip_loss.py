"""Drops pairs by negCLIPLoss (Wang et al. 2024): how much better picture and caption fit each other than others.

    score_i = s_ii - t/2 * (log sum_j exp(s_ij / t) + log sum_j exp(s_ji / t))

over a batch of pairs, the mean over several divisions into batches; s is the cosine, t a temperature. Captions that
fit everything ("a picture") score low. The paper's numbers: t = .01, batches of 32,768, ten divisions, and the best
30 % kept. Its code draws batches within one file of its input, so the score depends on the packing; here batches come
from all rows, in an order drawn by what each row is, so it does not.

20 core seconds for a batch of 32,768 embeddings of 512 numbers; the embeddings (2 kB a pair) are put in one scratch
file and read in batches.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.config import require_range
from curate.cut import Cut
from curate.dedup.identity import IDENTITY, identities, keyed
from curate.errors import ShardError
from curate.filter import Rules, Scorer
from curate.manifest import Attempt
from curate.models.contrast import log_sum_exp
from curate.models.device import work_on
from curate.models.embeddings import embeddings_of
from curate.models.pair_scores import image_embedding, text_embedding
from curate.models.settings import check_model_name, require_model
from curate.rank import require_one_model
from curate.shard import Shard
from curate.stage import Barrier, Work


def neg_clip_loss(model: str) -> str:
    """The column with the score, float32; higher is better, at most 0 but for rounding."""
    return f"{model}_neg_clip_loss"


@dataclass(frozen=True)
class CompareInBatches(Barrier):
    """negCLIPLoss of every pair that has both embeddings; null for the others."""

    model: str = "clip"
    temperature: float = 0.01
    batch: int = 32_768
    rounds: int = 10
    seed: int = 0

    name: ClassVar[str] = "neg_clip_loss"

    @property
    def label(self) -> str:
        return f"{self.name}_{self.model}"

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model), text_embedding(self.model), *IDENTITY)

    @property
    def writes(self) -> tuple[str, ...]:
        return (neg_clip_loss(self.model),)

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        for column in self.reads[:2]:
            require_one_model(shards, column)
        path = attempt.path("pairs.f16")
        sizes, digests = [], [np.empty((0, 2), np.uint64)]
        length = 0
        with open(path, "wb") as out:
            for shard in shards:
                rows, pairs = self._pairs(shard)
                if length not in (0, pairs.shape[2]):
                    raise ShardError(
                        f"shard {shard.id} has embeddings of {pairs.shape[2]} numbers, and {length} before"
                    )
                length = pairs.shape[2]
                pairs.tofile(out)
                sizes.append(rows)
                digests.append(identities(shard)[rows])
        work_on(0, len(os.sched_getaffinity(0)))
        scores = self._scores(path, np.concatenate(digests), length)
        path.unlink()
        ends = np.cumsum([len(rows) for rows in sizes])
        for shard, rows, end in zip(shards, sizes, ends, strict=True):
            attempt.write_table(shard.table_name(self.label), self._column(shard, rows, scores[end - len(rows) : end]))
        attempt.counts["compared"] = len(scores)

    def _column(self, shard: Shard, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> pa.Table:
        """The scores at their rows; the column says which model they come from, as the embeddings do."""
        values = np.full(shard.rows(), np.nan, np.float32)
        values[rows] = scores
        about = shard.provenance(image_embedding(self.model))
        field = pa.field(self.writes[0], pa.float32(), metadata=about or None)
        schema = pa.schema([pa.field("key", pa.string()), field])
        key = shard.columns(["key"])["key"].cast(pa.string())
        return pa.table([key, pa.array(values, mask=np.isnan(values))], schema=schema)

    def _pairs(self, shard: Shard) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]:
        """Rows with both embeddings, and these, float16 (n, 2, d)."""
        columns = shard.columns([image_embedding(self.model), text_embedding(self.model)])
        try:
            (images, seen), (texts, said) = (embeddings_of(column) for column in columns.columns)
        except ValueError as error:
            raise ShardError(f"shard {shard.id}: {error}") from None
        if images.shape != texts.shape:
            raise ShardError(
                f"shard {shard.id}: embeddings of pictures have {images.shape[1]} numbers, and those of texts "
                f"{texts.shape[1]}"
            )
        with np.errstate(over="ignore"):
            pairs = np.stack([images, texts], axis=1).astype(np.float16)
        rows = np.flatnonzero(seen & said & np.isfinite(pairs).all(axis=(1, 2)))
        return rows, pairs[rows]

    def _scores(self, path: Any, digests: npt.NDArray[np.uint64], length: int) -> npt.NDArray[np.float64]:
        """The mean over rounds. Batches of a round are of one size, but for one pair. If there is but one, so is one
        round: the others would be the same."""
        total = np.zeros(len(digests))
        if not len(digests):
            return total
        pairs = np.memmap(path, np.float16, "r", shape=(len(digests), 2, length))
        batches = -(-len(digests) // self.batch)
        rounds = self.rounds if batches > 1 else 1
        for number in range(rounds):
            order = np.lexsort((digests[:, 0], keyed(digests, self.seed * 1_000_003 + number)))
            for rows in np.array_split(order, batches):
                images, texts = pairs[rows].astype(np.float32).transpose(1, 0, 2)
                total[rows] += scores_of(np.ascontiguousarray(images), np.ascontiguousarray(texts), self.temperature)
        return total / rounds


def scores_of(
    images: npt.NDArray[np.float32], texts: npt.NDArray[np.float32], temperature: float
) -> npt.NDArray[np.float64]:
    """negCLIPLoss of each pair of one batch; both (n, d) of unit length, float64 (n,)."""
    own = np.einsum("nd,nd->n", images, texts).astype(np.float64)
    rows, columns = log_sum_exp(images, texts, temperature)
    scores: npt.NDArray[np.float64] = own - temperature / 2 * (rows + columns)
    return scores


@dataclass(frozen=True)
class NegClipLoss(Cut):
    """Bounds as `curate.cut.Cut` has them; the others say how the score is computed."""

    model: str = "clip"
    temperature: float = 0.01
    batch: int = 32_768
    rounds: int = 10
    seed: int = 0

    reads: ClassVar[tuple[str, ...]] = ("clip_neg_clip_loss",)
    too_low: ClassVar[str] = "neg_clip_loss_too_low"
    too_high: ClassVar[str] = "neg_clip_loss_too_high"
    not_best: ClassVar[str] = "neg_clip_loss_not_among_best"
    unknown: ClassVar[str] = "neg_clip_loss_unknown"
    reasons: ClassVar[Mapping[str, str]] = {
        "neg_clip_loss_unknown": "picture and caption could not be compared with others",
        "neg_clip_loss_too_low": "picture and caption fit others as well as each other",
        "neg_clip_loss_too_high": "picture and caption fit each other alone",
        "neg_clip_loss_not_among_best": "other pairs fit each other better, against the rest",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model_name(self.model)
        require_range("temperature", self.temperature, 1e-4, 10)
        require_range("batch", self.batch, 2, 1 << 20)
        require_range("rounds", self.rounds, 1, 1_000)
        require_range("seed", self.seed, 0, 2**32)

    @property
    def score(self) -> str:
        return neg_clip_loss(self.model)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        require_model(models, self.model, embeddings=True)
        return ()

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        own = CompareInBatches(self.model, self.temperature, self.batch, self.rounds, self.seed)
        return (own, *super().steps(earlier))
