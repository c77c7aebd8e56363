"""Density-based pruning: a share of the rows for each cluster of pictures by how complex it is, the hardest kept first.

Of Abbas et al. 2024 (DBP), from the paper. Pictures are grouped by spherical k-means. A cluster is complex when its
members lie far from its centre and the centre lies far from others:

    complexity = mean cosine distance of its members to the centre * mean distance to the 20 nearest other centres

Its share of what is kept is softmax(complexity / temperature), as far as it has so many (`curate.balance.targets`), and
the members farthest from the centre are kept. The paper takes 500 clusters for LAION and 100 for DataComp's medium
scale, after near-duplicates and a CLIP filter, by embeddings of DINOv2; any embeddings do.

The place of each row in its cluster and the cluster's target are columns. Sums are of whole numbers, so packing changes
nothing but with another number of threads, with which faiss finds other centres. Three passes over the embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.balance.caps import place_array
from curate.balance.extras import require_modules
from curate.balance.places import BIN_ROWS, Asked, places_in_groups
from curate.balance.targets import complexity_shares, nearest_feasible, whole_targets
from curate.config import require_range
from curate.dedup.identity import IDENTITY, identities, keyed
from curate.dedup.kmeans import gather_embeddings, kmeans
from curate.errors import ShardError, StageError
from curate.filter import Rules
from curate.manifest import Attempt
from curate.models.contrast import nearest
from curate.models.embeddings import embeddings_of
from curate.rank import require_one_model
from curate.select import columns_of, decide
from curate.shard import Shard
from curate.stage import Barrier, Runtime

__all__ = ["CLUSTER", "DISTANCE", "PLACE", "TARGET", "ShareByComplexity"]

CLUSTER = "balance_cluster"
DISTANCE = "balance_cluster_distance"
PLACE = "balance_cluster_place"
TARGET = "balance_cluster_target"
FILE = "cluster_balance/clusters.json"
NEIGHBOURS = 20
UNIT = 2.0**32
Matrix = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Members:
    """A shard's rows: which may be kept, and of each with an embedding the cluster and the cosine distance (0 to 2)."""

    known: npt.NDArray[np.bool_]
    among: npt.NDArray[np.bool_]
    cluster: Counts
    distance: Reals


@dataclass(frozen=True)
class ShareByComplexity(Barrier):
    """Writes `balance_cluster` (int32) and `balance_cluster_distance` (float32, 0 to 2), null without an embedding; and
    `balance_cluster_place` and `balance_cluster_target` (int64), null also for rows that `rules` drop.

    By the `column` of embeddings: `count` rows in all, or a `fraction` of those with an embedding that `rules` keep.
    A cluster keeps at least `least` rows, if it has so many. Centres are found on all rows with an embedding.
    """

    column: str
    count: int | None = None
    fraction: float | None = None
    clusters: int = 500
    iterations: int = 20
    temperature: float = 0.1
    least: int = 1
    rules: Rules | None = None
    seed: int = 0
    bin_rows: int = field(default=BIN_ROWS, metadata={"runtime": True})

    name: ClassVar[str] = "cluster_balance"

    def __post_init__(self) -> None:
        require_range("bin_rows", self.bin_rows, 1, 1_000_000_000)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.column, *IDENTITY, *columns_of(self.rules or ()))))

    @property
    def writes(self) -> tuple[str, ...]:
        return (CLUSTER, DISTANCE, PLACE, TARGET)

    def identity(self) -> Any:
        rules = None if self.rules is None else [[name, rule.identity()] for name, rule in self.rules]
        names = ("column", "count", "fraction", "clusters", "iterations", "temperature", "least", "seed")
        settings = {name: getattr(self, name) for name in names}
        return {"stage": self.label, "version": self.version, "among": rules, **settings}

    def require(self, runtime: Runtime) -> None:
        require_modules("[filters.cluster_balance]", "models", "faiss", "torch")

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        require_one_model(shards, self.column)
        _require_embeddings(shards, self.column)
        centres = self._centres(shards, attempt)
        sizes, spread = np.zeros(len(centres), np.int64), np.zeros(len(centres), np.int64)
        for shard in shards:
            own = self._members(shard, centres)
            chosen = own.known & own.among
            sizes += np.bincount(own.cluster[chosen], minlength=len(centres))
            np.add.at(spread, own.cluster[chosen], np.rint(own.distance[chosen] * UNIT).astype(np.int64))
        targets, about = self._targets(centres, sizes, spread / UNIT)
        ask = partial(self._ask, centres=centres)
        answers = places_in_groups(shards, ask, attempt.scratch / "places", self.bin_rows)
        for shard, placed in zip(shards, answers, strict=True):
            own = self._members(shard, centres)
            attempt.write_table(shard.table_name(self.name), _table(shard, own, place_array(placed), targets))
            attempt.counts.update({"in": placed.total, "placed": len(placed.rows)})
        attempt.counts["target"] = int(targets.sum())
        attempt.write_bytes(FILE, json.dumps(about, indent=1).encode())

    def _centres(self, shards: Sequence[Shard], attempt: Attempt) -> Matrix:
        path = attempt.path("embeddings.f16")
        rows = gather_embeddings(shards, self.column, 1.0, self.seed, path)
        if 0 < len(rows) < self.clusters:
            raise StageError(
                f"{len(rows)} rows with {self.column} make no {self.clusters} clusters; set [filters.cluster_balance] "
                f"clusters to at most {max(1, len(rows) // 39)}, since faiss wants 39 rows for each"
            )
        found = kmeans(rows, self.clusters, self.iterations, self.seed, spherical=True) if len(rows) else rows
        path.unlink(missing_ok=True)
        return found.astype(np.float32)

    def _members(self, shard: Shard, centres: Matrix) -> _Members:
        columns = shard.columns(list(dict.fromkeys((self.column, *columns_of(self.rules or ())))))
        rows, known = embeddings_of(columns[self.column])
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        known = known & (lengths > 0)
        among = np.asarray(decide(columns, self.rules)["keep"]) if self.rules else np.ones(len(rows), bool)
        cluster, distance = np.zeros(len(rows), np.int64), np.zeros(len(rows))
        if known.any():
            cluster[known] = nearest(rows[known], centres)
            own = (rows[known].astype(np.float64) * centres[cluster[known]]).sum(axis=1)
            scale = lengths[known] * np.linalg.norm(centres.astype(np.float64), axis=1)[cluster[known]]
            distance[known] = np.clip(1 - own / np.maximum(scale, 1e-12), 0, 2)
        return _Members(known, among, cluster, distance)

    def _ask(self, shard: Shard, centres: Matrix) -> Asked:
        own = self._members(shard, centres)
        rows = np.flatnonzero(own.known & own.among)
        groups = np.stack([own.cluster[rows].astype(np.uint64), np.zeros(len(rows), np.uint64)], axis=1)
        return Asked(len(own.known), rows, groups, own.distance[rows], keyed(identities(shard)[rows], self.seed))

    def _targets(self, centres: Matrix, sizes: Counts, spread: Reals) -> tuple[Counts, list[dict[str, float]]]:
        """How many rows each cluster keeps, and what the file says of each."""
        within = spread / np.maximum(sizes, 1)
        between = _distances_between(centres)
        there, total = np.flatnonzero(sizes), int(sizes.sum())
        wanted = self.count if self.count is not None else int((self.fraction or 0.0) * total)
        wanted = min(wanted, total)
        shares, targets = np.zeros(len(sizes)), np.zeros(len(sizes), np.int64)
        if len(there):
            shares[there] = complexity_shares((within * between)[there], self.temperature)
            high = sizes[there].astype(np.float64)
            low = np.minimum(high, self.least) if wanted >= np.minimum(high, self.least).sum() else np.zeros(len(there))
            fitting = nearest_feasible(shares[there] * wanted, low, high, wanted)
            targets[there] = whole_targets(fitting, sizes[there], wanted)
        names = ("rows", "within_distance", "between_distance", "complexity", "share", "target")
        values = (sizes, within, between, within * between, shares, targets)
        table = zip(*(column.tolist() for column in values), strict=True)
        return targets, [dict(zip(names, line, strict=True)) for line in table]


def _require_embeddings(shards: Sequence[Shard], column: str) -> None:
    for shard in shards:
        kind = shard.schema(shard.column_files[column]).field(column).type
        if not pa.types.is_fixed_size_list(kind):
            raise ShardError(
                f"shard {shard.id}: {column} is a column of {kind}, not of embeddings (fixed-size lists of float16); "
                "name another in [filters.cluster_balance]"
            )


def _distances_between(centres: Matrix) -> Reals:
    """Of each centre, the mean cosine distance to its nearest others; 0 where there is no other."""
    found = np.zeros(len(centres))
    unit = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    for place in range(len(centres) if len(centres) > 1 else 0):
        distances = np.delete(1 - unit @ unit[place], place)
        count = min(NEIGHBOURS, len(distances))
        found[place] = np.partition(distances, count - 1)[:count].astype(np.float64).mean()
    return found


def _table(shard: Shard, own: _Members, places: pa.Array, targets: Counts) -> pa.Table:
    target = targets[own.cluster] if len(targets) else own.cluster
    return pa.table(
        {
            "key": shard.columns(["key"])["key"],
            CLUSTER: pa.array(own.cluster.astype(np.int32), mask=~own.known),
            DISTANCE: pa.array(own.distance.astype(np.float32), mask=~own.known),
            PLACE: places,
            TARGET: pa.array(target, mask=~(own.known & own.among)),
        }
    )
