"""Near copies among all rows: candidates meet in buckets, pairs are checked, and what hangs together is a cluster.

    gather  a part per group of shards   each row goes to its buckets: bands of a signature, chunks of a hash
    pair    a part per range of buckets  rows of one bucket are candidates for one another
    look    a part per group of shards   what the pair's first row is compared by (its text) goes along
    verify  a part per group of shards   the pair's second row is compared with it; what is near enough is an edge
    label   one process, memory bounded  components of the edges, whatever their number and size
    then ask, answer and mark (`curate.dedup.clusters`), with the component as the likeness

No process has all signatures: a part holds the entries of its range, and a pair that 25 bands have found is looked at
once, where its first row lies. Components are made of checked edges only: two true pairs that share a bucket by chance
stay two. `look` and `verify` are left out where the buckets themselves tell the distance (hashes of pictures).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.clusters import Clusters, Member, OfClusters
from curate.dedup.earlier import Earlier
from curate.dedup.nearness import LABEL, Evidence, Nearness, SameComponent
from curate.dedup.scatter import Ids, Outbox, deal, inbox, part_of_hash, ranges, row_ids, split_ids
from curate.manifest import Attempt
from curate.rank import require_one_model
from curate.select import columns_of
from curate.shard import Shard
from curate.stage import Barrier, Part, Runtime, Step
from curate.storage import Storage

__all__ = ["near_steps"]

PAIR = pa.schema({"left": pa.uint64(), "right": pa.uint64(), "sure": pa.bool_()})
VALUES = 1 << 16
"""What pairs are compared by is fetched for so many at a time: texts, or embeddings of some kB each."""
EDGE = pa.schema({"left": pa.uint64(), "right": pa.uint64(), "similarity": pa.float32()})


@dataclass(frozen=True)
class _Near(OfClusters):
    """A step of near copies: one of those below, with the settings of all."""

    @property
    def nearness(self) -> Nearness:
        assert isinstance(self.clusters.likeness, SameComponent)
        return self.clusters.likeness.nearness

    def columns_for(self, what: str) -> str:
        return f"{self.clusters.name}: {what}"

    def group_of(self, ids: Ids, of: int) -> npt.NDArray[np.int64]:
        """The part that has the shards of these rows."""
        data_set, number, _ = split_ids(ids)
        return self.clusters.part_of(data_set, number, of)


@dataclass(frozen=True)
class Gather(_Near):
    """Sends every row that takes part to its buckets."""

    name: ClassVar[str] = "gather"

    @property
    def about(self) -> str:
        return self.nearness.about

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.nearness.reads, *columns_of(self.clusters.rules))))

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.columns_for("entries"),)

    def run(self, part: Part, shards: Sequence[Shard], attempt: Attempt, runtime: Runtime) -> None:
        outbox = Outbox(attempt, self.label, part, part.of, _with_id(self.nearness.entry))
        for member in self.members(part, shards):
            rows = self.nearness.rows(member.shard)
            rows = rows[self.clusters.taking_part(member)[rows]]
            of, entries = self.nearness.entries(member.shard, rows, part.of)
            table = entries.add_column(0, "id", pa.array(member.ids(rows)[of]))
            outbox.add(part_of_hash(np.asarray(entries["key"]), part.of), table)
            attempt.counts["compared"] += len(rows)
        outbox.close()


@dataclass(frozen=True)
class Pair(_Near):
    """Finds the pairs of each bucket. Where they need no check they are edges, and go to no part but the label step."""

    name: ClassVar[str] = "pair"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.columns_for("entries"),)

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.columns_for("pairs"),)

    def run(self, part: Part, shards: Sequence[Shard], attempt: Attempt, runtime: Runtime) -> None:
        from curate.dedup.components import Ties

        checked = self.nearness.evidence is not None
        outbox = Outbox(attempt, self.label, part, part.of if checked else 1, PAIR)
        ties = Ties()
        for entries in ranges(attempt, f"{self.clusters.name}_gather", part, _with_id(self.nearness.entry), "key"):
            for found in self.nearness.pairs(entries, part.of):
                ties.add(_not_known_before(found.sure))
                self._send(outbox, _ordered(_not_known_before(found.unsure)), False)
                attempt.counts.update({"sure_pairs": len(found.sure), "candidates": len(found.unsure), **found.counts})
        self._send(outbox, ties.stars()[:, ::-1], True)
        outbox.close()

    def _send(self, outbox: Outbox, pairs: Ids, sure: bool) -> None:
        left, right = pairs.T
        table = pa.table({"left": left, "right": right, "sure": np.full(len(left), sure)}, schema=PAIR)
        outbox.add(self.group_of(left, outbox.of) if outbox.of > 1 else np.zeros(len(left), np.int64), table)


@dataclass(frozen=True)
class Look(_Near):
    """Sends each different pair to where its second row is, with the first row's evidence."""

    name: ClassVar[str] = "look"

    @property
    def reads(self) -> tuple[str, ...]:
        assert self.nearness.evidence is not None
        return (*self.nearness.evidence.reads, self.columns_for("pairs"))

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.columns_for("evidence"),)

    def run(self, part: Part, shards: Sequence[Shard], attempt: Attempt, runtime: Runtime) -> None:
        evidence = self.nearness.evidence
        assert evidence is not None
        members = self.members(part, shards)
        if evidence.of_model:
            require_one_model([*shards[:1], *(member.shard for member in members)], evidence.of_model)
        outbox = Outbox(attempt, self.label, part, part.of, PAIR.append(pa.field("value", evidence.kind)))
        for found in deal(attempt, f"{self.clusters.name}_pair", part, PAIR, "left"):
            pairs = _distinct(found)
            attempt.counts["pairs"] += len(pairs)
            for member in members:
                own = _of_member(pairs, "left", member)
                for some in (own.slice(start, VALUES) for start in range(0, len(own), VALUES)):
                    value = evidence.values(member.shard, split_ids(np.asarray(some["left"]))[2])
                    outbox.add(self.group_of(np.asarray(some["right"]), part.of), some.append_column("value", value))
        outbox.close()


@dataclass(frozen=True)
class Verify(_Near):
    """Compares each pair exactly, and keeps what is near enough."""

    name: ClassVar[str] = "verify"

    @property
    def reads(self) -> tuple[str, ...]:
        assert self.nearness.evidence is not None
        return (*self.nearness.evidence.reads, self.columns_for("evidence"))

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.columns_for("edges"),)

    def run(self, part: Part, shards: Sequence[Shard], attempt: Attempt, runtime: Runtime) -> None:
        evidence = self.nearness.evidence
        assert evidence is not None
        schema = PAIR.append(pa.field("value", evidence.kind))
        outbox = Outbox(attempt, self.label, part, 1, EDGE)
        members = self.members(part, shards)
        for found in deal(attempt, f"{self.clusters.name}_look", part, schema, "right"):
            pairs = found.sort_by([("right", "ascending"), ("left", "ascending")])
            for member in members:
                own = _of_member(pairs, "right", member)
                if len(own):
                    edges = _edges(evidence, own, member.shard)
                    attempt.counts.update({"compared": len(own), "edges": len(edges)})
                    outbox.add(np.zeros(len(edges), np.int64), edges)
        outbox.close()


@dataclass(frozen=True)
class Label(Barrier):
    """Components of all edges: a label for each row that has one, the smallest row number of its component."""

    clusters: Clusters
    checked: bool

    name: ClassVar[str] = "label"

    @property
    def label(self) -> str:
        return f"{self.clusters.name}_{self.name}"

    @property
    def reads(self) -> tuple[str, ...]:
        return (f"{self.clusters.name}: {'edges' if self.checked else 'pairs'}",)

    @property
    def writes(self) -> tuple[str, ...]:
        return (f"{self.clusters.name}: labels",)

    def identity(self) -> Any:
        return [self.label, self.version, self.clusters.identity()]

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        from curate.dedup.components import components

        parts = self.clusters.parts(len(shards))
        outbox = Outbox(attempt, self.label, Part(0, 1), parts, LABEL)
        folder = attempt.scratch / "components"
        for nodes, labels in components(self._stars(attempt, parts, folder), folder / "work"):
            data_set, number, _ = split_ids(nodes)
            groups = self.clusters.part_of(data_set, number, parts)
            outbox.add(groups, pa.table({"node": nodes, "label": labels}, schema=LABEL))
            attempt.counts["tied_rows"] += len(nodes)
            attempt.counts["components"] += int((nodes == labels).sum())
        outbox.close()
        shutil.rmtree(folder, ignore_errors=True)

    def _stars(self, attempt: Attempt, parts: int, folder: Path) -> list[Path]:
        """The edges of each part, contracted, as files."""
        from curate.dedup.components import Ties, write_edges

        before = f"{self.clusters.name}_{'verify' if self.checked else 'pair'}"
        paths = []
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(parts):
            ties = Ties()
            for table in inbox(attempt.storage, before, 0, (number,), 1):
                ties.add(_edges_of([table], "left", "right"))
            paths.append(folder / f"{number}.npy")
            write_edges(paths[-1], ties.stars())
        for data_set, earlier in enumerate(self.clusters.earlier(), 1):
            for number, edges in enumerate(_known_before(earlier, data_set)):
                paths.append(folder / f"{data_set}-{number}.npy")
                write_edges(paths[-1], edges)
        return paths


def near_steps(clusters: Clusters) -> tuple[Step, ...]:
    """All steps from signatures to columns. The likeness of `clusters` is a SameComponent."""
    assert isinstance(clusters.likeness, SameComponent)
    checked = clusters.likeness.nearness.evidence is not None
    between = (Look(clusters), Verify(clusters)) if checked else ()
    return (Gather(clusters), Pair(clusters), *between, Label(clusters, checked), *clusters.steps())


def _with_id(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field("id", pa.uint64()), *schema])


def _ordered(pairs: Ids) -> Ids:
    """Each different pair once, the smaller number first."""
    both = np.sort(pairs, axis=1)
    order = np.lexsort((both[:, 1], both[:, 0]))
    both = both[order]
    new = np.ones(len(both), bool)
    new[1:] = (both[1:] != both[:-1]).any(axis=1)
    return both[new]


def _not_known_before(pairs: Ids) -> Ids:
    """Pairs but for those of two rows of one earlier data set, which its own run has looked at."""
    one, other = split_ids(pairs[:, 0])[0], split_ids(pairs[:, 1])[0]
    kept: Ids = pairs[(one == 0) | (one != other)]
    return kept


def _known_before(earlier: Earlier, data_set: int) -> Iterator[Ids]:
    """What ties the rows of an earlier data set, as its own run found it: stars, part by part."""
    parts = earlier.card.parts
    for number in range(parts):
        edges = _edges_of(inbox(Storage(earlier.root), f"{earlier.name}_label", number, (0,), parts), "node", "label")
        yield edges[split_ids(edges[:, 0])[0] == 0] | np.uint64(data_set << 56)


def _edges_of(tables: Iterable[pa.Table], *ends: str) -> Ids:
    """Two columns as edges, uint64 (n, 2)."""
    found = [np.stack([np.asarray(table[end]) for end in ends], axis=1) for table in tables]
    return np.concatenate([np.empty((0, 2), np.uint64), *found])


def _distinct(pairs: pa.Table) -> pa.Table:
    """Each different pair once, in order; sure where one of its finders was."""
    left, right, sure = (np.asarray(pairs[name]) for name in PAIR.names)
    order = np.lexsort((~sure, right, left))
    left, right, sure = left[order], right[order], sure[order]
    new = np.ones(len(left), bool)
    new[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    return pa.table({"left": left[new], "right": right[new], "sure": sure[new]}, schema=PAIR)


def _of_member(pairs: pa.Table, column: str, member: Member) -> pa.Table:
    """Of pairs in order of `column`, those whose row there lies in this shard."""
    first = row_ids(member.number, np.zeros(1, np.int64), member.data_set)
    bounds = np.concatenate([first, first + np.uint64(1 << 32)])
    start, end = np.searchsorted(np.asarray(pairs[column]), bounds)
    return pairs.slice(start, end - start)


def _edges(evidence: Evidence, pairs: pa.Table, shard: Shard) -> pa.Table:
    """The pairs that are near. Sure ones are equal, and are not compared again."""
    similarity = np.ones(len(pairs))
    unsure = np.flatnonzero(~np.asarray(pairs["sure"]))
    own = pairs.take(pa.array(unsure))
    right = evidence.values(shard, split_ids(np.asarray(own["right"]))[2])
    similarity[unsure] = evidence.similarity(own["value"].combine_chunks(), right)
    near = np.flatnonzero(similarity >= evidence.least)
    table = pairs.select(["left", "right"]).append_column("similarity", pa.array(similarity, pa.float32()))
    return table.take(pa.array(near))
