"""Drops pictures in clusters that no picture of a target set falls into: DataComp's image-based filter.

DataComp (Gadre et al. 2023) groups the ViT-L/14 embeddings of its pool into 100,000 clusters by k-means and keeps the
clusters that are the nearest one of any of ImageNet's 1.28 million training pictures. As in its code, clusters are
found by Euclidean distance, and a picture then belongs to the centre with the largest *inner product*, where centres
are not of unit length; of equals, to the first. Name its published centres as `centroids`, and the choice is its own.

Clusters found here differ from DataComp's in the sample that they are found on: it draws places with replacement, so
the packing of the pool decides; here each picture is drawn by what it is. 100,000 clusters are work for a GPU: a core
puts 500 pictures a second into them, and the 20 steps of finding them look at every picture of the sample once each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.dedup.identity import IDENTITY
from curate.dedup.kmeans import gather_embeddings, kmeans
from curate.errors import ConfigError, ShardError, StageError
from curate.filter import Filter, Rules, Verdict, verdict
from curate.manifest import Attempt
from curate.models.contrast import nearest
from curate.models.device import work_on
from curate.models.embeddings import embeddings_of, file_length, read_embeddings
from curate.models.heads import made_on_top
from curate.models.pair_scores import image_embedding
from curate.models.settings import check_model_name
from curate.rank import require_one_model
from curate.shard import Shard
from curate.source.model_file import config_digest
from curate.stage import Barrier, Resources, Runtime, Stage, Work

CENTRES = "image_cluster_centroids"
"""The pseudo-column that stands for the files of the data set that the barrier writes."""
CLUSTER, TARGETED = "image_cluster", "image_cluster_targeted"
WHERE = "[filters.image_cluster]"
BLOCK_ROWS = 1 << 16
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FindClusters(Barrier):
    """Writes, for the data set: `image_cluster_<model>/centroids.npy`, float32 (k, d), and `targeted.npy`, int32, which
    of them are the nearest of a target, ascending. `centroids`: a `.npy` to take them from, "" to find them."""

    targets: str
    model: str = "clip"
    centroids: str = ""
    clusters: int = 100_000
    iterations: int = 20
    sample_ratio: float = 1.0
    seed: int = 0

    name: ClassVar[str] = "image_clusters"

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model), *(() if self.centroids else IDENTITY))

    @property
    def writes(self) -> tuple[str, ...]:
        return (CENTRES,)

    def identity(self) -> Any:
        found: Any = [self.clusters, self.iterations, self.sample_ratio, self.seed]
        if self.centroids:
            found = config_digest(self.centroids, f"{WHERE} centroids")
        targets = config_digest(self.targets, f"{WHERE} targets")
        about = {"model": self.model, "targets": targets, "centroids": found}
        return {"stage": self.label, "version": self.version, **about}

    def require(self, runtime: Runtime) -> None:
        """Raise ConfigError unless the files are there and fit each other."""
        try:
            _, length = file_length(Path(self.targets), f"{WHERE} targets")
            if self.centroids and file_length(Path(self.centroids), f"{WHERE} centroids")[1] != length:
                raise ValueError(f"{WHERE} targets and centroids have embeddings of different lengths")
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        require_one_model(shards, image_embedding(self.model))
        centroids = self._centroids(shards, attempt)
        targeted = self._targeted(centroids)
        folder = _folder(self.model)
        np.save(attempt.path(f"{folder}/centroids.npy"), centroids, allow_pickle=False)
        np.save(attempt.path(f"{folder}/targeted.npy"), targeted, allow_pickle=False)
        attempt.counts["clusters"], attempt.counts["targeted"] = len(centroids), len(targeted)

    def _centroids(self, shards: Sequence[Shard], attempt: Attempt) -> Matrix:
        """Those that are given, or of all shards; none where there is no picture at all."""
        if self.centroids:
            return read_embeddings(Path(self.centroids), file_length(Path(self.targets), "targets")[1])
        path = attempt.path("embeddings.f16")
        rows = gather_embeddings(shards, image_embedding(self.model), self.sample_ratio, self.seed, path)
        attempt.counts["trained_on"] = len(rows)
        if 0 < len(rows) < self.clusters:
            raise StageError(
                f"{len(rows)} pictures make no {self.clusters} clusters; set {WHERE} clusters to at most "
                f"{len(rows) // 39 or 1}, since faiss wants 39 pictures for each, or raise sample_ratio"
            )
        found = kmeans(rows, self.clusters, self.iterations, self.seed) if len(rows) else rows.astype(np.float32)
        path.unlink(missing_ok=True)
        return found

    def _targeted(self, centroids: Matrix) -> npt.NDArray[np.int32]:
        hit = np.zeros(len(centroids), bool)
        for block in _blocks(Path(self.targets)) if len(centroids) else ():
            if block.shape[1] != centroids.shape[1]:
                raise ConfigError(
                    f"{WHERE} targets = {self.targets!r} has embeddings of {block.shape[1]} numbers, and the clusters' "
                    f"have {centroids.shape[1]}; take both from one model"
                )
            hit[nearest(block, centroids)] = True
        return np.flatnonzero(hit).astype(np.int32)


@dataclass(frozen=True)
class AssignClusters(Stage):
    """Writes `image_cluster`, int32, the number of the picture's cluster, and whether it is one that a target is in;
    null without an embedding."""

    found: FindClusters

    name: ClassVar[str] = CLUSTER
    version: ClassVar[int] = 2

    @property
    def reads(self) -> tuple[str, ...]:
        return (CENTRES, image_embedding(self.found.model))

    @property
    def writes(self) -> tuple[str, ...]:
        return (CLUSTER, TARGETED)

    @property
    def resources(self) -> Resources:
        return Resources(gpus=1.0)

    def identity(self) -> Any:
        return {"stage": self.label, "version": self.version, "model": self.found.model}

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        work_on(runtime.gpu, runtime.threads)
        table = shard.columns(["key", image_embedding(self.found.model)])
        rows, known = embeddings_of(table[1])
        known = known & np.isfinite(rows).all(axis=1)
        centres = _read(shard, self.found.model)
        if known.any() and rows.shape[1] != centres.centroids.shape[1]:
            raise ShardError(
                f"shard {shard.id} has embeddings of {rows.shape[1]} numbers, and the centres of clusters have "
                f"{centres.centroids.shape[1]}; take both from one model"
            )
        cluster = np.zeros(len(rows), np.int32)
        if known.any():
            cluster[known] = nearest(rows[known], centres.centroids)
        targeted = np.isin(cluster, centres.targeted)
        columns = {CLUSTER: pa.array(cluster, mask=~known), TARGETED: pa.array(targeted, mask=~known)}
        found = pa.table({"key": table["key"], **columns})
        about = made_on_top(
            shard.provenance(image_embedding(self.found.model)), [self.name, self.version, centres.digest], {}
        )
        fields = [field.with_metadata(about) if field.name in columns else field for field in found.schema]
        attempt.write_table(shard.table_name(self.label), found.cast(pa.schema(fields)))
        attempt.counts.update({"in": len(rows), "clustered": int(known.sum()), "targeted": int(targeted[known].sum())})


@dataclass(frozen=True)
class ImageCluster(Filter):
    """Keeps pictures in a cluster that a target is in. A picture without an embedding is dropped: it is in none.

    `targets`: a `.npy` of embeddings (n, d) by the same model. `centroids`: a `.npy` of centres (k, d); "" finds
    `clusters` of them in `iterations` steps, on a share `sample_ratio` of the pictures that is drawn by `seed`.
    """

    targets: str = ""
    model: str = "clip"
    centroids: str = ""
    clusters: int = 100_000
    iterations: int = 20
    sample_ratio: float = 1.0
    seed: int = 0

    reads: ClassVar[tuple[str, ...]] = (TARGETED,)
    reasons: ClassVar[Mapping[str, str]] = {
        "cluster_unknown": "the picture could not be put into a cluster",
        "cluster_without_target": "none of the target set is in the picture's cluster",
    }

    def __post_init__(self) -> None:
        check_model_name(self.model)
        if not self.targets:
            raise ValueError('needs targets = "a .npy of embeddings"')
        require_range("clusters", self.clusters, 1, 1 << 24)
        require_range("iterations", self.iterations, 1, 10_000)
        require_range("seed", self.seed, 0, (1 << 31) - 1)
        if not 0 < self.sample_ratio <= 1:
            raise ValueError(f"sample_ratio = {self.sample_ratio!r} is out of range: above 0, at most 1")

    def identity(self) -> Any:
        """Settings count in the steps that use them; the verdict follows from the column alone."""
        return {"filter": type(self).__name__, "version": self.version}

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        found = FindClusters(
            self.targets, self.model, self.centroids, self.clusters, self.iterations, self.sample_ratio, self.seed
        )
        return (found, AssignClusters(found))

    def judge(self, columns: pa.Table) -> Verdict:
        targeted = columns[TARGETED]
        rules = (("cluster_unknown", pc.is_null(targeted)), ("cluster_without_target", pc.invert(targeted)))
        return verdict(len(columns), *rules)


class _Centres(NamedTuple):
    centroids: Matrix
    targeted: npt.NDArray[np.int32]

    @property
    def digest(self) -> str:
        """Of both: 0.2 s for 100,000 centres."""
        parts = (hashlib.sha256(np.ascontiguousarray(part).data).digest() for part in self)
        return hashlib.sha256(b"".join(parts)).hexdigest()


def _folder(model: str) -> str:
    return f"image_cluster_{model}"


def _read(shard: Shard, model: str) -> _Centres:
    with (
        shard.storage.open(f"{_folder(model)}/centroids.npy") as one,
        shard.storage.open(f"{_folder(model)}/targeted.npy") as other,
    ):
        return _Centres(np.load(one, allow_pickle=False), np.load(other, allow_pickle=False))


def _blocks(path: Path) -> Iterator[Matrix]:
    """The rows of a `.npy`, some at a time: ImageNet's take 3.9 GB. Raises ConfigError for what is not finite."""
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS].astype(np.float32)
        if not np.isfinite(block).all():
            raise ConfigError(f"{WHERE} targets = {str(path)!r} has values that are not finite")
        yield block
