"""Clusters of copies, and which row of each is kept: three steps whose parts run side by side.

    ask     a part per group of shards   every row that takes part goes to the part of its cluster's digest
    answer  a part per range of digests  equal digests are a cluster; the best row of it is the one to keep
    mark    a part per group of shards   the answers become columns beside the rows

What makes rows copies is a `Likeness`: the same bytes, the same caption, or the label of a component of near
duplicates. No part holds more than its share of rows, some 150 bytes each; a cluster of a million rows is a million
rows of one part. Nothing depends on how many parts there are.

An earlier data set is an index by the columns that its own run left: a later one names it with `against`, and the rows
that took part there take part here, without their pictures being read or anything of them computed again. What was
kept before stays kept, so the answer is that of one run over both, in an order that puts the earlier data set first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.digest import Digests, digest_strings
from curate.dedup.earlier import Card, Earlier, require_earlier, write_card
from curate.dedup.groups import Groups, Rows, group
from curate.dedup.prefer import Order, parse_order
from curate.dedup.scatter import (
    SHARDS_PER_PART,
    Ids,
    Outbox,
    collect,
    part_count,
    part_of_hash,
    ranges,
    row_ids,
    shards_of,
    split_ids,
)
from curate.filter import Rules
from curate.manifest import Attempt
from curate.select import columns_of, kept_rows
from curate.shard import Shard
from curate.stage import Part, Runtime, Spread, Step, settings_of
from curate.storage import Storage

__all__ = ["Answer", "Ask", "Clusters", "Likeness", "Mark", "Member", "OfClusters"]

COUNTED = ("caption", "host")
Keep = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


class Member(NamedTuple):
    """A shard whose rows take part: of which data set (0 is this one), and its number in it."""

    data_set: int
    number: int
    shard: Shard

    def ids(self, rows: Rows) -> Ids:
        """The numbers of some rows."""
        return row_ids(self.number, rows, self.data_set)


@dataclass(frozen=True)
class Likeness(ABC):
    """What makes two rows copies. A subclass is a frozen dataclass; `name` begins the names of columns and files."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]: ...

    @abstractmethod
    def digests(self, storage: Storage, part: Part, members: Sequence[Member]) -> Iterator[tuple[Rows, Digests]]:
        """For each member of a part of the data set in `storage`: the rows that can have copies, in ascending order,
        and a digest that copies share."""


@dataclass(frozen=True)
class Clusters:
    """Settings of the three steps. `rules`: filters that keep the rows that take part; `counted`: of "caption" and
    "host", whose different values in a cluster are counted; `against`: earlier data sets, the first one first;
    `bounds`: what else the filter drops by, which an earlier data set must share."""

    likeness: Likeness
    prefer: tuple[str, ...] = ()
    rules: Rules = ()
    counted: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    shards_per_part: int = SHARDS_PER_PART
    bounds: tuple[int | None, ...] = ()

    @property
    def name(self) -> str:
        return self.likeness.name

    @property
    def order(self) -> Order:
        return parse_order(self.prefer)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is written: the key of the row that is kept instead (null for it and for a row without copies), the
        rows of the cluster (null for a row that takes no part), different captions and hosts of it, and in which
        earlier data set the kept row is."""
        own = [f"{self.name}_duplicate_of", f"{self.name}_cluster_size", *(f"{self.name}_{c}s" for c in self.counted)]
        return (*own, f"{self.name}_duplicate_in") if self.against else tuple(own)

    @property
    def asked(self) -> pa.Schema:
        """Of a row on its way to its cluster."""
        own = [("id", pa.uint64()), ("high", pa.uint64()), ("low", pa.uint64())]
        return pa.schema([*own, *((c, pa.uint64()) for c in self.counted), *self.order.schema])

    @property
    def answered(self) -> pa.Schema:
        """Of an answer on its way to its row."""
        own = [("id", pa.uint64()), ("duplicate_of", pa.string()), ("size", pa.int64()), ("set", pa.int16())]
        return pa.schema([*own, *((c, pa.int64()) for c in self.counted)])

    def identity(self) -> Any:
        """What the fingerprint covers."""
        rules = [[name, rule.identity()] for name, rule in self.rules]
        return [self.card()[:-1], rules, [[e.root, e.mark] for e in self.earlier()], self.shards_per_part]

    def earlier(self) -> list[Earlier]:
        """The data sets that this one is compared with."""
        return [Earlier(root, self.name) for root in self.against]

    def taking_part(self, member: Member) -> Keep:
        """Which rows of a shard may take part: those that the rules keep, and of an earlier data set those that did."""
        if member.data_set:
            size = f"{self.name}_cluster_size"
            return np.asarray(member.shard.columns([size])[size].is_valid())
        return kept_rows(member.shard, self.rules)

    def card(self) -> Any:
        """What an earlier data set must have in common."""
        return [settings_of(self.likeness), list(self.prefer), list(self.counted), list(self.bounds)]

    def parts(self, shards: int) -> int:
        """How many parts each step has: so that earlier data sets are shared out too."""
        return part_count(shards + sum(len(earlier.card.shards) for earlier in self.earlier()), self.shards_per_part)

    def part_of(self, data_set: Numbers, number: Numbers, of: int) -> Numbers:
        """The part that has a shard: from the first on those of this data set, from the last on those of others."""
        part = number // self.shards_per_part % of
        return np.where(data_set == 0, part, of - 1 - part)

    def steps(self) -> tuple[Step, ...]:
        return (Ask(self), Answer(self), Mark(self))


@dataclass(frozen=True)
class OfClusters(Spread):
    """A step over groups of shards, or over ranges of digests, as many of these as of those."""

    clusters: Clusters

    @property
    def label(self) -> str:
        return f"{self.clusters.name}_{self.name}"

    def identity(self) -> Any:
        return [self.label, self.version, self.clusters.identity()]

    def parts(self, shards: int) -> int:
        return self.clusters.parts(shards)

    def require(self, runtime: Runtime) -> None:
        require_earlier(self.clusters.earlier(), self.clusters.card(), runtime.root)

    def own(self, part: Part, shards: Sequence[Shard]) -> list[Member]:
        """The shards of this data set that belong to a part."""
        numbered = shards_of(part, shards, self.clusters.shards_per_part)
        return [Member(0, number, shard) for number, shard in numbered]

    def members(self, part: Part, shards: Sequence[Shard]) -> list[Member]:
        """The same, and shards of earlier data sets, in order of the numbers of their rows."""
        found = self.own(part, shards)
        for data_set, earlier in enumerate(self.clusters.earlier(), 1):
            listed = earlier.shards()
            numbers = np.arange(len(listed))
            own = np.flatnonzero(self.clusters.part_of(numbers + 1, numbers, part.of) == part.number)
            found += [Member(data_set, number, listed[number]) for number in own.tolist()]
        return found


@dataclass(frozen=True)
class Ask(OfClusters):
    """Sends every row that takes part to the part of its digest."""

    name: ClassVar[str] = "ask"

    @property
    def reads(self) -> tuple[str, ...]:
        given = (*self.clusters.likeness.reads, *self.clusters.order.reads, *columns_of(self.clusters.rules))
        counted = {"caption": "caption", "host": "url"}
        return tuple(dict.fromkeys((*given, *(counted[c] for c in self.clusters.counted))))

    @property
    def writes(self) -> tuple[str, ...]:
        return (f"{self.clusters.name}: asked",)

    def run(self, part: Part, shards: Sequence[Shard], attempt: Attempt, runtime: Runtime) -> None:
        members = self.members(part, shards)
        outbox = Outbox(attempt, self.label, part, part.of, self.clusters.asked)
        likeness = self.clusters.likeness.digests(attempt.storage, part, members)
        for member, (rows, digests) in zip(members, likeness, strict=True):
            keep = self.clusters.taking_part(member)[rows]
            table = self._table(member, rows[keep], digests[keep])
            outbox.add(part_of_hash(np.asarray(table["high"]), part.of), table)
            attempt.counts["compared"] += len(table)
        outbox.close()

    def _table(self, member: Member, rows: Rows, digests: Digests) -> pa.Table:
        high, low = digests.T
        own = {"id": member.ids(rows), "high": high, "low": low}
        for name in self.clusters.counted:
            own[name] = _value_digests(member.shard, name)[rows]
        values = self.clusters.order.values(member.shard).take(pa.array(rows))
        return pa.table({**own, **dict(zip(values.column_names, values.columns, strict=True))})


@dataclass(frozen=True)
class Answer(OfClusters):
    """Finds the clusters among the rows that were sent to a part, and answers each row."""

    name: ClassVar[str] = "answer"

    @property
    def reads(self) -> tuple[str, ...]:
        return (f"{self.clusters.name}: asked",)

    @property
    def writes(self) -> tuple[str, ...]:
        return (f"{self.clusters.name}: answers",)

    def run(self, part: Part, shards: Sequence[Shard], attempt: Attempt, runtime: Runtime) -> None:
        outbox = Outbox(attempt, self.label, part, part.of, self.clusters.answered)
        for rows in ranges(attempt, f"{self.clusters.name}_ask", part, self.clusters.asked, "high"):
            answers = self._answers(rows)
            largest = max(attempt.counts["largest_cluster"], pc.max(answers["size"]).as_py() or 0)
            attempt.counts.update(_counted(answers))
            attempt.counts["largest_cluster"] = largest
            outbox.add(split_ids(np.asarray(answers["id"]))[1] // self.clusters.shards_per_part, answers)
        outbox.close()

    def _answers(self, rows: pa.Table) -> pa.Table:
        """One row per row of this data set."""
        groups = group(np.stack([np.asarray(rows["high"]), np.asarray(rows["low"])], axis=1))
        kept = self._best(groups, rows)[groups.of_rows]
        itself = kept == np.arange(len(kept))
        sets = split_ids(np.asarray(rows["id"]))[0].astype(np.int16)
        table = {
            "id": rows["id"],
            "duplicate_of": pc.if_else(
                pa.array(itself), pa.scalar(None, pa.string()), rows["key"].take(pa.array(kept))
            ),
            "size": groups.sizes[groups.of_rows],
            "set": sets[kept],
        }
        for name in self.clusters.counted:
            table[name] = _distinct(groups, np.asarray(rows[name]))[groups.of_rows]
        return pa.table(table).filter(pa.array(sets == 0)).cast(self.clusters.answered)

    def _best(self, groups: Groups, rows: pa.Table) -> Rows:
        """The row of each group that is to be kept; sorted are only groups of several."""
        best = groups.order[groups.starts] if len(groups) else np.empty(0, np.int64)
        several = groups.sizes > 1
        of = groups.numbers
        of, members = of[several[of]], groups.order[several[of]]
        age = split_ids(np.asarray(rows["id"])[members])[0]
        table = rows.take(pa.array(members))
        table = table.append_column("group", pa.array(of))
        table = table.append_column("age", pa.array(np.where(age == 0, np.iinfo(np.int64).max, age)))
        ranked = self.clusters.order.sort(table, "group", "age")
        best[several] = members[ranked[np.unique(of[ranked], return_index=True)[1]]]
        return best


@dataclass(frozen=True)
class Mark(OfClusters):
    """Writes the columns, and the card with which the data set can be an index."""

    name: ClassVar[str] = "mark"

    def identity(self) -> Any:
        return [super().identity(), self.clusters.bounds]

    @property
    def reads(self) -> tuple[str, ...]:
        return ("key", f"{self.clusters.name}: answers")

    @property
    def writes(self) -> tuple[str, ...]:
        return self.clusters.columns

    def run(self, part: Part, shards: Sequence[Shard], attempt: Attempt, runtime: Runtime) -> None:
        answers = collect(attempt.storage, f"{self.clusters.name}_answer", part, part.of, self.clusters.answered)
        ids = np.asarray(answers["id"])
        order = np.argsort(ids)
        _, numbers, rows = split_ids(ids[order])
        for _, number, shard in self.own(part, shards):
            start, end = np.searchsorted(numbers, [number, number + 1])
            key = shard.columns(["key"])["key"]
            places = np.full(len(key), -1, np.int64)
            places[rows[start:end]] = order[start:end]
            own = answers.take(pa.array(places, mask=places < 0))
            attempt.write_table(shard.table_name(f"{self.clusters.name}_clusters"), self._table(key, own))
        if part.number == 0:
            against = [Storage(root).root for root in self.clusters.against]
            card = Card(self.clusters.card(), [shard.id for shard in shards], part.of, against)
            write_card(attempt, self.clusters.name, card)

    def _table(self, key: pa.ChunkedArray, own: pa.Table) -> pa.Table:
        columns = [own["duplicate_of"], own["size"], *(own[name] for name in self.clusters.counted)]
        if self.clusters.against:
            names = pa.array([None, *(Storage(root).root for root in self.clusters.against)], pa.string())
            is_copy = own["duplicate_of"].is_valid()
            columns.append(pc.if_else(is_copy, names.take(own["set"]), pa.scalar(None, pa.string())))
        return pa.table({"key": key, **dict(zip(self.clusters.columns, columns, strict=True))})


def _value_digests(shard: Shard, name: str) -> npt.NDArray[np.uint64]:
    """A 64-bit digest of each row's caption, or of the host of its URL."""
    if name == "caption":
        values = shard.columns(["caption"])["caption"]
    else:
        hosts = pc.extract_regex(shard.columns(["url"])["url"], r"://(?:[^/?#@]*@)?(?P<host>[^/?#:]+)")
        values = pc.utf8_lower(pc.struct_field(hosts, "host"))
    return digest_strings(pc.fill_null(values.cast(pa.large_string()), ""))[:, 0]


def _distinct(groups: Groups, values: npt.NDArray[np.uint64]) -> Rows:
    """How many different values each group has."""
    if not len(groups):
        return np.empty(0, np.int64)
    of, own = groups.numbers, values[groups.order]
    order = np.lexsort((own, of))
    of, own = of[order], own[order]
    new = np.ones(len(of), np.int64)
    new[1:] = (of[1:] != of[:-1]) | (own[1:] != own[:-1])
    return np.add.reduceat(new, groups.starts)


def _counted(answers: pa.Table) -> dict[str, int]:
    """What the commit says: copies, and in how many clusters of several rows they are."""
    copies = len(answers) - answers["duplicate_of"].null_count
    kept = pc.and_(answers["duplicate_of"].is_null(), pc.greater(answers["size"], 1))
    return {"copies": copies, "clusters": pc.sum(kept).as_py() or 0}
