"""From buckets to pairs, and from pairs to their exact Jaccard similarity.

Sets are compared by hashes of 64 bits, so "verified" means it: with the 32 bits that signatures are made of, one pair
in 4,300 of texts of 1,000 characters would have a shingle taken for another one; with 64, one in 2e13. Who sets out to
make two shingles with one hash can (XXH64 is no cryptography), and gains that one text counts as a copy of another.
A pair of 230 shingles each takes 1.3 us.

All pairs of a bucket would be quadratic: one of 10,000 makes 50 million. Up to `cap` members all are compared; beyond
it, each with its (cap - 1) // 2 next ones in an order in which similar ones are neighbours. So the work is linear in
the bucket, and members that are all duplicates of one another still make one chain. What was not compared is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.config import require_range
from curate.dedup.bands import BandDigests
from curate.dedup.shingles import ShingleSets

__all__ = ["CAP", "Candidates", "candidate_pairs", "distinct_pairs", "jaccard", "pairs_of_buckets", "sorted_sets"]

Rows = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

CAP = 64
"""2,016 pairs of a bucket at most until it is cut."""


@dataclass(frozen=True)
class Candidates:
    """Pairs of rows, int64 (pairs,) each; how many buckets were above the cap, and how many pairs that left out."""

    left: Rows
    right: Rows
    capped_buckets: int
    pairs_left_out: int

    def __len__(self) -> int:
        return len(self.left)


def sorted_sets(sets: ShingleSets) -> ShingleSets:
    """The same sets, each in ascending order, as `jaccard` wants them."""
    hashes = sets.hashes.copy()
    _sort(sets.offsets, hashes)
    return ShingleSets(sets.offsets, hashes)


def jaccard(sets: ShingleSets, left: Rows, right: Rows) -> npt.NDArray[np.float64]:
    """Common shingles over all shingles of each pair of sets, float64 (pairs,), 0 to 1; 0 where both sets are empty.

    The sets are of hashes of 64 bits and sorted (`sorted_sets`), each hash once. Raises ValueError where they are not,
    or where a pair names a set that is not there.
    """
    if sets.hashes.dtype != np.uint64:
        raise ValueError("sets are compared by hashes of 64 bits; cut the texts with xxh64")
    if len(left) != len(right):
        raise ValueError(f"{len(left)} left rows and {len(right)} right rows make no pairs")
    if len(left) and (min(left.min(), right.min()) < 0 or max(left.max(), right.max()) >= len(sets)):
        raise ValueError(f"a pair names a row that is not among the {len(sets)} sets")
    if not _ascending(sets.offsets, sets.hashes):
        raise ValueError("the shingles of a set are not in ascending order, each once; use sorted_sets")
    out = np.empty(len(left), np.float64)
    _compare(sets.offsets, sets.hashes, left, right, out)
    return out


def pairs_of_buckets(keys: Keys, rows: Rows, cap: int = CAP, near: Keys | None = None) -> Candidates:
    """The pairs of rows that have one key; `keys` (uint64) in ascending order, one for each of `rows`.

    A bucket of more than `cap` members (2 to 65,536) is put in the order of `near`, a number for each member, such as
    its digest in the next band: who shares two bands is then beside one another, and since each band has another
    neighbour, each member meets others in each. More than `cap` members with one number are compared each with the
    next only, as a million equal texts would be. Without `near` the order is that of the rows. Members that have one
    key and one number keep the order given. Raises ValueError for keys that are not sorted.
    """
    require_range("cap", cap, 2, 65_536)
    if len(keys) != len(rows) or (near is not None and len(near) != len(rows)):
        raise ValueError(f"{len(keys)} keys for {len(rows)} rows; give one for each")
    if len(keys) and not (keys[1:] >= keys[:-1]).all():
        raise ValueError("the keys are not in ascending order; sort them, and the rows with them")
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    bounds = np.append(starts, len(keys)).astype(np.int64)
    members, runs = _ordered(bounds, rows, cap, near)
    counts = np.zeros(3, np.int64)
    nowhere = np.empty(0, np.int64)
    _pair(bounds, members, runs, cap, (nowhere, nowhere), counts)
    left, right = np.empty(counts[0], np.int64), np.empty(counts[0], np.int64)
    _pair(bounds, members, runs, cap, (left, right), counts)
    return Candidates(np.minimum(left, right), np.maximum(left, right), int(counts[1]), int(counts[2]))


def candidate_pairs(digests: BandDigests, cap: int = CAP, rows: Rows | None = None) -> Candidates:
    """All pairs that meet in a band, each once and in ascending order, of digests (texts, bands) that fit in memory.

    `rows` are the texts that have a signature; all by default. Counts are summed over the bands.
    """
    if rows is None:
        rows = np.arange(len(digests), dtype=np.int64)
    found, buckets, left_out = [], 0, 0
    for band in range(digests.shape[1]):
        keys, near = digests[rows, band], digests[rows, (band + 1) % digests.shape[1]]
        order = np.argsort(keys, kind="stable")
        pairs = pairs_of_buckets(keys[order], rows[order], cap, near[order])
        found.append(distinct_pairs(pairs.left, pairs.right))
        buckets, left_out = buckets + pairs.capped_buckets, left_out + pairs.pairs_left_out
    nothing = np.empty(0, np.int64)
    lefts, rights = [nothing, *(left for left, _ in found)], [nothing, *(right for _, right in found)]
    return Candidates(*distinct_pairs(np.concatenate(lefts), np.concatenate(rights)), buckets, left_out)


def distinct_pairs(left: Rows, right: Rows) -> tuple[Rows, Rows]:
    """Pairs of row numbers (0 to 2^32 - 1) in ascending order, each once."""
    if len(left) and max(left.max(), right.max()) >> 32:
        raise ValueError("a row number has more than 32 bits; number the rows of a partition from 0")
    packed = np.unique((left.astype(np.uint64) << np.uint64(32)) | right.astype(np.uint64))
    return (packed >> np.uint64(32)).astype(np.int64), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _ordered(bounds: Rows, rows: Rows, cap: int, near: Keys | None) -> tuple[Rows, Rows]:
    """Rows with those of large buckets in the order of `near`, and for each row how far the run of one number goes."""
    ends = np.arange(1, len(rows) + 1, dtype=np.int64)
    if near is None:
        return rows, ends
    buckets = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    large = np.flatnonzero((np.diff(bounds) > cap)[buckets])
    if not len(large):
        return rows, ends
    order = large[np.lexsort((near[large], buckets[large]))]
    rows = rows.copy()
    rows[large] = rows[order]
    new = (buckets[large][1:] != buckets[large][:-1]) | (near[order][1:] != near[order][:-1])
    starts = np.flatnonzero(np.concatenate([[True], new]))
    sizes = np.diff(np.append(starts, len(large)))
    last = np.repeat(large[starts + sizes - 1] + 1, sizes)
    ends[large] = np.where(np.repeat(sizes, sizes) > cap, last, ends[large])
    return rows, ends


@njit(cache=True, nogil=True)
def _pair(bounds: Rows, rows: Rows, runs: Rows, cap: int, out: tuple[Rows, Rows], counts: Rows) -> None:
    """Write pairs to `out` where it has room, and count: pairs, buckets above the cap, pairs left out.

    `runs` says for each member where the run of equal ones that it is compared with sparingly ends.
    """
    left, right = out
    place, capped, left_out = 0, 0, 0
    for bucket in range(len(bounds) - 1):
        start, end = bounds[bucket], bounds[bucket + 1]
        size, reach, before = end - start, cap - 1, place
        if size > cap:
            reach = max((cap - 1) // 2, 1)
        for i in range(start, end):
            stop = min(i + reach, end - 1)
            if runs[i] > i + 1:
                stop = min(stop, i + 1)
            for j in range(i + 1, stop + 1):
                if place < len(left):
                    left[place], right[place] = rows[i], rows[j]
                place += 1
        if size > cap:
            capped += 1
            left_out += size * (size - 1) // 2 - (place - before)
    counts[0], counts[1], counts[2] = place, capped, left_out


@njit(cache=True, nogil=True)
def _sort(offsets: Rows, hashes: npt.NDArray[Any]) -> None:
    for row in range(len(offsets) - 1):
        hashes[offsets[row] : offsets[row + 1]].sort()


@njit(cache=True, nogil=True)
def _ascending(offsets: Rows, hashes: Keys) -> bool:
    for row in range(len(offsets) - 1):
        for i in range(offsets[row] + 1, offsets[row + 1]):
            if hashes[i] <= hashes[i - 1]:
                return False
    return True


@njit(cache=True, nogil=True)
def _compare(offsets: Rows, hashes: Keys, left: Rows, right: Rows, out: npt.NDArray[np.float64]) -> None:
    for pair in range(len(left)):
        i, i_end = offsets[left[pair]], offsets[left[pair] + 1]
        j, j_end = offsets[right[pair]], offsets[right[pair] + 1]
        total, common = (i_end - i) + (j_end - j), 0
        while i < i_end and j < j_end:
            one, other = hashes[i], hashes[j]
            common += one == other
            i += one <= other
            j += other <= one
        out[pair] = common / (total - common) if total else 0.0
