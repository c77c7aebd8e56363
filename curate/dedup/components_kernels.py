"""Union-find over the nodes of one bucket, and the shuffle of rows, as compiled loops.

Nodes are met one by one and numbered as they come, in an open table of int32 numbers (load at most a half), so memory
follows the number of distinct nodes and not that of edges: 16 to 36 bytes a node for `contract`, 36 to 72 for a
bucket. No edge is sorted and no edge is kept: an edge is read once, and what is left of it is at most one other edge.

Buckets order nodes by a bijective mix of their ids (the finaliser of splitmix64, Steele, Lea and Flood 2014), so that
any set of ids is spread evenly and an edge falls to a random bucket below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["MAX_NODES", "Nodes", "mix", "scatter", "unmix"]

Ids = npt.NDArray[np.uint64]

MAX_NODES = 1 << 30
"""Nodes of one table: twice as many slots are numbered by int32."""

FIRST_NODES = 1 << 10
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_A, _B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_A_BACK, _B_BACK = np.uint64(pow(0xBF58476D1CE4E5B9, -1, 1 << 64)), np.uint64(pow(0x94D049BB133111EB, -1, 1 << 64))
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)
_54, _60, _62 = np.uint64(54), np.uint64(60), np.uint64(62)


def mix(ids: Ids) -> Ids:
    """Numbers that look random, one for each id."""
    ids = (ids ^ (ids >> _30)) * _A
    ids = (ids ^ (ids >> _27)) * _B
    mixed: Ids = ids ^ (ids >> _31)
    return mixed


def unmix(mixed: Ids) -> Ids:
    """The ids of which `mix` made these."""
    mixed = (mixed ^ (mixed >> _31) ^ (mixed >> _62)) * _B_BACK
    mixed = (mixed ^ (mixed >> _27) ^ (mixed >> _54)) * _A_BACK
    ids: Ids = mixed ^ (mixed >> _30) ^ (mixed >> _60)
    return ids


_unmix_one = njit(cache=True, nogil=True, inline="always")(unmix)


@njit(cache=True, nogil=True, inline="always")
def _slot_of(slots: npt.NDArray[np.int32], shift: np.uint64, node: Ids, wanted: np.uint64) -> np.int64:
    """Where the node stands in the table, or the free slot where it would."""
    mask = len(slots) - 1
    slot = np.int64((wanted * _GOLDEN) >> shift)
    while slots[slot] >= 0 and node[slots[slot]] != wanted:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def _root(parent: npt.NDArray[np.int32], number: int) -> int:
    """The root, halving the path to it."""
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number


@njit(cache=True, nogil=True)
def _number(slots: npt.NDArray[np.int32], shift: np.uint64, node: Ids, count: int) -> None:
    """Put nodes that are there already into an empty table."""
    for number in range(count):
        slots[_slot_of(slots, shift, node, node[number])] = number


@njit(cache=True, nogil=True)
def _join(
    edges: Ids, slots: npt.NDArray[np.int32], shift: np.uint64, node: Ids, parent: npt.NDArray[np.int32], count: int
) -> int:
    """Unite the ends of plain edges under the smaller id; the number of nodes afterwards."""
    for at in range(len(edges)):
        ends = (0, 0)
        for side in range(2):
            slot = _slot_of(slots, shift, node, edges[at, side])
            if slots[slot] < 0:
                slots[slot], node[count], parent[count] = count, edges[at, side], count
                count += 1
            ends = (ends[1], _root(parent, slots[slot]))
        if node[ends[0]] < node[ends[1]]:
            parent[ends[1]] = ends[0]
        else:
            parent[ends[0]] = ends[1]
    return count


@njit(cache=True, nogil=True)
def _sink(edges, first, slots, shift, node, parent, below, low, count, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913
    """`Nodes.sink` for edges (k, 2): the nodes, and the edges left over, written to `out` (k, 2)."""
    left = 0
    for at in range(len(edges)):
        slot = _slot_of(slots, shift, node, edges[at, 0])
        if slots[slot] < 0:
            slots[slot], node[count], parent[count] = count, edges[at, 0], count
            below[count], low[count] = edges[at, 0], _unmix_one(edges[at, 0])
            count += 1
        root, other = _root(parent, slots[slot]), edges[at, 1]
        if other >= first:
            slot = _slot_of(slots, shift, node, other)
            if slots[slot] < 0:
                slots[slot], node[count], parent[count] = count, other, count
                below[count], low[count] = other, _unmix_one(other)
                count += 1
            second = _root(parent, slots[slot])
            if second == root:
                continue
            parent[second] = root
            low[root] = min(low[root], low[second])
            other = below[second]
            if other >= first:
                continue
        known = below[root]
        if known >= first:
            below[root] = other
        elif known != other:
            out[left, 0], out[left, 1] = max(known, other), min(known, other)
            below[root] = min(known, other)
            left += 1
    return count, left


@njit(cache=True, nogil=True)
def _hear(asks, slots, shift, node, parent, below, low, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913
    """`Nodes.hear` for rows of (node, who asks, its smallest id)."""
    for at in range(len(asks)):
        slot = _slot_of(slots, shift, node, asks[at, 0])
        if slots[slot] < 0:
            slots[slot], node[count], parent[count] = count, asks[at, 0], count
            below[count], low[count] = asks[at, 0], _unmix_one(asks[at, 0])
            count += 1
        root = _root(parent, slots[slot])
        low[root] = min(low[root], asks[at, 2])
    return count


@njit(cache=True, nogil=True)
def _flatten(parent: npt.NDArray[np.int32]) -> None:
    for number in range(len(parent)):
        parent[number] = _root(parent, number)


@njit(cache=True, nogil=True)
def _find(wanted: Ids, slots: npt.NDArray[np.int32], shift: np.uint64, node: Ids, found: npt.NDArray[np.int64]) -> None:
    for at in range(len(wanted)):
        found[at] = slots[_slot_of(slots, shift, node, wanted[at])]


@njit(cache=True, nogil=True)
def scatter(rows: Ids, targets: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], out: Ids) -> None:
    """Rows (n, w) in order of their targets, stable, into `out`; `ends` is where each target begins, and is moved."""
    for at in range(len(rows)):
        place = ends[targets[at]]
        ends[targets[at]] = place + 1
        for column in range(rows.shape[1]):
            out[place, column] = rows[at, column]


@dataclass
class Nodes:
    """A union-find that numbers its nodes as it meets them.

    `node` uint64: the nodes by number. `parent` int32. In a bucket, for roots: `low` uint64, the smallest id known,
    and `below` uint64, the smallest node of a lower bucket that the root is tied to (the root itself when none).
    """

    slots: npt.NDArray[np.int32]
    node: Ids
    parent: npt.NDArray[np.int32]
    below: Ids
    low: Ids
    count: int = 0

    @classmethod
    def empty(cls, bucket: bool) -> Nodes:
        """No nodes yet. Only a `bucket` has `below` and `low`."""
        size = FIRST_NODES
        more = size if bucket else 0
        node, parent = np.empty(size, np.uint64), np.empty(size, np.int32)
        return cls(np.full(2 * size, -1, np.int32), node, parent, np.empty(more, np.uint64), np.empty(more, np.uint64))

    @classmethod
    def of(cls, node: Ids) -> Nodes:
        """Nodes that were numbered before, only to be found."""
        nothing = np.empty(0, np.uint64)
        nodes = cls(np.empty(0, np.int32), node, np.empty(0, np.int32), nothing, nothing, len(node))
        nodes._number(len(node))
        return nodes

    @property
    def _shift(self) -> np.uint64:
        return np.uint64(65 - len(self.slots).bit_length())

    def _number(self, size: int) -> None:
        self.slots = np.full(2 << max(1, size - 1).bit_length(), -1, np.int32)
        _number(self.slots, self._shift, self.node, self.count)

    def reserve(self, more: int) -> None:
        """Make room for so many nodes. Raises ValueError above MAX_NODES."""
        wanted, size = self.count + more, len(self.node)
        if wanted > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES - more:,} distinct nodes in one table; use more partitions")
        if wanted <= size:
            return
        size = max(wanted, size + size // 2)
        for name in ("node", "parent", "below", "low"):
            old = getattr(self, name)
            if len(old):
                setattr(self, name, np.concatenate([old[: self.count], np.empty(size - self.count, old.dtype)]))
        if 2 * size > len(self.slots):
            self._number(size)

    def join(self, edges: Ids) -> None:
        """Unite the ends of edges (k, 2), under the smallest of them."""
        self.reserve(2 * len(edges))
        self.count = _join(edges, self.slots, self._shift, self.node, self.parent, self.count)

    def sink(self, edges: Ids, first: int) -> Ids:
        """Unite what edges (k, 2) tie together in this bucket, whose nodes begin at `first`; what is left, (l, 2).

        The larger end stands first, and is of this bucket. What is left ties nodes of lower buckets: of every two that
        met at a root, the larger to the smaller. So a set of edges loses an edge for each root that found no node
        below before, and never grows.
        """
        self.reserve(2 * len(edges))
        out = np.empty((len(edges), 2), np.uint64)
        self.count, left = _sink(
            edges,
            np.uint64(first),
            self.slots,
            self._shift,
            self.node,
            self.parent,
            self.below,
            self.low,
            self.count,
            out,
        )
        return out[:left]

    def hear(self, asks: Ids) -> None:
        """Learn the smallest ids that came from buckets above: rows (k, 3) of node, who asks, smallest id."""
        self.reserve(len(asks))
        self.count = _hear(asks, self.slots, self._shift, self.node, self.parent, self.below, self.low, self.count)

    def flatten(self) -> npt.NDArray[np.int32]:
        """The number of its root, for each node."""
        parent = self.parent[: self.count]
        _flatten(parent)
        return parent

    def find(self, wanted: Ids) -> npt.NDArray[np.int64]:
        """The numbers of nodes; -1 for those that are not here."""
        found = np.empty(len(wanted), np.int64)
        _find(wanted, self.slots, self._shift, self.node, found)
        return found
