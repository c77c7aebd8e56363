"""Which tables a data set has, and which column files lie beside each: one listing, however many shards there are.

`Shard` lists the folder once a shard, which is fine for one and takes an hour for 40,000 of 20 files each. So the
shards that are given to whoever reads them further (galleries, copies) know their files, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from curate.shard import NO_SHARD, PARTS, Shard
from curate.storage import Storage

__all__ = ["Layout", "Listed", "Table", "drawn", "layout_of"]

INDEX = "index"
"""A family that is none: its rows are members of the tar."""
LOGS = ("fetch_log", "pages_log")
"""Times of one run, which say nothing of the data."""


@dataclass(frozen=True)
class Listed(Shard):
    """A shard that need not list the folder: `families` are its column files, `of_parts` those of its parts."""

    families: tuple[str, ...] = ()
    of_parts: tuple[str, ...] = ()

    @property
    def parts(self) -> Shard:
        return Listed(self.storage, self.id + PARTS, self.of_parts)

    def _families(self) -> list[str]:
        return list(self.families)


@dataclass(frozen=True)
class Table:
    """One table of a shard, its samples (or documents) or their parts: `families` are its column files that are there,
    "" the sample table itself."""

    shard: Shard
    families: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """All tables by their shards' ids, in order. `parts` have an entry for each shard of documents."""

    samples: tuple[Table, ...]
    parts: tuple[Table, ...]

    @property
    def shards(self) -> tuple[Shard, ...]:
        return tuple(table.shard for table in self.samples)

    def only(self, shards: Sequence[Shard]) -> Layout:
        """The tables of these shards."""
        ids = {shard.id for shard in shards}
        own = tuple(table for table in self.samples if table.shard.id in ids)
        return Layout(own, tuple(table for table in self.parts if table.shard.id.removesuffix(PARTS) in ids))


def layout_of(storage: Storage) -> Layout:
    """The tables of a data set: a shard is what has any column file, be its sample table there or not."""
    families: dict[str, list[str]] = {}
    for name in storage.files():
        stem = name.removesuffix(".parquet")
        shard, _, family = stem.partition(".")
        if stem != name and shard and shard != NO_SHARD and "." not in family and family not in (INDEX, *LOGS):
            families.setdefault(shard, []).append(family)
    own = {shard: tuple(sorted(names)) for shard, names in sorted(families.items())}
    shards = [Listed(storage, shard, names, own.get(shard + PARTS, ())) for shard, names in own.items()]
    tables = [Table(shard, shard.families) for shard in shards]
    parts = tuple(table for table in tables if table.shard.id.endswith(PARTS))
    return Layout(tuple(table for table in tables if not table.shard.id.endswith(PARTS)), parts)


def drawn(shards: Sequence[Shard], most: int | None, seed: int) -> tuple[Shard, ...]:
    """`most` shards, evenly over all: as many stretches of neighbours, and of each the one that the seed draws by its
    id. None, or as many as there are: all."""
    if most is None or most >= len(shards):
        return tuple(shards)
    bounds = [len(shards) * place // most for place in range(most + 1)]
    return tuple(min(shards[a:b], key=lambda one: _draw(one.id, seed)) for a, b in pairwise(bounds))


def _draw(shard: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{shard}".encode()).digest()
