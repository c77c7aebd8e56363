"""Which tables a data set has, and which column files lie beside each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from curate.errors import CurateError
from curate.listing import Listed, listed_shards
from curate.report.counting.reading import Troubles
from curate.shard import PARTS
from curate.slices import in_current_cut
from curate.storage import Storage

__all__ = ["Layout", "drawn", "layout_of"]


@dataclass(frozen=True)
class Layout:
    """All tables by their shards' ids, in order: of samples (or documents), and of the parts of documents, each as the
    handle that reads it. `left_over`: ids of shards that the current cut does not have any more."""

    samples: tuple[Listed, ...]
    parts: tuple[Listed, ...]
    left_over: frozenset[str] = frozenset()

    def only(self, samples: tuple[Listed, ...]) -> Layout:
        """The tables of these shards."""
        ids = {one.id + PARTS for one in samples}
        return Layout(samples, tuple(one for one in self.parts if one.id in ids))


def layout_of(storage: Storage, troubles: Troubles) -> Layout:
    """The tables of a data set: a shard is what has any column file, be its sample table there or not. Raises
    StorageError where it cannot be listed."""
    there = listed_shards(storage)
    try:
        shards = in_current_cut(storage, there)
    except CurateError as error:
        troubles.add(f"{error}; all shards that are there are counted")
        shards = there
    left_over = frozenset(shard.id for shard in there) - {shard.id for shard in shards}
    if left_over:
        troubles.add(f"{len(left_over):,} shards are left over from an earlier cut; they are not counted")
    samples = tuple(shard for shard in shards if shard.families)
    return Layout(samples, tuple(shard.parts for shard in shards if shard.of_parts), left_over)


def drawn(shards: Sequence[Listed], most: int | None, seed: int) -> tuple[Listed, ...]:
    """`most` shards, evenly over all: as many stretches of neighbours, and of each the one that the seed draws by its
    id. None, or as many as there are: all."""
    if most is None or most >= len(shards):
        return tuple(shards)
    bounds = [len(shards) * place // most for place in range(most + 1)]
    return tuple(min(shards[a:b], key=lambda one: _draw(one.id, seed)) for a, b in pairwise(bounds))


def _draw(shard: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{shard}".encode()).digest()
