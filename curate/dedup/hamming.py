"""Every pair of hashes within a Hamming radius, none missed: 64-bit (pHash, dHash) and 256-bit (PDQ).

Hashes are cut into chunks, and two that are close differ little in some chunk (`hamming_plan` says why and how many).
A chunk is a table: the hashes sorted by its value. Joining a table with itself under every small change of the value
reads it in a row, and compares a bucket of some hundred at a time with vector instructions. At radius 8 of 64, 10
million hashes are joined with themselves in 25 CPU seconds and 0.8 GB, where asking faiss's flat index about each of
them takes 35,000; a query takes 16 us there, and 3.5 ms of faiss (`bench/hamming.py`).

The promise is exactness; time and results follow from the hashes. Equal hashes are one hash: a million of them cost one
comparison and 999,999 rows. A million *different* hashes within the radius of one another are 5e11 results, and nothing
can be both exact and short: `Cap` bounds the results per hash and counts what it left out; off unless asked for. Hashes
that share most bits of their chunks, as flat pictures do, are compared with each other without being results, for
0.1 ns a pair.

A part of the work is a range of bucket values of one chunk. It needs the buckets of that range and those whose values
differ from them by up to the chunk's limit, and gives the pairs that no earlier chunk finds; so every pair comes from
one part, and parts can be tasks: `pairs_within_part`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.dedup.hamming_kernels import find_matches, find_pairs
from curate.dedup.hamming_plan import Chunks, choose, masks_of
from curate.dedup.hamming_tables import (
    ROOM,
    Distinct,
    Found,
    Hashes,
    distinct_of,
    make_table,
    permuted,
    strips,
)

__all__ = ["Cap", "Index", "Pairs", "pairs_within", "pairs_within_part", "search"]

STRIPS = 8
"""Of a table, for each thread."""
LEFT_OUT = 5
"""Its place in the state of a join."""


class Pairs(NamedTuple):
    """Rows of two ids uint64 (k,), the smaller at the left, and their distance int16 (k,)."""

    left: npt.NDArray[np.uint64]
    right: npt.NDArray[np.uint64]
    distance: npt.NDArray[np.int16]


@dataclass
class Cap:
    """At most `results` a hash; a pair is kept while either of its hashes has room. `left_out` counts the others.

    Which are kept depends on the order of the tables, and in parts of a whole on their number: each counts for itself.
    """

    results: int
    left_out: int = 0


def pairs_within(
    hashes: Hashes,
    radius: int,
    ids: npt.NDArray[np.uint64] | None = None,
    threads: int = 1,
    cap: Cap | None = None,
) -> Iterator[Pairs]:
    """All pairs of hashes uint64 (n,) or (n, words) that differ by up to `radius` bits, in chunks of memory.

    Of equal hashes the smallest id stands for all: the others are tied to it, at distance 0, and pairs of different
    hashes are between those that stand for them. So each pair of different hashes comes once, components over these
    edges are those over all pairs, and n equal hashes give n - 1 rows. `ids` are row numbers unless given. Takes some
    70 bytes a 64-bit hash and 200 one of 256 bits. Raises ValueError for bad shapes and radii.
    """
    yield from pairs_within_part(hashes, radius, (0, 1), ids, threads, cap)


def pairs_within_part(
    hashes: Hashes,
    radius: int,
    part: tuple[int, int],
    ids: npt.NDArray[np.uint64] | None = None,
    threads: int = 1,
    cap: Cap | None = None,
) -> Iterator[Pairs]:
    """What one part of the work, (number from 0, how many), has of `pairs_within`: all parts together have all, once.

    Parts are of about equal cost, and sort only the chunks they need.
    """
    hashes, radius = _checked(hashes, radius)
    ids = np.arange(len(hashes), dtype=np.uint64) if ids is None else ids
    if not 0 <= part[0] < part[1]:
        raise ValueError(f"part {part[0]} of {part[1]}: parts count from 0")
    if ids.shape != (len(hashes),) or ids.dtype != np.uint64:
        raise ValueError(f"ids must be uint64 ({len(hashes)},), found {ids.dtype} {ids.shape}")
    distinct = distinct_of(hashes)
    of_hash = np.minimum.reduceat(ids[distinct.order], distinct.starts[:-1]) if len(hashes) else ids
    yield from _equal(distinct, ids, of_hash, part)
    chunks = choose(distinct.hashes, radius, queries=False)
    join = _Join(permuted(distinct.hashes, chunks), chunks, radius, threads, cap)
    for chunk, begin, end in _share(chunks, radius, part):
        for found in join.found(chunk, begin, end):
            one, other = of_hash[found[:, 0]], of_hash[found[:, 1]]
            yield Pairs(np.minimum(one, other), np.maximum(one, other), found[:, 2].astype(np.int16))


class Index:
    """Hashes uint64 (n,) or (n, words) to be searched up to a radius. Items are row numbers.

    Holds a table for each chunk, 12 bytes a 64-bit hash and 36 one of 256 bits: with their numbers 70 bytes a hash at
    radius 8 of 64 (4 chunks), but 650 at radius 31 of 256 (16 chunks), so a few million of those at a time.
    """

    def __init__(self, hashes: Hashes, radius: int) -> None:
        hashes, self.radius = _checked(hashes, radius)
        self.words = hashes.shape[1]
        self._distinct = distinct_of(hashes)
        self._chunks = choose(self._distinct.hashes, radius, queries=True)
        rows = permuted(self._distinct.hashes, self._chunks)
        self._tables = [make_table(rows, place, self._chunks.width) for place in self._chunks.places(radius)]

    def matches(self, queries: Hashes, radius: int, threads: int) -> Iterator[Found]:
        """Rows of query, different hash, distance: int64 (k, 3), each once, in no order that means anything."""
        places, turned = self._chunks.places(radius), permuted(queries, self._chunks)
        for chunk, (word, shift, mask, limit) in enumerate(places):
            if limit < 0:
                continue
            order = np.argsort(turned[word] >> np.uint64(shift) & np.uint64(mask), kind="stable")
            masks, table = masks_of(self._chunks.width, int(limit)), self._tables[chunk]

            fixed = (turned, order, *table, masks, places, chunk, radius)
            edges = np.linspace(0, len(queries), threads * STRIPS + 1).astype(np.int64)
            yield from strips(partial(_matches, fixed), edges, lambda at: np.array([at, 0, -1]), threads)

    def items(self, number: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """How many items have each of these different hashes, and the items, one after another."""
        starts, copies = self._distinct.starts[number], np.diff(self._distinct.starts)[number]
        ahead = np.arange(copies.sum()) - np.repeat(np.cumsum(copies) - copies, copies)
        return copies, self._distinct.order[np.repeat(starts, copies) + ahead]


def search(
    index: Index, queries: Hashes, radius: int, threads: int = 1, cap: Cap | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int16]]:
    """All items within `radius` of queries uint64 (q,) or (q, words): query, item int64 (k,), distance int16 (k,).

    In order of queries, distances and items. With a cap each query has its nearest ones. Made for many queries at a
    time; results are held in memory. Raises ValueError for a radius above that of the index and for other lengths.
    """
    queries, radius = _checked(queries, radius)
    if queries.shape[1] != index.words or radius > index.radius:
        raise ValueError(
            f"queries have {64 * queries.shape[1]} bits and radius {radius}; the index was built for "
            f"{64 * index.words} bits and radius {index.radius}"
        )
    found = np.concatenate([np.empty((0, 3), np.int64), *index.matches(queries, radius, threads)])
    copies, item = index.items(found[:, 1])
    query, distance = np.repeat(found[:, 0], copies), np.repeat(found[:, 2], copies)
    order = np.lexsort((item, distance, query))
    query, item, distance = query[order], item[order], distance[order]
    if cap is not None:
        place = np.arange(len(query)) - np.searchsorted(query, query)
        keep = place < cap.results
        cap.left_out += int((~keep).sum())
        query, item, distance = query[keep], item[keep], distance[keep]
    return query, item, distance.astype(np.int16)


def _checked(hashes: Hashes, radius: int) -> tuple[Hashes, int]:
    """Hashes as (n, words). Raises ValueError."""
    if hashes.dtype != np.uint64 or hashes.ndim not in (1, 2) or (hashes.ndim == 2 and not hashes.shape[1]):
        raise ValueError(f"hashes must be uint64 (n,) or (n, words), found {hashes.dtype} {hashes.shape}")
    hashes = hashes[:, None] if hashes.ndim == 1 else hashes
    if not 0 <= radius <= 64 * hashes.shape[1]:
        raise ValueError(f"radius must be between 0 and {64 * hashes.shape[1]}, found {radius}")
    if len(hashes) >= 1 << 31:
        raise ValueError(f"{len(hashes):,} hashes are more than 2^31 at a time")
    return hashes, radius


def _equal(
    distinct: Distinct, ids: npt.NDArray[np.uint64], of_hash: npt.NDArray[np.uint64], part: tuple[int, int]
) -> Iterator[Pairs]:
    """Stars of equal hashes, ROOM rows at a time: those of the part's share of rows."""
    first, last = (len(ids) * number // part[1] for number in (part[0], part[0] + 1))
    for start in range(first, last, ROOM):
        here = slice(start, min(start + ROOM, last))
        number = np.searchsorted(distinct.starts, np.arange(here.start, here.stop), side="right") - 1
        right, left = ids[distinct.order[here]], of_hash[number]
        keep = left != right
        if keep.any():
            yield Pairs(left[keep], right[keep], np.zeros(int(keep.sum()), np.int16))


def _share(chunks: Chunks, radius: int, part: tuple[int, int]) -> Iterator[tuple[int, float, float]]:
    """Which chunks a part has to join, and from which to which share of their rows: chunks weigh as many masks."""
    weights = [len(masks_of(chunks.width, int(limit))) for limit in chunks.places(radius)[:, 3]]
    before, total = 0, sum(weights)
    for chunk, weight in enumerate(weights):
        begin, end = (min(max(total * at / part[1] - before, 0) / weight, 1) for at in (part[0], part[0] + 1))
        if begin < end:
            yield chunk, begin, end
        before += weight


class _Join:
    """Different hashes (words, n) joined with themselves, chunk by chunk."""

    def __init__(self, rows: Hashes, chunks: Chunks, radius: int, threads: int, cap: Cap | None) -> None:
        self.rows, self.chunks, self.radius, self.cap = rows, chunks, radius, cap
        self.strips = threads * STRIPS if threads > 1 and cap is None else 1
        self.threads = 1 if cap else threads
        self.room = np.empty(0, np.int32) if cap is None else np.full(rows.shape[1], cap.results, np.int32)

    def found(self, chunk: int, begin: float, end: float) -> Iterator[Found]:
        """Both numbers and the distance of pairs that this chunk finds first, between two shares of its table."""
        places = self.chunks.places(self.radius)
        table = make_table(self.rows, places[chunk], self.chunks.width)
        fixed = (*table, masks_of(self.chunks.width, int(places[chunk, 3])), places, chunk, self.radius)
        shares = np.linspace(begin, end, self.strips + 1)
        edges = np.searchsorted(table.starts[:-1], (shares * self.rows.shape[1]).astype(np.int64))
        yield from strips(partial(self._run, fixed), edges, lambda at: np.array([at, 0, at, -1, -1, 0]), self.threads)

    def _run(self, fixed: tuple[Any, ...], state: Found, until: int, out: Found) -> int:
        found = int(find_pairs(*fixed, until, self.room, state, out))
        if self.cap is not None:
            self.cap.left_out += int(state[LEFT_OUT])
            state[LEFT_OUT] = 0
        return found


def _matches(fixed: tuple[Any, ...], state: Found, until: int, out: Found) -> int:
    return int(find_matches(*fixed, until, state, out))
