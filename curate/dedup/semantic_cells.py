"""SemDeDup inside one cell of embeddings: the nearest row before each, or components of near ones.

Abbas et al. 2023 order the rows of a cell, take all similarities, and give row j the largest one with a row before it;
it goes when that is above 1 - eps. All similarities of a million rows in 1,000 cells take numpy 18 s on one core and
this module 3.4 (`bench/semantic.py`). Tiles of 96 rows by 1,024 columns are multiplied as bytes and looked at while
they are in the cache (`semantic_int8`, `semantic_kernels`); a cell takes 10 to 14 bytes of memory for each of its
numbers, never its square.

Of rows with equal embeddings only the first is compared: the others' largest cosine is 1, and for rows after them they
tie with the first, which counts. So a picture that is there 10,000 times costs no 50 million comparisons.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import config

from curate.dedup.semantic_int8 import COLUMNS, ROWS, aligned, available, multiply
from curate.dedup.semantic_kernels import (
    NONE,
    CellRows,
    Found,
    first_equal,
    link_pairs,
    load,
    nearest_before,
    quantise,
    rests,
    root,
)

__all__ = ["NONE", "Compare", "Nearest", "components", "each_cell", "nearest_earlier", "nearest_kept"]

Rows16 = npt.NDArray[np.float16]
Order = npt.NDArray[np.int64]
Product: TypeAlias = Callable[[slice, slice], npt.NDArray[np.int32] | npt.NDArray[np.float32]]

Compare: TypeAlias = "Callable[[Rows16, Order], Nearest]"

TILE_ROWS, TILE_COLUMNS = 16 * ROWS, 16 * COLUMNS
ALL_SUPPRESS = np.float32(2)
FLOAT32_ERROR = 2.0**-23
"""Of a product of unit rows, for each number that is added up."""


class Nearest(NamedTuple):
    """For each row, in its order: the largest cosine with one before it, float32 in 0 to 1, and the place of that row
    in the order, int64, NONE where no cosine is above 0."""

    cosine: npt.NDArray[np.float32]
    place: Order


def each_cell(compare: Compare, stored: Rows16, order: Order, ends: Order) -> Nearest:
    """Compare all cells, several at a time: their rows stand in `order` one cell behind the other, up to each of
    `ends`.

    Answers by the number of a row, and with numbers of rows where `compare` answers with places. As many threads as
    numba would use; their number changes nothing.
    """
    found = Nearest(np.zeros(len(order), np.float32), np.full(len(order), NONE))

    def one(start: int, end: int) -> None:
        own = order[start:end]
        cosine, place = compare(stored, own)
        found.cosine[own], found.place[own] = cosine, np.where(place == NONE, NONE, own[place])

    with ThreadPoolExecutor(config.NUMBA_NUM_THREADS) as pool:
        for done in pool.map(one, [0, *ends[:-1].tolist()], ends.tolist()):
            assert done is None
    return found


def nearest_earlier(stored: Rows16, order: Order) -> Nearest:
    """The paper's score: all earlier rows count, also those that are themselves near duplicates.

    `stored` (n, d): finite, none of length 0. `order`: the numbers of the cell's rows, first the one to keep.
    """
    rows, squares = _load(stored, order)
    first = first_equal(rows, squares)
    own = np.flatnonzero(first == np.arange(len(order)))
    found = _nearest(_cell(*_of(own, rows, squares)), ALL_SUPPRESS)
    cosine, place = np.ones(len(order), np.float32), first
    cosine[own], place[own] = found.best, np.where(found.nearest == NONE, NONE, own[found.nearest])
    return Nearest(cosine, place)


def nearest_kept(stored: Rows16, order: Order, limit: float) -> Nearest:
    """The same, but only rows count that are themselves kept: whose cosine with all kept ones before is at most
    `limit`."""
    return Nearest(*_nearest(_cell(*_load(stored, order)), np.float32(limit)))


def components(stored: Rows16, order: Order, limit: float) -> Nearest:
    """For each row the place, in the order, of the first row that it is connected to by cosines above `limit`, below 1;
    and the number of rows so connected, as a float32."""
    rows, squares = _load(stored, order)
    first = first_equal(rows, squares)
    own = np.flatnonzero(first == np.arange(len(order)))
    parents = np.arange(len(own))
    cell, product = _cell(*_of(own, rows, squares))
    for corner, sums in _tiles(len(own), product):
        link_pairs(cell, sums, corner, parents, np.float32(limit))
    of_own = np.full(len(order), NONE)
    of_own[own] = own[[root(parents, n) for n in range(len(own))]]
    place = of_own[first]
    return Nearest(np.bincount(place, minlength=len(place))[place].astype(np.float32), place)


class _Space(threading.local):
    """Memory of a thread that is used again for the next cell: pages that the system gives anew take a third of the
    time of a small cell."""

    def __init__(self) -> None:
        self._kept: dict[str, npt.NDArray[np.uint8]] = {}

    def take(self, name: str, shape: tuple[int, ...], kind: type) -> npt.NDArray[Any]:
        """An array with anything in it, from an address that vectors can be read from."""
        size = math.prod(shape) * np.dtype(kind).itemsize
        kept = self._kept.get(name)
        if kept is None or len(kept) < size:
            self._kept[name] = kept = aligned(size)
        return kept[:size].view(kind).reshape(shape)


_SPACE = _Space()


def _load(stored: Rows16, order: Order) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Rows in an order, float32, and their lengths squared."""
    bits = _SPACE.take("rows", (len(order), stored.shape[1]), np.uint32)
    squares = load(stored.view(np.uint16), order, bits)
    return bits.view(np.float32), squares


def _of(
    own: Order, rows: npt.NDArray[np.float32], squares: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    return (rows, squares) if len(own) == len(rows) else (rows[own], squares[own])


def _cell(rows: npt.NDArray[np.float32], squares: npt.NDArray[np.float64]) -> tuple[CellRows, Product]:
    """What the kernels take, and what multiplies some rows with others."""
    inverse = 1 / np.sqrt(squares)
    rest = _SPACE.take("rest", rows.shape, np.float32)
    offsets = rests(rows, inverse, rest)
    steps, shifts, lengths, product = _as_bytes(rest) if available() else _as_floats(rest)
    return CellRows(rows, inverse, steps, shifts, offsets, lengths, lengths.max(axis=0, initial=0)), product


def _as_bytes(rest: npt.NDArray[np.float32]) -> tuple[Any, Any, Any, Product]:
    n, width = len(rest), -(-rest.shape[1] // 4) * 4
    left = _SPACE.take("left", (-(-n // ROWS) * ROWS, width), np.uint8)
    left[:, rest.shape[1] :] = 128
    panels = _SPACE.take("panels", (-(-n // COLUMNS), width // 4, COLUMNS, 4), np.int8)
    steps, shifts, lengths = quantise(rest, left, panels.view(np.uint32)[..., 0])
    space = _SPACE.take("sums", (TILE_ROWS * TILE_COLUMNS,), np.int32)

    def product(down: slice, across: slice) -> npt.NDArray[np.int32]:
        own, others = left[down], panels[across.start // COLUMNS : -(-across.stop // COLUMNS)]
        sums = space[: len(own) * len(others) * COLUMNS].reshape(len(own), -1)
        multiply(own, others, sums)
        return sums

    return steps, shifts, lengths, product


def _as_floats(rest: npt.NDArray[np.float32]) -> tuple[Any, Any, Any, Product]:
    n, d = rest.shape
    lengths = np.zeros((n, 3), np.float32)
    lengths[:, 0] = lengths[:, 1] = np.sqrt(np.einsum("nd,nd->n", rest, rest))
    lengths[:, 2] = lengths[:, 0] * np.float32(d * FLOAT32_ERROR)
    space = _SPACE.take("sums", (TILE_ROWS * TILE_COLUMNS,), np.float32)

    def product(down: slice, across: slice) -> npt.NDArray[np.float32]:
        own, others = rest[down], rest[across]
        return np.dot(own, others.T, out=space[: len(own) * len(others)].reshape(len(own), -1))

    return np.ones(n, np.float32), np.zeros(n, np.float32), lengths, product


def _nearest(prepared: tuple[CellRows, Product], limit: np.float32) -> Found:
    cell, product = prepared
    n = len(cell.rows)
    found = Found(np.zeros(n, np.float32), np.full(n, NONE))
    for corner, sums in _tiles(n, product):
        nearest_before(cell, sums, corner, found, limit)
    return found


def _tiles(n: int, product: Product) -> Iterator[tuple[tuple[int, int], Any]]:
    """The part of the square below its diagonal: for each tile its first row and column, and the sums of products."""
    for top in range(0, n, TILE_ROWS):
        bottom = min(top + TILE_ROWS, n)
        for left in range(0, bottom, TILE_COLUMNS):
            yield (top, left), product(slice(top, bottom), slice(left, min(left + TILE_COLUMNS, bottom)))
