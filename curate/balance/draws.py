"""MetaCLIP's arithmetic over rows and their concepts: chances, their sums at many caps at once, and keyed draws.

Sums are of whole numbers, in units of 2^-30, so that no order of rows gives another: for 10 billion rows they stay
below 2^64, and are off by at most 5e-10 of a row for each row. A pass over rows costs 12 ns for each concept of a row
at 32 caps together, and 7 ns to draw it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["PROBES", "chances", "drawn", "finish", "keep_probabilities", "probe_sums", "solve_cap"]

Numbers = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]

PROBES = 32
PASSES = 12
LEAST_CAP = 1e-3
UNIT = 2.0**30
STEP = np.uint64(0x9E3779B97F4A7C15)
MIX, MORE = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def chances(counts: npt.NDArray[np.int64], cap: float) -> Reals:
    """p[e] = cap / max(counts[e], cap): the chance that a row is taken for the sake of its concept e."""
    return cap / np.maximum(counts.astype(np.float64), cap)


@numba.njit(cache=True, nogil=True)
def keep_probabilities(offsets: Offsets, numbers: Numbers, chance: Reals) -> Reals:
    """1 - product of (1 - p[e]) over the concepts of each row; 0 for a row without one."""
    found = np.empty(len(offsets) - 1)
    for row in range(len(found)):
        missed = 1.0
        for place in range(offsets[row], offsets[row + 1]):
            missed *= 1.0 - chance[numbers[place]]
        found[row] = 1.0 - missed
    return found


@numba.njit(cache=True, nogil=True)
def probe_sums(offsets: Offsets, numbers: Numbers, counts: npt.NDArray[np.int64], caps: Reals) -> Hashes:
    """The sum of the rows' probabilities at each cap, uint64 in units of 2^-30. `counts` are at least 1 where used."""
    sums, missed = np.zeros(len(caps), np.uint64), np.empty(len(caps))
    for row in range(len(offsets) - 1):
        missed[:] = 1.0
        for place in range(offsets[row], offsets[row + 1]):
            share = 1.0 / counts[numbers[place]]
            for probe in range(len(caps)):
                missed[probe] *= max(1.0 - caps[probe] * share, 0.0)
        for probe in range(len(caps)):
            sums[probe] += np.uint64((1.0 - missed[probe]) * UNIT + 0.5)
    return sums


@numba.njit(cache=True, nogil=True)
def drawn(offsets: Offsets, numbers: Numbers, chance: Reals, keys: Hashes) -> npt.NDArray[np.bool_]:
    """Whether any concept of a row takes it: a hash of the row's key and of the concept, below its chance.

    A higher chance takes all that a lower one takes, so a larger cap only adds rows.
    """
    found = np.zeros(len(offsets) - 1, np.bool_)
    for row in range(len(found)):
        for place in range(offsets[row], offsets[row + 1]):
            if _uniform(keys[row], numbers[place]) < chance[numbers[place]]:
                found[row] = True
                break
    return found


@numba.njit(cache=True, nogil=True)
def _uniform(key: np.uint64, number: np.uint32) -> np.float64:
    """In [0, 1), 53 bits, of a row's key and a concept's number."""
    mixed = finish(finish(key ^ finish((np.uint64(number) + np.uint64(1)) * STEP)) + STEP)
    return np.float64(mixed >> np.uint64(11)) * 2.0**-53


@numba.njit(cache=True, nogil=True)
def finish(value: np.uint64) -> np.uint64:
    """The last steps of SplitMix64."""
    value = (value ^ (value >> np.uint64(30))) * MIX
    value = (value ^ (value >> np.uint64(27))) * MORE
    return value ^ (value >> np.uint64(31))


def solve_cap(target: float, most: float, expected: Callable[[Reals], Reals]) -> tuple[float, float]:
    """The cap at which `expected` rows are kept, nearest to the target, and how many that are.

    `expected` gives the rows at each of PROBES caps, rising with them: each call is a pass over all rows. From 0.001 to
    `most` (the largest count, at which all rows with a concept are kept), a call divides the interval by 33; it ends
    within half a row of the target, or after 12 calls. A target that no cap reaches gets the end nearest to it.
    """
    low, high = LEAST_CAP, max(float(most), 1.0)
    best = (high, math.inf)
    for _ in range(PASSES):
        caps = np.geomspace(low, high, PROBES)
        rows = expected(caps)
        near = int(np.abs(rows - target).argmin())
        if abs(rows[near] - target) < abs(best[1] - target) or best[1] == math.inf:
            best = (float(caps[near]), float(rows[near]))
        above = int(np.searchsorted(rows, target))
        if abs(best[1] - target) <= 0.5 or above in (0, PROBES):
            break
        low, high = float(caps[above - 1]), float(caps[above])
    return best
