"""Drops what dense clusters of pictures have too much of: density-based pruning (DBP, Abbas et al. 2024).

Each cluster keeps a share by its complexity, the members farthest from its centre first (`curate.balance.clusters`).
The paper prunes LAION-CAT's 440 million pairs to 112 million, after near-duplicates and pairs of a low CLIP score are
gone, and trains a better model. It goes after those filters, before what counts or draws captions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from curate.balance.clusters import CLUSTER, PLACE, TARGET, ShareByComplexity
from curate.config import require_range
from curate.filter import Filter, Rules, Scorer, Verdict, verdict
from curate.models.pair_scores import image_embedding
from curate.models.settings import check_model_name, require_model
from curate.stage import Work


@dataclass(frozen=True)
class ClusterBalance(Filter):
    """Keeps `count` rows in all, or a `fraction` (0 to 1) of those with an embedding that the `earlier` filters keep
    (`among`: or of `all`); of each cluster at least `min_per_cluster`, if it has so many.

    By picture embeddings of `model`, or any column of embeddings that `embedding` names. `temperature`: the paper's .1;
    the lower, the more the complex clusters get. A row without an embedding is dropped: it is in no cluster.
    """

    count: int | None = None
    fraction: float | None = None
    model: str = "clip"
    embedding: str = ""
    clusters: int = 500
    iterations: int = 20
    temperature: float = 0.1
    min_per_cluster: int = 1
    among: Literal["earlier", "all"] = "earlier"
    seed: int = 0

    reads: ClassVar[tuple[str, ...]] = (CLUSTER, PLACE, TARGET)
    reasons: ClassVar[Mapping[str, str]] = {
        "balance_cluster_unknown": "the picture could not be put into a cluster",
        "cluster_over_target": "its cluster has enough pictures that are farther from its centre",
    }

    def __post_init__(self) -> None:
        check_model_name(self.model)
        if (self.count is None) == (self.fraction is None):
            raise ValueError("needs one of count and fraction")
        require_range("count", self.count, 0, 2**62)
        require_range("fraction", self.fraction, 0, 1)
        require_range("clusters", self.clusters, 1, 1 << 20)
        require_range("iterations", self.iterations, 1, 10_000)
        require_range("temperature", self.temperature, 1e-6, 1e6)
        require_range("min_per_cluster", self.min_per_cluster, 0, 2**62)
        require_range("seed", self.seed, 0, (1 << 31) - 1)

    def identity(self) -> Any:
        """Settings count in the step that uses them; the verdict follows from the columns alone."""
        return {"filter": type(self).__name__, "version": self.version}

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        if not self.embedding:
            require_model(models, self.model, embeddings=True)
        return ()

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        share = ShareByComplexity(
            self.embedding or image_embedding(self.model),
            self.count,
            self.fraction,
            self.clusters,
            self.iterations,
            self.temperature,
            self.min_per_cluster,
            earlier if self.among == "earlier" else None,
            self.seed,
        )
        return (share,)

    def judge(self, columns: pa.Table) -> Verdict:
        unknown = pc.is_null(columns[CLUSTER])
        over = pc.greater_equal(columns[PLACE], columns[TARGET])
        return verdict(len(columns), ("balance_cluster_unknown", unknown), ("cluster_over_target", over))
