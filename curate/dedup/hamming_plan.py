"""How to cut hashes into chunks: the number of them, their width and their limits, by what a search will cost.

Two hashes within `radius` differ by at most limit_i in some chunk i when all limits + 1 add up to radius + 1, for else
they would differ by more (multi-index hashing, Norouzi, Punjani and Fleet 2012; uneven limits after Qin and others,
2018). So it is enough to look, for each chunk, into the buckets whose value differs by up to its limit. Few wide chunks
mean many buckets with few hashes, many narrow ones the opposite: for radius 8 of 64 and 10 million hashes 3 of 21 bits
look into 760 buckets and at 3,700 hashes, 4 of 16 into 188 and at 28,700. Which is cheaper is a matter of the constants
below, of which only the ratio matters, and never of the result.

Chunks need not hold every bit, so they are made of the bits that split the hashes best: those of flat pictures, all
equal, come last. With width 0 there is one bucket and every pair is compared: few hashes, or a large radius.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

__all__ = ["Chunks", "choose", "limits_of", "masks_of"]

BUCKET_NS, ROW_NS, PAIR_NS, SORT_NS = 60.0, 6.0, 0.09, 50.0
LOOKUP_NS = 40.0
MAX_WIDTH = 24
"""64 MB of starts."""
MAX_MASKS = 50_000
SAMPLE = 20_000


@dataclass(frozen=True)
class Chunks:
    """`count` chunks of `width` bits. `sources` int64 (64 * words,): which bit of a hash stands at each place."""

    count: int
    width: int
    sources: npt.NDArray[np.int64]

    @property
    def _a_word(self) -> int:
        return 64 // max(1, self.width)

    def places(self, radius: int) -> npt.NDArray[np.int64]:
        """For each chunk its word, shift, mask and limit at a radius: int64 (count, 4)."""
        word, place = np.divmod(np.arange(self.count), self._a_word)
        mask = np.full(self.count, (1 << self.width) - 1)
        return np.stack([word, place * self.width, mask, limits_of(radius, self.count)], axis=1).astype(np.int64)


def limits_of(radius: int, count: int) -> list[int]:
    """By how many bits each chunk may differ; -1 where it need not be looked at."""
    each, more = divmod(radius + 1, count)
    return [each - 1 + (chunk < more) for chunk in range(count)]


def masks_of(width: int, limit: int) -> npt.NDArray[np.int64]:
    """All numbers of `width` bits with up to `limit` set, the fewest first."""
    turned = (bits for ones in range(min(limit, width) + 1) for bits in combinations(range(width), ones))
    return np.array([sum(1 << bit for bit in bits) for bits in turned], np.int64)


def choose(hashes: npt.NDArray[np.uint64], radius: int, queries: bool) -> Chunks:
    """The cheapest cut of hashes uint64 (n, words): for a join of all with all, or for `queries`, one by one."""
    n, words = hashes.shape
    best = (float("inf"), 1, 0)
    same = _same(hashes)
    order = np.argsort(same, kind="stable")
    for count in range(1, min(radius + 1, 64 * words) + 1):
        for width in range(0 if count == 1 else 1, MAX_WIDTH + 1):
            if count > words * (64 // max(1, width)):
                continue
            collide = float(np.exp(np.log(same[order[: count * width]]).sum() / count))
            masks = [sum(comb(width, k) for k in range(min(limit, width) + 1)) for limit in limits_of(radius, count)]
            if max(masks) <= MAX_MASKS:
                best = min(best, (_cost(n, words, masks, width, collide, queries), count, width))
    _, count, width = best
    return Chunks(count, width, _deal(order, count, width))


def _cost(n: int, words: int, masks: list[int], width: int, collide: float, queries: bool) -> float:
    """Nanoseconds, of a machine like ours: for all hashes or for one query."""
    pairs = n * collide * PAIR_NS * words
    if queries:
        return sum(masks) * (LOOKUP_NS + pairs)
    return sum(masks) * ((1 << width) * BUCKET_NS + n * (ROW_NS + pairs)) / 2 + len(masks) * n * SORT_NS


def _same(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """The chance that two hashes have the same value of a bit, for each bit; 1 where all have, 0.5 at best."""
    some = np.ascontiguousarray(hashes[:: max(1, len(hashes) // SAMPLE)])
    bits = np.unpackbits(some.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    share = bits.mean(axis=0) if len(some) else np.zeros(bits.shape[1])
    # a thousandth is what chance makes of a sample; bits that equal keep their order
    return np.round(share**2 + (1 - share) ** 2, 3)


def _deal(order: npt.NDArray[np.int64], count: int, width: int) -> npt.NDArray[np.int64]:
    """The best bits dealt to the chunks in turn, there and back; the others where there is room."""
    sources, a_word = np.full(len(order), -1, np.int64), 64 // max(1, width)
    for number, bit in enumerate(order[: count * width]):
        turn, chunk = divmod(number, count)
        chunk = count - 1 - chunk if turn % 2 else chunk
        sources[chunk // a_word * 64 + chunk % a_word * width + turn] = bit
    sources[sources < 0] = order[count * width :]
    return sources
