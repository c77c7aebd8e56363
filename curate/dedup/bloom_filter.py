"""A Bloom filter whose every question is one line of memory: 8 words of 64 bits, and one bit in each.

The classic filter spreads the bits of a key over all its memory, seven at a rate of 1 %, and each waits for memory of
its own. Here a key has one line of 64 bytes (Putze et al. 2007; Parquet splits its lines into words in the same way).
At a rate of 1 % that costs 10.1 bits a key instead of 9.6, and more at lower rates, since lines fill unevenly. How many
lines a rate needs is computed from that unevenness, a Poisson distribution, and not from the classic formula.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["LINE_BYTES", "MAX_LINES", "false_positive_rate", "lines_needed", "new_filter", "seen_before"]

LINE_BYTES = 64
WORDS = 8
MAX_LINES = 1 << 32
"""A key's line is chosen by 32 of its bits."""
_FACTORS = np.array(
    [0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1, 0xD3A2646D, 0xFD7046C5, 0xB55A4F09], np.uint32
)
"""Odd numbers without a pattern in their bits."""


def new_filter(lines: int) -> npt.NDArray[np.uint64]:
    """An empty filter, uint64 (lines, 8)."""
    return np.zeros((lines, WORDS), np.uint64)


def false_positive_rate(keys: int, lines: int) -> float:
    """The chance that a filter of so many lines, with so many keys in it, knows a key that is not among them."""
    mean = keys / lines
    spread = 12 * math.sqrt(mean) + 30
    counts = np.arange(max(0, int(mean - spread)), int(mean + spread) + 1)
    logs = np.array([math.lgamma(count + 1) for count in counts.tolist()])
    chance = np.exp(counts * math.log(mean) - mean - logs) if mean else (counts == 0).astype(float)
    return float((chance * (1 - (1 - 1 / 64) ** counts) ** WORDS).sum())


def lines_needed(keys: int, rate: float) -> int:
    """The least number of lines at which `keys` keys give a false positive rate of at most `rate`, in 0 to 1."""
    low, high = 0, 1
    while false_positive_rate(keys, high) > rate:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if false_positive_rate(keys, middle) > rate else (low, middle)
    return high


@njit(cache=True, nogil=True)
def seen_before(
    lines: npt.NDArray[np.uint64],
    keys: npt.NDArray[np.uint64],
    ends: npt.NDArray[np.int64],
    seen: npt.NDArray[np.bool_],
) -> int:
    """Ask for all keys of a document, then add them; document after document, each up to one of `ends`.

    Keys are hashes of 64 bits. `seen` (as many as keys) gets whether an earlier document had each, or seemed to.
    Returns how many keys were new.
    """
    start = new = 0
    for document in range(len(ends)):
        for i in range(start, ends[document]):
            line = lines[_line(keys[i], len(lines))]
            known = True
            for word in range(WORDS):
                known &= (line[word] >> _bit(keys[i], word)) & np.uint64(1) != 0
            seen[i] = known
        for i in range(start, ends[document]):
            line = lines[_line(keys[i], len(lines))]
            added = False
            for word in range(WORDS):
                bit = np.uint64(1) << _bit(keys[i], word)
                added |= line[word] & bit == 0
                line[word] |= bit
            new += added
        start = ends[document]
    return new


@njit(cache=True, nogil=True, inline="always")
def _line(key: np.uint64, lines: int) -> np.uint64:
    return ((key >> np.uint64(32)) * np.uint64(lines)) >> np.uint64(32)


@njit(cache=True, nogil=True, inline="always")
def _bit(key: np.uint64, word: int) -> np.uint64:
    """The top six bits of a product of the lower half."""
    return np.uint64((np.uint32(key) * _FACTORS[word]) >> np.uint32(26))
