"""pHash: 64 bits, which of the 8 x 8 lowest frequencies of a picture are above their median.

Two definitions are in use, and their hashes are not comparable:

| here | as in | grey | median | a bit is set |
|---|---|---|---|---|
| `phash` | `imagehash.phash` | before the resize | of all 64 | above it |
| `phash_imagededup` | `imagededup.methods.PHash` | after the resize | of the 63 without the mean | above it, or it |

Both take the DCT-II of 32 x 32 grey values; here as two products with its first 8 rows, where the peers transform all
32 and drop 24. The first bit is the most significant, so `f"{phash(pixels):016x}"` is what either peer prints.

(Of the 64, the mean is always the greatest, so both medians part the other 63 alike: the two differ in the grey values,
and in the one bit of the median itself.)

A frequency that equals the median as far as double precision can tell is *not* above it, and is "it". The peers let the
rounding of their FFT decide, where many frequencies are 0 and so is the median. `bench.perceptual` counts: none of
1,327 photographs and diagrams differs from either peer, nor any of 208 flat pictures and 80 mosaics that are their own
mirror; of 192 pictures of one to three rows or columns 12 differ from imagehash's, by some 12 bits; of 28 slopes one
differs from each peer's, by a bit. Here such bits are the same on every machine.

Flat and nearly flat pictures share their few hashes with one another: at a radius of 10 bits, the common default,
64 bits are a false positive machine on a crawl of billions. Search at 4 to 8, and leave out what `pdq_quality` calls
flat (below 50, `curate.perceptual.pdq`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.filter import Pixels
from curate.perceptual.shrink import Grey, shrink_grey, shrink_then_grey

__all__ = ["PHASH_SIZE", "median_bits", "median_bits_without_mean", "packed", "phash", "phash_imagededup"]

PHASH_SIDE, LOW = 32, 8
PHASH_SIZE = (PHASH_SIDE, PHASH_SIDE)
"""Width and height of the grey picture."""

NOISE = 1e-7
"""What two frequencies may differ by and count as equal. They are up to 1,044,480, where double precision errs by less
than 1e-8; in 1,327 photographs and diagrams the nearest to its median is .05 away, and 78 is usual."""


def phash(pixels: Pixels) -> int:
    """The pHash of imagehash, 0 to 2^64 - 1. Raises ValueError as `shrink_grey`."""
    (grey,) = shrink_grey(pixels, PHASH_SIZE)
    return median_bits(grey)


def phash_imagededup(pixels: Pixels) -> int:
    """The pHash of imagededup, 0 to 2^64 - 1. Raises ValueError as `shrink_grey`."""
    (grey,) = shrink_then_grey(pixels, PHASH_SIZE)
    return median_bits_without_mean(grey)


def median_bits(grey: Grey) -> int:
    """`phash` of a picture that is (32, 32) already."""
    low = _low(grey)
    return packed(low > np.median(low) + NOISE)


def median_bits_without_mean(grey: Grey) -> int:
    """`phash_imagededup` of a picture that is (32, 32) already."""
    low = _low(grey)
    return packed(low >= np.median(low[1:]) - NOISE)


def packed(bits: npt.NDArray[np.bool_]) -> int:
    """64 booleans as one number, the first the most significant."""
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _low(grey: Grey) -> npt.NDArray[np.float64]:
    """The 64 lowest frequencies of (32, 32) values, in rows, at the scale of an unnormalised DCT-II."""
    return np.asarray((_WAVES @ grey.astype(np.float64) @ _WAVES.T).ravel())


def _waves() -> npt.NDArray[np.float64]:
    """The first 8 of the 32 vectors of the unnormalised DCT-II, (8, 32)."""
    places = 2 * np.arange(PHASH_SIDE) + 1
    return np.asarray(2 * np.cos(np.pi * np.outer(np.arange(LOW), places) / (2 * PHASH_SIDE)))


_WAVES = _waves()
