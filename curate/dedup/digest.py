"""Strings as 128-bit digests, so that equal ones can be found by sorting numbers.

Two different strings are taken for one with a chance of n * n / 2^129 for n different strings: 1.5e-19 for ten billion.
Up to 1 KiB numpy mixes a column of strings 16 bytes at a time, 16,000 strings side by side: 4.7 M image URLs or 1.3 M
paragraphs of 310 bytes are hashed and grouped a second and core (`bench/frequency.py`), two to five times what a call
of BLAKE2b for each makes. Longer strings do get that call, since few of them side by side would waste the mixing. It is
no cryptography: who sets out to make two strings with one digest can, and gains that one page counts as a copy of
another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Digests", "digest_sets", "digest_strings", "join_digests"]

Digests: TypeAlias = npt.NDArray[np.uint64]
"""uint64 of shape (n, 2)."""

SIDE_BY_SIDE = 16_384
LONG_BYTES = 1_024
BLOCK = 16
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
"""Odd numbers without a pattern in their bits: the golden ratio, and a prime that xxHash uses for the same end."""
_LAST = np.uint64(0xBF58476D1CE4E5B9)
_BITS = [(1 << 8 * min(n, 8)) - 1 for n in range(BLOCK + 1)]
_MASKS = np.array([(_BITS[n], _BITS[max(n - 8, 0)]) for n in range(BLOCK + 1)], dtype=np.uint64)
"""Which bits of a block of 16 bytes belong to a string that has n bytes in it."""


def digest_strings(texts: pa.Array | pa.ChunkedArray) -> Digests:
    """The digest of each string, by its bytes. Raises ValueError for a null."""
    if texts.null_count:
        raise ValueError("a null has no digest; leave such rows out")
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    return np.concatenate([np.empty((0, 2), np.uint64), *(_digest(chunk) for chunk in chunks)])


def join_digests(one: Digests, other: Digests) -> Digests:
    """The digest of a pair of strings from theirs, row by row. The order counts."""
    first, second = one[:, 0] + other[:, 1] * _FIRST, one[:, 1] ^ (other[:, 0] * _SECOND)
    return np.stack(_finish(first, second), axis=1)


def digest_sets(owners: npt.NDArray[np.int64], members: Digests) -> tuple[npt.NDArray[np.int64], Digests]:
    """The digest of each owner's set of members: in which order and how often they come does not count.

    `owners` says whose each member is. Returns the owners in ascending order, each once, and the digests of their sets.
    BLAKE2b of the sorted digests, of 16 bytes each: no two sets can run together to the same bytes.
    """
    order = np.lexsort((members[:, 1], members[:, 0], owners))
    owners, members = owners[order], members[order]
    again = (owners[1:] == owners[:-1]) & (members[1:] == members[:-1]).all(axis=1)
    new = np.concatenate([[True], ~again])[: len(owners)]
    owners, members = owners[new], members[new]
    own, starts = np.unique(owners, return_index=True)
    ends = BLOCK * np.append(starts, len(owners))
    return own, _blake2b(memoryview(members.astype("<u8").tobytes()), ends[:-1].tolist(), ends[1:].tolist())


def _digest(texts: pa.Array) -> Digests:
    texts = texts.cast(pa.large_binary())
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if not len(texts):
        return np.empty((0, 2), np.uint64)
    own = np.frombuffer(texts.buffers()[2] or b"", np.uint8, offsets[-1] - offsets[0], offsets[0])
    padded = np.concatenate([own, np.zeros(BLOCK, np.uint8)])
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    found = np.empty((len(texts), 2), np.uint64)
    long = np.flatnonzero(lengths > LONG_BYTES)
    found[long] = _blake2b(padded.data, starts[long].tolist(), (starts + lengths)[long].tolist())
    short = np.flatnonzero(lengths <= LONG_BYTES)
    for place in range(0, len(short), SIDE_BY_SIDE):
        rows = short[place : place + SIDE_BY_SIDE]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        found[rows] = _mix(padded, starts[rows], lengths[rows])
    return found


def _mix(padded: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Digests:
    """Digests of strings in descending order of length: those that have a block number k lie in front."""
    blocks = np.ndarray((len(padded) - BLOCK + 1,), np.dtype((np.void, BLOCK)), padded, strides=(1,))
    first, second = lengths.astype(np.uint64) * _FIRST, lengths.astype(np.uint64) ^ _SECOND
    places = starts.copy()
    ends = np.searchsorted(-lengths, -np.arange(0, lengths[0] + 1, BLOCK)).tolist()
    for begin, active in zip(range(0, int(lengths[0]), BLOCK), ends, strict=False):
        whole = int(np.searchsorted(-lengths, -(begin + BLOCK), side="right"))
        block = blocks[places[:active]].view("<u8").reshape(-1, 2)
        block[whole:] &= _MASKS[lengths[whole:active] - begin]
        _turn(first[:active], second[:active], block)
        places[:active] += BLOCK
    return np.stack(_finish(first, second), axis=1)


def _turn(first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64], block: Digests) -> None:
    """Take one block into each state, in place. For a given block no two states lead to one, nor the other way."""
    first ^= block[:, 0]
    first *= _FIRST
    second ^= block[:, 1]
    second *= _SECOND
    first ^= second >> np.uint64(31)
    second ^= first >> np.uint64(29)


def _finish(first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], ...]:
    """Make every bit of both halves depend on every bit of the state."""
    for _ in range(2):
        first = (first ^ (first >> np.uint64(32)) ^ second) * _LAST
        second = (second ^ (second >> np.uint64(32)) ^ (first >> np.uint64(17))) * _LAST
    return first ^ (first >> np.uint64(31)), second ^ (second >> np.uint64(31))


def _blake2b(data: memoryview, starts: Sequence[int], ends: Sequence[int]) -> Digests:
    digests = [hashlib.blake2b(data[a:b], digest_size=16).digest() for a, b in zip(starts, ends, strict=True)]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64).reshape(-1, 2)
