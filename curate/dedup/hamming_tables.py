"""Different hashes, tables of their chunks, and the running of a compiled loop on several strips at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.dedup.hamming_kernels import fill_table, permute
from curate.dedup.hamming_plan import Chunks

__all__ = ["ROOM", "Distinct", "Found", "Hashes", "Table", "distinct_of", "make_table", "permuted", "strips"]

Hashes = npt.NDArray[np.uint64]
Found = npt.NDArray[np.int64]
_Run: TypeAlias = Callable[[Found, int, Found], int]
"""From where to go on and where to stop to results: how many."""
_Begin: TypeAlias = Callable[[int], Found]
"""Where to go on in the beginning."""

ROOM = 1 << 16
"""Results of one thread before they are handed on: 1.5 MB."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Distinct(NamedTuple):
    """Different hashes (u, words); which rows have each: order[starts[i]:starts[i + 1]], ascending."""

    hashes: Hashes
    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]


class Table(NamedTuple):
    """Hashes (words, n) sorted by a chunk, the row of each, and where each value begins."""

    rows: Hashes
    number: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]


def distinct_of(hashes: Hashes) -> Distinct:
    """Equal hashes brought together, by a sort of one word made of all."""
    key = hashes[:, 0].copy()
    for word in hashes.T[1:]:
        key = (key ^ (key >> np.uint64(29))) * _GOLDEN + word
    order = np.argsort(key, kind="stable")
    new = (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    if (new & (key[order[1:]] == key[order[:-1]])).any():
        order = np.lexsort(hashes.T)
        new = (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    starts = np.flatnonzero(np.concatenate([[True], new, [True]])) if len(hashes) else np.zeros(1, np.int64)
    return Distinct(hashes[order[starts[:-1]]], order, starts)


def permuted(hashes: Hashes, chunks: Chunks) -> Hashes:
    """Hashes (n, words) with their bits in the order of the chunks, as (words, n)."""
    rows = np.empty(hashes.shape[::-1], np.uint64)
    permute(np.ascontiguousarray(hashes), chunks.sources, rows)
    return rows


def make_table(rows: Hashes, place: npt.NDArray[np.int64], width: int) -> Table:
    """The table of the chunk at a place: word, shift, mask, limit."""
    starts, number = np.zeros((1 << width) + 2, np.int32), np.empty(rows.shape[1], np.int32)
    table = np.empty_like(rows)
    fill_table(rows, place[0], np.uint64(place[1]), starts, table, number)
    return Table(table, number, starts)


def strips(run: _Run, edges: npt.NDArray[np.int64], begin: _Begin, threads: int) -> Iterator[Found]:
    """What `run` finds between edges, in their order: strips beside each other, each until its room is full."""
    strips = deque((begin(int(first)), int(last)) for first, last in pairwise(edges) if first < last)
    with ThreadPoolExecutor(threads) as pool:
        going: deque[tuple[Found, int, Future[Found]]] = deque()
        while strips or going:
            while strips and len(going) < threads:
                state, last = strips.popleft()
                going.append((state, last, pool.submit(_go_on, run, state, last)))
            state, last, future = going.popleft()
            found = future.result()
            if state[0] < last:
                going.appendleft((state, last, pool.submit(_go_on, run, state, last)))
            if len(found):
                yield found


def _go_on(run: _Run, state: Found, last: int) -> Found:
    out = np.empty((ROOM, 3), np.int64)
    return out[: run(state, last, out)].copy()
