"""Soft-cap sampling's rounds: the best of all rows by score and noise, again and again, each time a little less likely.

Drawing k rows without replacement with chances of softmax(logits) is taking the k largest of logit + Gumbel noise. The
noise of a row in a round is a hash of the two, so a round needs no state. Only the rows that can be among the best are
looked at: noise exceeds what a row lacks to a level only where the hash exceeds a whole number, which is kept for each
row and changes with its logit. So a round costs one hash and one comparison a row, 1 to 1.6 ns: 1,280 rounds over 128
million rows take 3 to 5 minutes of one core, where two logarithms for each take an hour. The answer is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from curate.balance.draws import STEP, finish

__all__ = ["Rounds", "draw_rounds"]

Reals = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

SPARE = 2
"""Times as many rows reach a level as are wanted when it is set."""
BINS = 4_096
BITS = 53
DEEPEST = 1_000.0
NOISE = 50.0
"""More than noise adds, but for one draw in 1e21; what lies deeper below the highest logit is not drawn beside it."""
BLOCK = 64
HALF = np.uint64(32)
SLACK = 1.0
"""Of 2^32: far more than the rounding of two exponentials."""
TRIES = 6


class Rounds(NamedTuple):
    """`draws` in all, `batch` in a round, each without replacement; a drawn row's logit falls by `penalty`, and it is
    out after `most` draws."""

    draws: int
    batch: int
    penalty: float
    most: int


def draw_rounds(logits: Reals, keys: Hashes, plan: Rounds) -> npt.NDArray[np.uint16]:
    """How often each row was drawn, uint16 (n,). `logits` are finite, float64 (n,); `keys` say who the rows are.

    Of rows that are equal in a round, the first goes before. Ends early when all rows are out.
    """
    taken, pool = np.zeros(len(logits), np.uint16), _Pool(logits.copy(), keys)
    left, alive, number = plan.draws, len(logits), 0
    while left and alive:
        want = min(plan.batch, left, alive)
        rows = pool.best(want, alive, number)
        taken[rows] += 1
        out = taken[rows] >= plan.most
        pool.lower(rows, np.where(out, np.inf, plan.penalty))
        left, alive, number = left - want, alive - int(out.sum()), number + 1
    return taken


@dataclass
class _Pool:
    """Rows with their logits, and the hash that each has to exceed to reach the level."""

    logits: Reals
    keys: Hashes
    level: float = np.inf
    least: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))

    def best(self, want: int, alive: int, number: int) -> Rows:
        """The `want` rows with the most in this round; `alive` rows are not out."""
        salt = np.uint64(_salt(number))
        for tries in range(TRIES + 1):
            if tries or not len(self.least):
                enough = SPARE * want < alive and tries < TRIES
                self._set_level(min(_level(self.logits, SPARE * want), self.level - 0.5) if enough else -np.inf)
            rows = _reaching(self.keys, self.least, salt)
            values = _noisy(self.logits, self.keys, rows, salt)
            if (values >= self.level + self._rounding).sum() >= want:
                break
        chosen: Rows = rows[np.argsort(-values, kind="stable")[:want]]
        return chosen

    @property
    def _rounding(self) -> float:
        """By how much a row that was passed over may exceed the level once its logit and noise were added."""
        return abs(self.level) * 2.0**-50 if math.isfinite(self.level) else 0.0

    def lower(self, rows: Rows, by: Reals) -> None:
        """Take something off the logits of some rows; infinity takes them out."""
        self.logits[rows] -= by
        self.least[rows] = _least_hashes(self.logits[rows], self.level)

    def _set_level(self, level: float) -> None:
        self.level = level
        self.least = _least_hashes(self.logits, level)


def _level(logits: Reals, wanted: int) -> float:
    """The level that about so many rows reach, by a histogram of how far they lie below the highest logit."""
    there = logits[np.isfinite(logits)]
    top = float(there.max())
    below = np.clip(there - top, -DEEPEST, 0)
    counts, edges = np.histogram(below, BINS, (min(float(below.min()), -1.0), 0))
    middles = (edges[1:] + edges[:-1]) / 2
    least, most = edges[0] - NOISE, NOISE
    for _ in range(60):
        level = (least + most) / 2
        reached = (counts * -np.expm1(-np.exp(np.minimum(middles - level, 700.0)))).sum()
        least, most = (level, most) if reached > wanted else (least, level)
    return top + float(least)


@numba.njit(cache=True, nogil=True)
def _salt(number: int) -> np.uint64:
    salt: np.uint64 = finish(np.uint64(number + 1) * STEP)
    return salt


@numba.njit(cache=True, nogil=True)
def _least_hashes(logits: Reals, level: float) -> npt.NDArray[np.uint32]:
    """What the upper half of a row's hash needs to be for its noise to reach the level, or a little less. A row that is
    out needs 2^32 - 1."""
    found = np.empty(len(logits), np.uint32)
    for row in range(len(logits)):
        chance = np.exp(-np.exp(logits[row] - level)) if level > -np.inf else 0.0
        found[row] = np.uint32(min(max(chance * 2.0**32 - SLACK, 0.0), 2.0**32 - 1))
    return found


@numba.njit(cache=True, nogil=True)
def _reaching(keys: Hashes, least: npt.NDArray[np.uint32], salt: np.uint64) -> Rows:
    """Rows whose hash in this round is large enough, ascending. Most blocks have none, and are passed over at once."""
    found, count = np.empty(1024 + BLOCK, np.int64), 0
    for start in range(0, len(keys), BLOCK):
        end = min(start + BLOCK, len(keys))
        if not _any_reaching(keys[start:end], least[start:end], salt):
            continue
        if count + BLOCK > len(found):
            grown = np.empty(4 * len(found), np.int64)
            grown[:count] = found[:count]
            found = grown
        for row in range(start, end):
            found[count] = row
            count += finish(keys[row] ^ salt) >> HALF >= least[row]
    return found[:count]


@numba.njit(cache=True, nogil=True)
def _any_reaching(keys: Hashes, least: npt.NDArray[np.uint32], salt: np.uint64) -> bool:
    hits = 0
    for row in range(len(keys)):
        hits += np.uint32(finish(keys[row] ^ salt) >> HALF) >= least[row]
    return hits > 0


@numba.njit(cache=True, nogil=True)
def _noisy(logits: Reals, keys: Hashes, rows: Rows, salt: np.uint64) -> Reals:
    """Logit and Gumbel noise of some rows."""
    found = np.empty(len(rows))
    for place in range(len(rows)):
        mixed = finish(keys[rows[place]] ^ salt) >> np.uint64(64 - BITS)
        uniform = (np.float64(mixed) + 0.5) * 2.0**-BITS
        found[place] = logits[rows[place]] - np.log(-np.log(uniform))
    return found
