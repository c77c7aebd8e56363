"""Rows with equal digests, found by one sort.

Sorting by half of the digest and looking at the other half only where two of them meet takes 0.1 us a row; sorting by
both takes 0.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.dedup.digest import Digests

__all__ = ["Groups", "Rows", "group"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """Row numbers `order`, in which rows of a group are neighbours, in ascending order; a group begins at each start.

    The groups are in ascending order of their digests.
    """

    order: Rows
    starts: Rows

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def sizes(self) -> Rows:
        """Rows of each group."""
        return np.diff(np.append(self.starts, len(self.order)))

    @property
    def numbers(self) -> Rows:
        """The number of its group, for each place in `order`."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @property
    def of_rows(self) -> Rows:
        """The number of its group, for each row."""
        found = np.empty(len(self.order), np.int64)
        found[self.order] = self.numbers
        return found

    def sum(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The sum over each group of values that are given row by row."""
        return np.add.reduceat(values[self.order], self.starts) if len(self) else np.empty(0, np.int64)


def group(digests: Digests) -> Groups:
    """The groups of equal digests."""
    order = np.argsort(digests[:, 0], kind="stable")
    high, low = digests[order].T
    same_high, same_low = high[1:] == high[:-1], low[1:] == low[:-1]
    if (same_high & ~same_low).any():
        order = np.lexsort((digests[:, 1], digests[:, 0]))
        high, low = digests[order].T
        same_high, same_low = high[1:] == high[:-1], low[1:] == low[:-1]
    new = np.concatenate([[True], ~(same_high & same_low)])[: len(order)]
    return Groups(order, np.flatnonzero(new))
