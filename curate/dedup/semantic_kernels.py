"""The loops of SemDeDup inside one cell: rough products of all pairs, exact ones of the few that can matter.

A row x of unit length is written x = c + r with the cell's mean c, so that x.y = x.c + y.c - c.c + r.s, and only the
rest r is rounded to bytes. The tighter a cell, the smaller its rests and the error, so the number of pairs that the
rough product cannot tell from the nearest stays the same: two or three a row of random ones. The error is bounded by
Cauchy-Schwarz for each pair (`|r.s - q.p| <= |r - q| |s| + |q| |s - p|`), never guessed; pairs within it get the exact
cosine, a sum in float64 of products of float16. So what is answered is that of the exact cosines, rounded to float32,
whatever made the rough ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = [
    "NONE",
    "CellRows",
    "Found",
    "first_equal",
    "link_pairs",
    "load",
    "nearest_before",
    "quantise",
    "rests",
    "root",
]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

NONE = -1
GONE = np.float32(-1e6)
LEVELS = 127
CHUNK = 32
"""Rough values that share a maximum: those of most chunks are never looked at one by one."""
ROUNDING = np.float32(1e-6)
"""What float32 may add to the error of a rough product of unit rows; what a sum in float32 adds is in the lengths."""


class CellRows(NamedTuple):
    """The rows of a cell in their order: as they are, float32 (n, d); 1 / length; and of the rough products the value
    of a step, what is to be subtracted from a sum, what is to be added to a product, and `quantise`'s lengths, whose
    largest ones stand in `widest`."""

    rows: F32
    inverse: F64
    steps: F32
    shifts: I32 | F32
    offsets: F32
    lengths: F32
    widest: F32


class Found(NamedTuple):
    """For each row the largest cosine with one before it, 0 where none is above 0, and which row that is, or NONE."""

    best: F32
    nearest: I64


@njit(cache=True, nogil=True, fastmath=True)
def load(stored: npt.NDArray[np.uint16], rows: I64, found: npt.NDArray[np.uint32]) -> F64:
    """Copy some rows of float16, given as their bits, into float32, given as theirs; returns lengths squared.

    float16's exponent is moved by a product with 2^112, which makes its subnormals right too: five times as fast as
    numpy's conversion.
    """
    values = found.view(np.float32)
    squares = np.empty(len(rows))
    for n in range(len(rows)):
        source, target = stored[rows[n]], found[n]
        for k in range(target.size):
            bits = np.uint32(source[k])
            target[k] = ((bits & np.uint32(0x8000)) << np.uint32(16)) | ((bits & np.uint32(0x7FFF)) << np.uint32(13))
        own, total = values[n], 0.0
        for k in range(own.size):
            own[k] *= np.float32(2.0**112)
            total += np.float64(own[k]) * np.float64(own[k])
        squares[n] = total
    return squares


@njit(cache=True, nogil=True)
def first_equal(rows: F32, squares: F64) -> I64:
    """The first row that is equal to each one, or its own number. Equal rows have equal lengths, others seldom do."""
    order = np.argsort(squares, kind="mergesort")
    first = np.arange(len(rows))
    for place in range(1, len(rows)):
        n = order[place]
        back = place - 1
        while back >= 0 and squares[order[back]] == squares[n]:
            m = order[back]
            if first[m] == m and _equal(rows[m], rows[n]):
                first[n] = m
                break
            back -= 1
    return first


@njit(cache=True, nogil=True)
def _equal(one: F32, other: F32) -> bool:
    k = 0
    while k < one.size and one[k] == other[k]:
        k += 1
    return bool(k == one.size)


@njit(cache=True, nogil=True, fastmath=True)
def rests(rows: F32, inverse: F64, found: F32) -> F32:
    """What is left of rows, made of unit length, without their mean; returns the part of a product that the mean makes,
    for each of two rows: x.c - c.c / 2."""
    n, d = rows.shape
    mean = np.zeros(d)
    for i in range(n):
        share = inverse[i] / n
        for k in range(d):
            mean[k] += rows[i, k] * share
    centre = mean.astype(np.float32)
    square = 0.0
    for k in range(d):
        square += np.float64(centre[k]) * np.float64(centre[k])
    offsets = np.empty(n, np.float32)
    for i in range(n):
        own, total, scale = rows[i], 0.0, np.float32(inverse[i])
        for k in range(d):
            total += own[k] * mean[k]
            found[i, k] = own[k] * scale - centre[k]
        offsets[i] = total * inverse[i] - square / 2
    return offsets


@njit(cache=True, nogil=True)
def _largest(bits: I32) -> np.float32:
    """The largest of floats without their signs, from their bits: order is that of whole numbers, and finding it is 12
    times as fast, for LLVM takes 16 at a time."""
    most = np.int32(0)
    for k in range(bits.size):
        most = max(most, bits[k] & np.int32(0x7FFFFFFF))
    found: np.float32 = _float(most)
    return found


@njit(cache=True, nogil=True)
def _largest_of_any(bits: I32) -> np.float32:
    """The same with their signs: the bits of those below 0 are turned round."""
    most = np.int32(-0x80000000)
    for k in range(bits.size):
        most = max(most, bits[k] ^ ((bits[k] >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    found: np.float32 = _float(most ^ ((most >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return found


@njit(cache=True, nogil=True, inline="always")
def _float(bits: np.int32) -> np.float32:
    found: np.float32 = np.int32(bits).view(np.float32)
    return found


@njit(cache=True, nogil=True, fastmath=True)
def quantise(rest: F32, left: npt.NDArray[np.uint8], panels: npt.NDArray[np.uint32]) -> tuple[F32, I32, F32]:
    """Rests as bytes: plus 128 into `left` (n or more, k), as they are, four in a word, into `panels` (p, k / 4, 64).

    Returns per row the value of a step, 128 times the sum of its bytes, and (n, 3) lengths: of the rest, of the bytes,
    and of the difference.
    """
    n, d = rest.shape
    steps, shifts, lengths = np.empty(n, np.float32), np.empty(n, np.int32), np.empty((n, 3), np.float32)
    for i in range(n):
        own = rest[i]
        step = max(_largest(own.view(np.int32)) / np.float32(LEVELS), np.float32(1e-30))
        turn = np.float32(1) / step
        total = r = q = e = np.float32(0)
        bytes_ = left[i]
        for k in range(d):
            level = np.rint(own[k] * turn)
            near = level * step
            bytes_[k] = np.uint8(level + np.float32(128))
            total += level
            r += own[k] * own[k]
            q += near * near
            e += (own[k] - near) * (own[k] - near)
        words, panel, column = left[i].view(np.uint32), panels[i // 64], i % 64
        for k in range(words.size):
            panel[k, column] = words[k] ^ np.uint32(0x80808080)
        steps[i], shifts[i] = step, np.int32(128) * np.int32(total)
        lengths[i, 0], lengths[i, 1], lengths[i, 2] = np.sqrt(r), np.sqrt(q), np.sqrt(e)
    return steps, shifts, lengths


@njit(cache=True, nogil=True)
def nearest_before(cell: CellRows, sums: I32 | F32, corner: tuple[int, int], found: Found, limit: np.float32) -> None:
    """Take a tile of rough products into what is `found`. Of equal cosines that with the first row counts.

    `sums` begins at row `corner[0]` and column `corner[1]`; only columns before a row count for it, and a row's tiles
    come from left to right. A row whose cosine is above `limit` suppresses none after it; 2 lets all do so.
    """
    values, tops = _space(sums.shape[1])
    start = corner[1]
    for j in range(corner[0], min(corner[0] + len(sums), len(cell.rows))):
        end = min(start + sums.shape[1], j)
        if end > start:
            most = _rough(cell, sums[j - corner[0]], (start, end), j, values, tops)
            slack = _slack(cell.widest, cell.lengths[j])
            if most + slack >= found.best[j]:
                _nearest_in_row(cell, found, (j, start, end), slack, values, tops)
        if start + sums.shape[1] >= j and found.best[j] > limit:
            cell.offsets[j] = GONE


@njit(cache=True, nogil=True)
def link_pairs(cell: CellRows, sums: I32 | F32, corner: tuple[int, int], parents: I64, limit: np.float32) -> None:
    """Join in `parents` (n,), a forest whose roots are the smallest of their trees, rows of a tile whose cosine is
    above `limit`. Tiles as in `nearest_before`, in any order."""
    values, tops = _space(sums.shape[1])
    start = corner[1]
    for j in range(corner[0], min(corner[0] + len(sums), len(cell.rows))):
        end = min(start + sums.shape[1], j)
        if end <= start:
            continue
        _rough(cell, sums[j - corner[0]], (start, end), j, values, tops)
        slack = _slack(cell.widest, cell.lengths[j])
        for chunk in range((end - start + CHUNK - 1) // CHUNK):
            if tops[chunk] + slack <= limit:
                continue
            for n in range(chunk * CHUNK, min(chunk * CHUNK + CHUNK, end - start)):
                if parents[start + n] != parents[j] and values[n] + slack > limit:
                    _link(cell, (start + n, j), values[n], parents, limit)


@njit(cache=True, nogil=True)
def _space(columns: int) -> tuple[F32, F32]:
    """Room for the rough cosines of a row, and for the largest of each chunk."""
    chunks = (columns + CHUNK - 1) // CHUNK
    return np.empty(chunks * CHUNK, np.float32), np.empty(chunks, np.float32)


@njit(cache=True, nogil=True)
def root(parents: I64, i: int) -> int:
    """The root of a row's tree; shortens the way there."""
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


@njit(cache=True, nogil=True)
def _link(cell: CellRows, pair: tuple[int, int], rough: np.float32, parents: I64, limit: np.float32) -> None:
    i, j = pair
    slack = _slack(cell.lengths[i], cell.lengths[j])
    one, other = root(parents, i), root(parents, j)
    if (
        one != other
        and rough + slack > limit
        and (rough - slack > limit or _exact(cell.rows, cell.inverse, i, j) > limit)
    ):
        parents[max(one, other)] = min(one, other)


@njit(cache=True, nogil=True, inline="always")
def _slack(one: F32, other: F32) -> np.float32:
    """How far a rough product may be from the cosine, from the lengths of two rows."""
    found: np.float32 = one[2] * other[0] + one[1] * other[2] + ROUNDING
    return found


@njit(cache=True, nogil=True, fastmath=True)
def _exact(rows: F32, inverse: F64, i: int, j: int) -> np.float32:
    """The cosine of two rows. A call takes a cell apart: one that is given whole costs more than the sum itself."""
    total, one, other = 0.0, rows[i], rows[j]
    for k in range(one.size):
        total += np.float64(one[k]) * np.float64(other[k])
    return np.float32(min(total * (inverse[i] * inverse[j]), 1.0))


@njit(cache=True, nogil=True, fastmath=True)
def _rough(cell: CellRows, sums: I32 | F32, span: tuple[int, int], j: int, values: F32, tops: F32) -> np.float32:
    """Rough cosines of one row with rows `span`; of each chunk, and of all, the largest."""
    start, end = span
    steps, shifts, offsets = cell.steps[start:end], cell.shifts[start:end], cell.offsets[start:end]
    scale, base = cell.steps[j], cell.offsets[j]
    for n in range(end - start):
        values[n] = np.float32(sums[n] - shifts[n]) * (steps[n] * scale) + (offsets[n] + base)
    chunks = (end - start + CHUNK - 1) // CHUNK
    values[end - start : chunks * CHUNK] = np.float32(-3e38)
    table = values.view(np.int32).reshape(-1, CHUNK)
    for chunk in range(chunks):
        tops[chunk] = _largest_of_any(table[chunk])
    most: np.float32 = tops[:chunks].max()
    return most


@njit(cache=True, nogil=True)
def _nearest_in_row(
    cell: CellRows, found: Found, span: tuple[int, int, int], slack: np.float32, values: F32, tops: F32
) -> None:
    """The exact cosine where the rough one is largest, and then where another might be as large as that."""
    j, start, end = span
    chunks = (end - start + CHUNK - 1) // CHUNK
    likely = CHUNK * int(np.argmax(tops[:chunks]))
    likely += int(np.argmax(values[likely : min(likely + CHUNK, end - start)]))
    _take(cell, found, start + likely, j)
    for chunk in range(chunks):
        if tops[chunk] + slack < found.best[j]:
            continue
        for n in range(chunk * CHUNK, min(chunk * CHUNK + CHUNK, end - start)):
            if n != likely and values[n] + _slack(cell.lengths[start + n], cell.lengths[j]) >= found.best[j]:
                _take(cell, found, start + n, j)


@njit(cache=True, nogil=True, inline="always")
def _take(cell: CellRows, found: Found, i: int, j: int) -> None:
    if cell.offsets[i] > GONE:
        cosine = _exact(cell.rows, cell.inverse, i, j)
        if cosine > found.best[j] or (cosine == found.best[j] and i < found.nearest[j]):
            found.best[j], found.nearest[j] = cosine, i
