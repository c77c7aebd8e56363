"""dHash: 64 bits, where a picture of 9 x 8 grey values grows brighter from one value to the next in its row.

`dhash` is `imagehash.dhash`, which turns grey before the resize, `dhash_imagededup` is `imagededup.methods.DHash`,
which does so after it: of 1,327 photographs and diagrams 980 have the same hash in both, so the two are not to be
mixed. Both are whole-number arithmetic and equal the peers' always. The first bit is the most significant, so
`f"{dhash(pixels):016x}"` is what either peer prints.

Nearly all of its time is Pillow's resize, so it is little faster than a pHash: 0.2 against 0.3 ms for pictures of at
most 256 px. A flat picture's hash is 0.
"""

from __future__ import annotations

from curate.filter import Pixels
from curate.perceptual.phash import packed
from curate.perceptual.shrink import Grey, shrink_grey, shrink_then_grey

__all__ = ["DHASH_SIZE", "dhash", "dhash_imagededup", "rising_bits"]

DHASH_SIZE = (9, 8)
"""Width and height of the grey picture."""


def dhash(pixels: Pixels) -> int:
    """The dHash of imagehash, 0 to 2^64 - 1. Raises ValueError as `shrink_grey`."""
    (grey,) = shrink_grey(pixels, DHASH_SIZE)
    return rising_bits(grey)


def dhash_imagededup(pixels: Pixels) -> int:
    """The dHash of imagededup, 0 to 2^64 - 1. Raises ValueError as `shrink_grey`."""
    (grey,) = shrink_then_grey(pixels, DHASH_SIZE)
    return rising_bits(grey)


def rising_bits(grey: Grey) -> int:
    """Either dHash of a picture that is (8, 9) already."""
    return packed(grey[:, 1:] > grey[:, :-1])
