"""PDQ: 256 bits of a picture and how much there is to see in it, equal to Meta's reference to the last bit.

The algorithm is that of "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (Facebook, 2019,
in the ThreatExchange repository): luminance .299 R + .587 G + .114 B; a tent filter made of two passes of a box along
rows and along columns (Jarosz); 64 x 64 values picked from its centres; their 16 x 16 lowest frequencies without the
mean (DCT-II, rows 1 to 16 of 64); a bit is set where one is above the lower median. Matches are within 31 bits, and
hashes of a quality of 49 or less are not worth comparing: both are the advice given with it.

`quality` (0 to 100) sums the steps of the 64 x 64 values from neighbour to neighbour, those below 1 % of the range left
out. It tells flat pictures, which share their hashes whatever the kind (a pHash at 10 of 64 bits most of all), from
those that can be compared: gate any perceptual search by it.

The specification allows 10 bits between implementations at a quality of 80 or more. Here there are none, at any
quality, against the PyPI package `pdqhash` (Meta's C++): every sum is of 32-bit floats in the order of the reference.
(Meta's own command line shrinks pictures above 512 px first; `pdqhash` and this do not.) `curate.perceptual.jarosz`
says why it takes a seventh to a third of the reference's time, and 1 % of its memory.

Compiled by numba (`pip install "curate-vl[dedup]"`) at first use, in 6 s, and kept on disk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from curate.filter import Pixels
from curate.perceptual.jarosz import SIDE, Floats, blurred
from curate.perceptual.shrink import check_pixels

__all__ = ["LEAST_QUALITY", "LEAST_SIDE_PX", "Pdq", "pdq"]

LEAST_QUALITY = 50
"""The least quality of a hash that is worth comparing, included."""
LEAST_SIDE_PX = 5
"""A picture with a shorter side has the hash 0 and the quality 0, as in the reference."""

LOW = 16


class Pdq(NamedTuple):
    """`hash`: 32 bytes, as Meta's text form has them in hexadecimal. `quality`: 0 to 100."""

    hash: bytes
    quality: int


def pdq(pixels: Pixels) -> Pdq:
    """The PDQ hash of uint8 (height, width, 3). Raises ValueError for anything else, and for a side above 65,535."""
    check_pixels(pixels)
    if min(pixels.shape[:2]) < LEAST_SIDE_PX:
        return Pdq(bytes(32), 0)
    view = np.ascontiguousarray(pixels).view()
    view.flags.writeable = False  # one type of array, so that it is compiled once
    small = blurred(view)
    low = _frequencies(small, _WAVES).ravel()
    bits = low > np.partition(low, low.size // 2 - 1)[low.size // 2 - 1]
    return Pdq(np.packbits(bits[::-1]).tobytes(), _quality(small))


def _waves() -> Floats:
    """Vectors 1 to 16 of the orthonormal DCT-II of 64, (16, 64), rounded as the reference rounds them."""
    angles = (np.pi / 2 / SIDE) * np.outer(np.arange(1, LOW + 1), 2 * np.arange(SIDE) + 1)
    return np.asarray(np.float64(np.float32((2 / SIDE) ** 0.5)) * np.cos(angles)).astype(np.float32)


_WAVES = _waves()


@njit(cache=True, nogil=True)
def _quality(small: Floats) -> int:
    total = 0
    for i in range(SIDE):
        for j in range(SIDE):
            if i + 1 < SIDE:
                total += abs(int((small[i, j] - small[i + 1, j]) * np.float32(100) / np.float32(255)))
            if j + 1 < SIDE:
                total += abs(int((small[i, j] - small[i, j + 1]) * np.float32(100) / np.float32(255)))
    return min(total // 90, 100)


@njit(cache=True, nogil=True)
def _frequencies(small: Floats, waves: Floats) -> Floats:
    """waves @ small @ waves.T, (16, 16), each sum in the order of its terms."""
    half = np.zeros((LOW, SIDE), np.float32)
    for i in range(LOW):
        for k in range(SIDE):
            for j in range(SIDE):
                half[i, j] += waves[i, k] * small[k, j]
    turned = waves.T.copy()
    low = np.zeros((LOW, LOW), np.float32)
    for i in range(LOW):
        for k in range(SIDE):
            for j in range(LOW):
                low[i, j] += half[i, k] * turned[k, j]
    return low
