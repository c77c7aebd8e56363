"""MinHash signatures, equal to the bit to datasketch's and fifty times as fast (40 to 150, by the length of the texts).

For p permutations a set of m shingles takes p * m multiplications, whoever does it. datasketch gives each text to numpy
as a table of m rows and p columns, 170 KB for a caption, and hashes each shingle by a call. Here eight shingles at a
time meet all permutations: what is lowest so far is read and written once for the eight, and the compiler does 16
permutations in one instruction: 0.7 us for the 167 shingles of a caption and 256 permutations (`bench/minhash.py`).

Signatures of 256 numbers take 1 KiB a text: 10 TB for ten billion. So they are made, cut into bands, and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from curate.config import require_range
from curate.dedup.shingles import HashName, Shingles, ShingleSets, shingle_batches

__all__ = [
    "NO_SHINGLE",
    "Permutations",
    "Signatures",
    "mix_bands",
    "permutations",
    "sign_texts",
    "signatures",
    "signed",
]

Signatures: TypeAlias = npt.NDArray[np.uint32]
"""uint32 (texts, permutations)."""
Scheme: TypeAlias = Literal["affine32", "legacy"]

NO_SHINGLE = np.uint32(0xFFFFFFFF)
"""Every number of the signature of a text without shingles, as in datasketch."""
_PRIME, _LOW = np.uint64((1 << 61) - 1), np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(61)


@dataclass(frozen=True)
class Permutations:
    """What datasketch draws from a seed: factors `a` and summands `b`, of shape (p,), uint32, or uint64 for `legacy`.

    `affine32` is datasketch 2.0's own (a finaliser of MurmurHash3, then a * h + b modulo 2^32), `legacy` what came
    before it ((a * h + b) modulo 2^64, modulo 2^61 - 1, low 32 bits) and what indexes of that time hold.

    Among texts that share words `affine32` lets slightly more meet than theory says: in 17 bands of 15 rows .013 more
    of the pairs around Jaccard .8 (six seeds), `legacy` .004 fewer; with random sets neither differs.
    """

    scheme: Scheme
    seed: int
    a: npt.NDArray[np.uint32] | npt.NDArray[np.uint64]
    b: npt.NDArray[np.uint32] | npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.a)


def permutations(count: int = 256, seed: int = 1, scheme: Scheme = "affine32") -> Permutations:
    """The permutations of `datasketch.MinHash(count, seed, scheme=scheme)`, asked of datasketch itself (2.0 or later).

    Raises ValueError for a scheme that is neither of the two.
    """
    from datasketch import MinHash

    require_range("permutations", count, 1, 65_536)
    if scheme not in ("affine32", "legacy"):
        raise ValueError(f"scheme = {scheme!r} is neither affine32 nor legacy")
    a, b = MinHash(num_perm=count, seed=seed, scheme=scheme).permutations
    return Permutations(scheme, seed, np.ascontiguousarray(a), np.ascontiguousarray(b))


def signatures(sets: ShingleSets, by: Permutations) -> Signatures:
    """The signature of each set of 32-bit hashes, uint32 (sets, permutations): the least of each permutation.

    Equal to `MinHash.hashvalues` of datasketch for the same hashes. Raises ValueError for hashes of 64 bits.
    """
    if sets.hashes.dtype != np.uint32:
        raise ValueError(
            f"signatures are made of uint32 hashes, not {sets.hashes.dtype}; cut the texts with xxh32 or sha1"
        )
    out = np.full((len(sets), len(by)), NO_SHINGLE, np.uint32)
    if by.scheme == "affine32":
        _sign_affine(sets.offsets, sets.hashes, by.a, by.b, out)
    else:
        _sign_legacy(sets.offsets, sets.hashes, by.a, by.b, out)
    return out


def sign_texts(
    texts: pa.Array | pa.ChunkedArray, settings: Shingles, by: Permutations, hash: HashName = "xxh32"
) -> Signatures:
    """Texts to signatures, uint32 (texts, permutations), a megabyte of text at a time. See `shingle_sets`."""
    batches = [signatures(sets, by) for sets in shingle_batches(texts, settings, hash)]
    return np.concatenate([np.empty((0, len(by)), np.uint32), *batches])


def signed(values: Signatures) -> npt.NDArray[np.bool_]:
    """Which texts have a signature, bool (texts,): all but those without shingles. Give no others to an index."""
    return np.asarray((values != NO_SHINGLE).any(axis=1))


@njit(cache=True, nogil=True)
def _finish(h: np.uint32) -> np.uint32:
    """The finaliser of MurmurHash3 (Austin Appleby, public domain)."""
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@njit(cache=True, nogil=True)
def _sign_affine(
    offsets: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint32],
    a: npt.NDArray[np.uint32],
    b: npt.NDArray[np.uint32],
    out: Signatures,
) -> None:
    last = len(hashes) - 1
    for row in range(len(offsets) - 1):
        own, end = out[row], offsets[row + 1]
        for i in range(offsets[row], end, 8):
            # Behind the end of the set its last shingle is taken again, which changes no minimum.
            stop = min(end - 1, last)
            h0, h1 = _finish(hashes[i]), _finish(hashes[min(i + 1, stop)])
            h2, h3 = _finish(hashes[min(i + 2, stop)]), _finish(hashes[min(i + 3, stop)])
            h4, h5 = _finish(hashes[min(i + 4, stop)]), _finish(hashes[min(i + 5, stop)])
            h6, h7 = _finish(hashes[min(i + 6, stop)]), _finish(hashes[min(i + 7, stop)])
            for k in range(len(a)):
                x, y = a[k], b[k]
                low = min(np.uint32(x * h0 + y), np.uint32(x * h1 + y))
                low = min(low, min(np.uint32(x * h2 + y), np.uint32(x * h3 + y)))
                low = min(low, min(np.uint32(x * h4 + y), np.uint32(x * h5 + y)))
                low = min(low, min(np.uint32(x * h6 + y), np.uint32(x * h7 + y)))
                own[k] = min(own[k], low)


@njit(cache=True, nogil=True)
def _sign_legacy(
    offsets: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint32],
    a: npt.NDArray[np.uint64],
    b: npt.NDArray[np.uint64],
    out: Signatures,
) -> None:
    """Modulo 2^61 - 1 without a division: the three bits above it count once more, and one subtraction at most."""
    for row in range(len(offsets) - 1):
        own = out[row]
        for i in range(offsets[row], offsets[row + 1]):
            h = np.uint64(hashes[i])
            for k in range(len(a)):
                value = a[k] * h + b[k]
                value = (value & _PRIME) + (value >> _SHIFT)
                value = value - _PRIME if value >= _PRIME else value
                own[k] = min(own[k], np.uint32(value & _LOW))


@njit(cache=True, nogil=True)
def mix_bands(values: Signatures, rows: int, out: npt.NDArray[np.uint64]) -> None:
    """See `curate.dedup.bands.band_digests`; `out` is uint64 (texts, bands)."""
    for text in range(out.shape[0]):
        for band in range(out.shape[1]):
            state = np.uint64(band + 1) * np.uint64(0x9E3779B97F4A7C15)
            for k in range(band * rows, (band + 1) * rows, 2):
                word = np.uint64(values[text, k])
                if k + 1 < (band + 1) * rows:
                    word |= np.uint64(values[text, k + 1]) << np.uint64(32)
                state = (state + word) ^ ((state + word) >> np.uint64(30))
                state *= np.uint64(0xBF58476D1CE4E5B9)
                state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                state ^= state >> np.uint64(31)
            out[text, band] = state
