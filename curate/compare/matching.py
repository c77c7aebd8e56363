"""The same row in two data sets: by what it is, not by where it lies, so other shard sizes and orders match.

First rows whose URL, caption and SHA-256 are equal, copies by number of occurrence; then, of what is left, rows with a
URL whose URL and caption are equal: the picture changed, or was fetched in one run and not in the other. Rows are dealt
to bins by URL and caption (by all three where there is no URL), so both steps find their partners in one bin, and
memory holds one bin of some half a million rows: the rest is in a temporary folder, 45 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.compare.verdicts import ABSENT, Codes
from curate.dedup.bins import Bins
from curate.dedup.digest import Digests
from curate.dedup.scatter import Ids, part_of_hash

__all__ = ["NOWHERE", "Pairs", "Rows", "matched", "same"]

Places: TypeAlias = npt.NDArray[np.int64]

NOWHERE = np.uint64(0xFFFFFFFFFFFFFFFF)
"""The place of a row that a side does not have."""
BIN_BITS = 19
"""Of the number of rows that a bin has on average."""


@dataclass(frozen=True)
class Rows:
    """Rows of one side. `identity`, `wider`: digests of who a row is, with its picture and without (uint64 (n, 2));
    the same where there is no URL. `codes`: its verdict; `places`: where it lies (`curate.dedup.scatter.row_ids`)."""

    identity: Digests
    wider: Digests
    codes: Codes
    places: Ids

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Places) -> Rows:
        """Some of the rows."""
        return Rows(self.identity[rows], self.wider[rows], self.codes[rows], self.places[rows])


@dataclass(frozen=True)
class Pairs:
    """Rows of both sides, one per row that either has. `a`, `b`: verdicts, ABSENT in a side that has it not, where its
    place is NOWHERE. `keys`: who the row is, without its picture (uint64 (n, 2)); None where nobody asked. `by_url`:
    how many were matched by URL and caption alone."""

    a: Codes
    b: Codes
    places_a: Ids
    places_b: Ids
    keys: Digests | None = None
    by_url: int = 0


def matched(a: Iterable[Rows], b: Iterable[Rows], total: int, folder: Path) -> Iterator[Pairs]:
    """All rows of both sides, bin by bin. `total`: rows of both, about; `folder`: an empty one. Raises StorageError
    when the disk refuses."""
    bins = max(1, total >> BIN_BITS)
    dealt = [_deal(rows, bins, folder / name) for name, rows in (("a", a), ("b", b))]
    for number in range(bins):
        yield _pair(*(_rows(one.read(number)) for one in dealt))


def same(a: Digests, b: Digests) -> tuple[Places, Places]:
    """Which rows of `a` and of `b` are equal: the first of `a` is that of `b` of the same number of occurrence."""
    both = np.concatenate([a, b])
    order = np.lexsort((both[:, 1], both[:, 0]))
    ordered = both[order]
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])[: len(order)]
    of_b = order >= len(a)
    group = np.cumsum(new) - 1
    in_b = np.bincount(group, of_b).astype(np.int64)
    in_a = np.bincount(group).astype(np.int64) - in_b
    place = np.arange(len(order)) - np.flatnonzero(new)[group] - np.where(of_b, in_a[group], 0)
    paired = place < np.minimum(in_a, in_b)[group]
    return order[paired & ~of_b], order[paired & of_b] - len(a)


def _deal(rows: Iterable[Rows], bins: int, folder: Path) -> Bins:
    dealt = Bins(folder)
    for some in rows:
        columns = {
            **{f"identity_{half}": some.identity[:, half] for half in (0, 1)},
            **{f"wider_{half}": some.wider[:, half] for half in (0, 1)},
            "code": some.codes,
            "place": some.places,
        }
        dealt.add(part_of_hash(some.wider[:, 0], bins), pa.table(columns))
    return dealt


def _rows(table: pa.Table | None) -> Rows:
    if table is None:
        nobody = np.empty((0, 2), np.uint64)
        return Rows(nobody, nobody, np.empty(0, np.int32), np.empty(0, np.uint64))
    column = {name: table[name].to_numpy() for name in table.column_names}
    identity, wider = (np.stack([column[f"{name}_{half}"] for half in (0, 1)], 1) for name in ("identity", "wider"))
    return Rows(identity, wider, column["code"], column["place"])


def _pair(a: Rows, b: Rows) -> Pairs:
    equal_a, equal_b = same(a.identity, b.identity)
    left_a, left_b = _others(len(a), equal_a), _others(len(b), equal_b)
    near_a, near_b = same(a.wider[left_a], b.wider[left_b])
    in_a = a.take(np.concatenate([equal_a, left_a[near_a]]))
    in_b = b.take(np.concatenate([equal_b, left_b[near_b]]))
    only_a, only_b = a.take(_others(len(left_a), near_a, left_a)), b.take(_others(len(left_b), near_b, left_b))
    absent = (np.full(len(only), ABSENT, np.int32) for only in (only_a, only_b))
    nowhere = (np.full(len(only), NOWHERE) for only in (only_a, only_b))
    beside_a, beside_b = absent
    away_a, away_b = nowhere
    return Pairs(
        np.concatenate([in_a.codes, only_a.codes, beside_b]),
        np.concatenate([in_b.codes, beside_a, only_b.codes]),
        np.concatenate([in_a.places, only_a.places, away_b]),
        np.concatenate([in_b.places, away_a, only_b.places]),
        np.concatenate([in_a.wider, only_a.wider, only_b.wider]),
        len(near_a),
    )


def _others(rows: int, taken: Places, names: Places | None = None) -> Places:
    """The rows that are not taken, by their names where they have some."""
    free = np.ones(rows, bool)
    free[taken] = False
    return np.flatnonzero(free) if names is None else names[free]
