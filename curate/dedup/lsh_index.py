"""Our signatures as an index of datasketch, and an index of datasketch as our bands, without pickle.

For who has such an index, or tools that ask one. In memory only, and as slow as it is: to fill it with 32 bands takes
90 us and 28 KB a text, where our band digests take .2 us and 256 bytes; a data set is deduplicated without it. To read
one takes 1.4 us a key.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from curate.dedup.bands import BandDigests, Bands, band_digests
from curate.dedup.minhash import Permutations, Signatures, signed

if TYPE_CHECKING:
    from datasketch import MinHashLSH

__all__ = ["IndexedBands", "from_datasketch", "to_datasketch"]


@dataclass(frozen=True)
class IndexedBands:
    """What an index holds: keys, and of each the used part of its signature, uint32 (keys, bands * rows)."""

    keys: tuple[Hashable, ...]
    values: Signatures
    bands: Bands

    @property
    def digests(self) -> BandDigests:
        """uint64 (keys, bands), equal to those of our own signatures: whoever shares one is a candidate."""
        return band_digests(self.values, self.bands)


def to_datasketch(keys: Sequence[Hashable], values: Signatures, by: Permutations, bands: Bands) -> MinHashLSH:
    """An index in memory that answers `query` as one that was filled text by text.

    A text without shingles is left out: it would be a duplicate of all others without. Raises ValueError for keys
    that are not one per signature, or not distinct, and for signatures that are too short.
    """
    from datasketch import MinHash, MinHashLSH

    if len(keys) != len(values) or values.shape[1] != len(by):
        raise ValueError(f"{len(keys)} keys and {len(by)} permutations for signatures of shape {values.shape}")
    index = MinHashLSH(num_perm=len(by), params=(bands.bands, bands.rows))
    permutations = np.stack([by.a, by.b])
    for row in np.flatnonzero(signed(values)).tolist():
        one = MinHash(hashvalues=values[row], permutations=permutations, scheme=by.scheme, seed=by.seed)
        index.insert(keys[row], one)
    return index


def from_datasketch(index: MinHashLSH) -> IndexedBands:
    """Keys and band values of an index, in the order in which they were inserted.

    datasketch keeps the numbers of a band with their bytes turned round: 4 each for `affine32`, 8 for `legacy`. Raises
    ValueError for an index whose keys are pickles, or whose bands are hashed or of `affine64`: they cannot be compared.
    """
    if index.prepickle:
        raise ValueError("the keys of the index are pickles, which are not opened here; build it with prepickle=False")
    if index.hashfunc is not None:
        raise ValueError("the index keeps hashes of its bands, which cannot be compared; build one without hashfunc")
    keys = tuple(index.keys.keys())
    stored = [b"".join(index.keys.get(key)) for key in keys]
    numbers = index.b * index.r
    wrong = [key for key, found in zip(keys, stored, strict=True) if len(found) not in (4 * numbers, 8 * numbers)]
    if wrong or len({len(found) for found in stored}) > 1:
        raise ValueError(f"the bands of {(wrong or keys)[0]!r} do not have {numbers} numbers of one size")
    values = _turned(b"".join(stored), len(keys), numbers)
    if values.size and values.max() >> 32:
        raise ValueError("the index has numbers of 64 bits (scheme affine64); ours have 32, take affine32 or legacy")
    return IndexedBands(keys, values.astype(np.uint32), Bands(index.b, index.r))


def _turned(data: bytes, keys: int, numbers: int) -> npt.NDArray[np.uint64]:
    size = len(data) // max(keys * numbers, 1)
    own = np.dtype(np.uint64 if size == 8 else np.uint32).newbyteorder("S")
    return np.frombuffer(data, own).astype(np.uint64).reshape(keys, numbers)
