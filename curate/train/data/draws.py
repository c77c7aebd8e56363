"""Random numbers that belong to a place or to a row: drawn by a seed, the same in any process and after any restart.

No generator has a state that would have to be kept: the number at place n of a stream is had without those before it
(SplitMix64; Steele, Lea, Flood 2014). A draw for a row is by what the row is, so its neighbours do not matter.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from curate.dedup.digest import Digests
from curate.dedup.identity import finish, keyed

__all__ = ["Uniforms", "order_of", "row_uniforms", "stream_seed"]

_STEP = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 4_096


def stream_seed(seed: int, *what: object) -> int:
    """A seed of 64 bits for one use of a seed, told apart by words and numbers."""
    words = "\0".join(str(part) for part in (seed, *what))
    return int.from_bytes(hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def order_of(rows: Digests, seed: int) -> npt.NDArray[np.int64]:
    """int64 (n,): the rows in an order that the seed draws; which of them there are changes no pair's order."""
    return np.argsort(keyed(rows, seed), kind="stable").astype(np.int64)


def row_uniforms(rows: Digests, seed: int) -> npt.NDArray[np.float64]:
    """float64 (n,) of [0, 1), one for each row."""
    return _uniform(keyed(rows, seed))


class Uniforms:
    """Random numbers of [0, 1) by their place in a stream, of which 4,096 are drawn at a time: 0.1 us each."""

    def __init__(self, seed: int) -> None:
        self._seed = np.uint64(seed)
        self._block, self._drawn = -1, [0.0]

    def at(self, place: int) -> float:
        """The number at a place from 0 on."""
        block, offset = divmod(place, BLOCK)
        if block != self._block:
            with np.errstate(over="ignore"):
                places = np.arange(block * BLOCK + 1, (block + 1) * BLOCK + 1, dtype=np.uint64)
                self._drawn = _uniform(finish(self._seed + places * _STEP)).tolist()
            self._block = block
        return self._drawn[offset]


def _uniform(mixed: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
