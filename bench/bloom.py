"""n-grams asked of a Bloom filter and added to it, a second of CPU: ours against Bloom filters that Python has.

Texts are made from a fixed seed: paragraphs of 40 to 200 words out of 50,000, a fifth of them said before. Each
contender gets them as strings, makes n-grams of 13 words, asks for those of a document and adds them, at a false
positive rate of .01: ours with the step's own code, the others with one string per n-gram, as their interfaces want
it. `plain` is a bytearray and two 64-bit halves of BLAKE2b, in 15 lines of Python; rbloom is Rust, pybloom-live Python
on bitarray; those that are not installed are left out. The filter alone is measured besides, on hashes that are there.
Shares of seen n-grams must agree with those of a Python set within what the rate allows.

    python -m bench.bloom [--small]         --small: a fifth; PYTHONPATH may name a folder with rbloom and pybloom_live
"""

from __future__ import annotations

import hashlib
import importlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

PARAGRAPHS, N, RATE = 20_000, 13, 0.01
Shares = list[float]


def texts(count: int) -> list[str]:
    """The paragraphs."""
    random = np.random.default_rng(0)
    words = np.array([f"w{number:x}" for number in range(50_000)], object)
    made: list[str] = []
    for size in random.integers(40, 201, count).tolist():
        again = made and random.random() < 0.2
        made.append(
            made[int(random.integers(len(made)))] if again else " ".join(words[random.integers(0, 50_000, size)])
        )
    return made


def ngrams(text: str) -> Iterator[str]:
    """Each once, in the order in which they come."""
    words = text.lower().split()
    grams = (" ".join(words[start : start + N]) for start in range(max(1, len(words) - N + 1)))
    return iter(dict.fromkeys(grams))


class Plain:
    """A Bloom filter as one would write it."""

    def __init__(self, keys: int, rate: float) -> None:
        self.bits = max(64, math.ceil(-keys * math.log(rate) / math.log(2) ** 2))
        self.hashes = max(1, round(self.bits / keys * math.log(2)))
        self.data = bytearray(self.bits // 8 + 1)

    def places(self, key: str) -> list[int]:
        """Bits of a key."""
        digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
        one, other = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") | 1
        return [(one + n * other) % self.bits for n in range(self.hashes)]

    def __contains__(self, key: str) -> bool:
        return all(self.data[place >> 3] >> (place & 7) & 1 for place in self.places(key))

    def add(self, key: str) -> None:
        """Set its bits."""
        for place in self.places(key):
            self.data[place >> 3] |= 1 << (place & 7)


def one_by_one(filter: Any, paragraphs: list[str]) -> Shares:
    """The share of n-grams that were there before, of each paragraph."""
    shares = []
    for text in paragraphs:
        own = list(ngrams(text))
        shares.append(sum(gram in filter for gram in own) / len(own))
        for gram in own:
            filter.add(gram)
    return shares


def ours(paragraphs: list[str], keys: int) -> Shares:
    """The same by the step's own code."""
    from curate.dedup.bloom_filter import lines_needed, new_filter, seen_before
    from curate.dedup.shingles import Shingles, shingle_sets

    sets = shingle_sets(pa.array(paragraphs), Shingles("words", N), "xxh64")
    seen = np.zeros(len(sets.hashes), bool)
    seen_before(new_filter(lines_needed(keys, RATE)), sets.hashes, sets.offsets[1:], seen)
    return (np.add.reduceat(seen, sets.offsets[:-1], dtype=float) / sets.sizes).tolist()


def timed(work: Callable[[], Shares]) -> tuple[float, Shares]:
    """CPU seconds, the best of two, and the answer."""
    best, answer = math.inf, []
    for _ in range(2):
        started = time.process_time()
        answer = work()
        best = min(best, time.process_time() - started)
    return best, answer


def filter_alone(keys: int) -> float:
    """n-grams a second of CPU, from hashes."""
    from curate.dedup.bloom_filter import lines_needed, new_filter, seen_before

    hashes = np.random.default_rng(0).integers(0, 1 << 64, keys, np.uint64)
    ends, seen = np.arange(100, keys + 100, 100).clip(max=keys), np.zeros(keys, bool)
    started = time.process_time()
    seen_before(new_filter(lines_needed(keys, RATE)), hashes, ends, seen)
    return keys / (time.process_time() - started)


def peers(keys: int) -> dict[str, Callable[[], Any]]:
    """What makes an empty filter of each kind that is installed."""
    found: dict[str, Callable[[], Any]] = {"set": set, "plain": lambda: Plain(keys, RATE)}
    for module, name in (("rbloom", "Bloom"), ("pybloom_live", "BloomFilter")):
        try:
            kind = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
        found[module] = lambda kind=kind: kind(keys, RATE)
    return found


def main(small: bool) -> None:
    """Run all and print the table."""
    paragraphs = texts(PARAGRAPHS // 5 if small else PARAGRAPHS)
    keys = sum(len(list(ngrams(text))) for text in paragraphs)
    ours(paragraphs[:100], keys)
    spent, mine = timed(lambda: ours(paragraphs, keys))
    print(f"{len(paragraphs):,} paragraphs, {keys:,} n-grams of {N} words, rate {RATE}")
    print(f"{'':14} {'n-grams a CPU second':>20} {'ours is':>8} {'largest difference of a share from the set':>44}")
    exact: Shares = []
    for name, make in peers(keys).items():
        seconds, shares = timed(lambda make=make: one_by_one(make(), paragraphs))
        exact = exact or shares
        off = max(abs(a - b) for a, b in zip(shares, exact, strict=True))
        print(f"{name:14} {keys / seconds:20,.0f} {seconds / spent:7.1f}x {off:44.3f}")
    off = max(abs(a - b) for a, b in zip(mine, exact, strict=True))
    print(f"{'ours':14} {keys / spent:20,.0f} {1:7.1f}x {off:44.3f}")
    for count in (1_000_000, 50_000_000 if not small else 5_000_000):
        print(f"the filter alone, {count:,} hashes: {filter_alone(count):,.0f} a CPU second")


if __name__ == "__main__":
    main("--small" in sys.argv[1:])
