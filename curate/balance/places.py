"""The place of each row within its group, at any number of shards: what a cap per host needs, and a share per cluster.

Rows are sorted by group, then by score (the highest first), then by a number drawn for what the row is. One pass takes
a sample and cuts the order into ranges of about `bin_rows` rows, a second puts the rows into them, each range is sorted
alone, and a group that goes on in the next range keeps its count. So a language that half of all rows have takes no
more memory than a host with ten: that of a range (some 150 bytes a row) and of the largest shard. Places depend neither
on ranges nor on how rows are packed; copies of one row share theirs among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.bins import BUFFER_BYTES, Bins
from curate.dedup.digest import Digests
from curate.shard import Shard

__all__ = ["BIN_ROWS", "Asked", "Placed", "places_in_groups"]

BIN_ROWS = 2_000_000
SAMPLED = 64
"""Rows of the sample for each range, on average."""
LOW_BITS = np.uint64(0xFFFFFFFF)

Rows = npt.NDArray[np.int64]
Columns: TypeAlias = tuple[npt.NDArray[np.generic], ...]


class Asked(NamedTuple):
    """Rows of a shard that want a place: of `total` rows those numbered `rows`, with their groups, uint64 (n, 2), a
    score without not-a-number, float64 (n,), and what is drawn for each, uint64 (n,)."""

    total: int
    rows: Rows
    groups: Digests
    scores: npt.NDArray[np.float64]
    draws: npt.NDArray[np.uint64]

    @property
    def order(self) -> Columns:
        """The columns to sort by, the last one first, as `np.lexsort` wants them."""
        return self.draws, -self.scores, self.groups[:, 1], self.groups[:, 0]


class Placed(NamedTuple):
    """The answer for a shard: the rows that have a place, and the places, from 0."""

    total: int
    rows: Rows
    places: Rows


def places_in_groups(
    shards: Sequence[Shard],
    ask: Callable[[Shard], Asked],
    folder: Path,
    bin_rows: int = BIN_ROWS,
    buffer_bytes: int = BUFFER_BYTES,
) -> Iterator[Placed]:
    """For each shard in its turn, the places of the rows that it asks about. `ask` is called twice for each.

    `folder` is for scratch files; what was read is removed.
    """
    cuts = _cuts(shards, ask, bin_rows)
    sorted_in, back = Bins(folder / "groups", buffer_bytes), Bins(folder / "shards", buffer_bytes)
    totals = []
    for number, shard in enumerate(shards):
        asked = ask(shard)
        totals.append(asked.total)
        sorted_in.add(_ranges(asked.order, cuts), _table(asked, number))
    last, count = None, 0
    for number in range(len(cuts[0]) + 1):
        found = sorted_in.read(number)
        if found is not None:
            placed, last, count = _place(found, last, count)
            back.add(np.asarray(placed["shard"]).astype(np.int64), placed)
    for number, total in enumerate(totals):
        own = back.read(number)
        rows, places = (np.asarray(own[name]) if own else np.empty(0, np.int64) for name in ("row", "place"))
        yield Placed(total, rows, places)


def _cuts(shards: Sequence[Shard], ask: Callable[[Shard], Asked], bin_rows: int) -> Columns:
    """Where ranges end: one row of the order for each but the last range. The sample is of what rows are."""
    ranges = -(-sum(shard.rows() for shard in shards) // bin_rows)
    if ranges <= 1:
        return tuple(np.empty(0, kind) for kind in (np.uint64, np.float64, np.uint64, np.uint64))
    share = np.uint64(min(max(1, SAMPLED * (1 << 32) // bin_rows), 1 << 32))
    parts = []
    for shard in shards:
        asked = ask(shard)
        chosen = (asked.draws & LOW_BITS) < share
        parts.append(tuple(column[chosen] for column in asked.order))
    sample = tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort(sample)
    steps = order[np.linspace(0, len(order), ranges + 1).astype(np.int64)[1:-1]] if len(order) else order
    return tuple(column[steps] for column in sample)


def _ranges(order: Columns, cuts: Columns) -> Rows:
    """The range of each row: how many cuts lie before it. One that equals a cut lies before it."""
    rows, ends = len(order[0]), len(cuts[0])
    if not ends:
        return np.zeros(rows, np.int64)
    is_cut = np.repeat([0, 1], [rows, ends])
    together = np.lexsort((is_cut, *(np.concatenate(pair) for pair in zip(order, cuts, strict=True))))
    before = np.empty(rows + ends, np.int64)
    before[together] = np.cumsum(is_cut[together])
    return before[:rows]


def _table(asked: Asked, number: int) -> pa.Table:
    columns = {"draw": asked.draws, "score": asked.scores, "low": asked.groups[:, 1], "high": asked.groups[:, 0]}
    return pa.table({**columns, "shard": np.full(len(asked.rows), number, np.int32), "row": asked.rows})


def _place(found: pa.Table, last: tuple[int, int] | None, count: int) -> tuple[pa.Table, tuple[int, int], int]:
    """The rows of a range with their places, its last group, and how many rows that has up to here."""
    draws, scores, low, high = (np.asarray(found[name]) for name in ("draw", "score", "low", "high"))
    order = np.lexsort((draws, -scores, low, high))
    low, high = low[order], high[order]
    new = np.ones(len(order), bool)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(new)
    places = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    if last == (int(high[0]), int(low[0])):
        places[: starts[1] if len(starts) > 1 else len(places)] += count
    own = found.select(["shard", "row"]).take(order).append_column("place", pa.array(places))
    return own, (int(high[-1]), int(low[-1])), int(places[-1]) + 1
