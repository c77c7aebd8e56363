"""The chunks of a hash: 256 bits in 32 chunks cost 0.5 us a hash compiled, and 100 us by numpy, bit by bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["chunk_values"]

Hashes = npt.NDArray[np.uint64]


def chunk_values(hashes: Hashes, bits: npt.NDArray[np.int64], count: int, width: int) -> Hashes:
    """The values of `count` chunks of `width` bits of hashes uint64 (n, words): uint64 (n, count).

    `bits` says which bits, counted from the lowest of the first word, belong to the first chunk, the second, ...
    """
    out = np.zeros((len(hashes), count), np.uint64)
    _fill(np.ascontiguousarray(hashes), bits[: count * width] // 64, bits[: count * width] % 64, width, out)
    return out


@njit(cache=True, nogil=True)
def _fill(hashes: Hashes, words: npt.NDArray[np.int64], places: npt.NDArray[np.int64], width: int, out: Hashes) -> None:
    for row in range(len(hashes)):
        for chunk in range(out.shape[1]):
            value = np.uint64(0)
            for bit in range(chunk * width, (chunk + 1) * width):
                value = value << np.uint64(1) | hashes[row, words[bit]] >> np.uint64(places[bit]) & np.uint64(1)
            out[row, chunk] = value
