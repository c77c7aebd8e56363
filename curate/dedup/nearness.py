"""What makes rows near copies, as near dedup needs to know it: buckets, pairs of a bucket, and evidence for a pair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.clusters import Likeness, Member
from curate.dedup.digest import Digests
from curate.dedup.groups import Rows
from curate.dedup.scatter import Ids, collect, mixed
from curate.shard import Shard
from curate.stage import Part
from curate.storage import Storage

__all__ = ["LABEL", "Evidence", "Found", "Nearness", "SameComponent"]

LABEL = pa.schema({"node": pa.uint64(), "label": pa.uint64()})


@dataclass(frozen=True)
class Evidence(ABC):
    """What two candidates are compared by: one value a row, and what of two values is near enough."""

    @property
    def of_model(self) -> str:
        """The column that a model made, where that is what is compared: all shards must have it of one model."""
        return ""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def kind(self) -> pa.DataType:
        """The Arrow type of a value."""

    @abstractmethod
    def values(self, shard: Shard, rows: Rows) -> pa.Array:
        """The values of some rows of a shard."""

    @abstractmethod
    def similarity(self, left: pa.Array, right: pa.Array) -> npt.NDArray[np.float64]:
        """How near each value is to the other one, up to 1; not-a-number where that cannot be told."""

    @property
    @abstractmethod
    def least(self) -> float:
        """From which similarity on rows are near, included."""


@dataclass(frozen=True)
class Found:
    """Pairs of row numbers, uint64 (n, 2): `sure` ones are near, the others candidates. `counts` are for people."""

    sure: Ids
    unsure: Ids
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Nearness(ABC):
    """How near copies are found. A subclass is a frozen dataclass; `name` begins the names of columns and files."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Columns that `rows` and `entries` look at."""

    @property
    @abstractmethod
    def entry(self) -> pa.Schema:
        """Of an entry, beside the row's number: `key`, the bucket (uint64, well mixed), and what `pairs` needs."""

    @property
    def about(self) -> str:
        """What the settings find and miss, in words."""
        return ""

    @property
    def evidence(self) -> Evidence | None:
        """What candidates are checked by; None where `pairs` are all sure."""
        return None

    @abstractmethod
    def rows(self, shard: Shard) -> Rows:
        """The rows that can have near copies, in ascending order."""

    @abstractmethod
    def entries(self, shard: Shard, rows: Rows, of: int) -> tuple[Rows, pa.Table]:
        """All entries of these rows: whose each one is (as a place in `rows`), and a table of the schema `entry`.

        `of` is how many parts the buckets will be dealt to; the pairs that all parts find together are the same."""

    @abstractmethod
    def pairs(self, entries: pa.Table, of: int) -> Iterator[Found]:
        """The pairs among the entries of some whole buckets, in any order, up to some millions at a time; `entries`
        has also `id`."""


@dataclass(frozen=True)
class SameComponent(Likeness):
    """Rows are copies that checked edges tie together."""

    nearness: Nearness

    @property
    def name(self) -> str:
        return self.nearness.name

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.nearness.reads, f"{self.name}: labels")

    def digests(self, storage: Storage, part: Part, members: Sequence[Member]) -> Iterator[tuple[Rows, Digests]]:
        labels = collect(storage, f"{self.name}_label", part, 1, LABEL)
        nodes, label = (np.asarray(labels[name]) for name in LABEL.names)
        for member in members:
            rows = self.nearness.rows(member.shard)
            own = member.ids(rows)
            place = np.searchsorted(nodes, own)
            inside = place < len(nodes)
            tied = np.zeros(len(own), bool)
            tied[inside] = nodes[place[inside]] == own[inside]
            own[tied] = label[place[tied]]
            yield rows, np.stack([mixed(own), own], axis=1)
