"""What tells a picture from others without a model: digests of its bytes and its pixels, and a perceptual hash.

The hash is the pHash of `curate.perceptual.phash`, and flat pictures have none. It survives what happens to a picture
on the web, as far as it is not cut. Of 332 photographs and diagrams of textbooks, within 4 of its 64 bits: all that
were halved or squashed to a square, all but one encoded anew at quality 40, 96 % of those made brighter by 15 %, 23 %
of those cropped by 3 % a side, one with a white border of 5 %. Crops, borders and mirrored pictures need the
embeddings of a copy detection model, which come with deduplication. Chance: of the 879,801 pairs of 1,327 such pictures
31 are within 4 bits, and 30 of these show the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from curate.fetch.image import decode
from curate.filter import Pixels
from curate.perceptual.phash import PHASH_SIZE, median_bits
from curate.perceptual.pixels import pixel_hash
from curate.perceptual.shrink import MAX_SIDE_PX, shrink_grey

__all__ = ["Signature", "perceptual_hash", "signature_of"]

FLAT = 4.0
"""Standard deviation of the 32 x 32 grey values below which a picture has no hash: flat ones all look alike."""


@dataclass(frozen=True)
class Signature:
    """What tells one picture from others: digests of its bytes (as stored, and as downloaded where that is known), of
    its pixels, and a perceptual hash; None for what cannot be decoded, and for flat pictures."""

    name: str
    digests: tuple[bytes, ...]
    pixels: bytes | None
    hash: int | None


def perceptual_hash(pixels: Pixels) -> int | None:
    """The 64 bits of `curate.perceptual.phash`; None for a flat picture. 0.1 ms to shrink 64 x 64, 0.9 ms 512 x 512.
    Raises ValueError for a side above 65,535."""
    (grey,) = shrink_grey(pixels, PHASH_SIZE)
    return None if grey.std() < FLAT else median_bits(grey)


def signature_of(name: str, data: bytes, downloaded: str | None = None) -> Signature:
    """`downloaded` is the SHA-256 (hex) of the picture before it was resized."""
    digests = [hashlib.sha256(data).digest()]
    if downloaded is not None and _is_sha256(downloaded):
        digests.append(bytes.fromhex(downloaded))
    pixels = decode(data)
    if pixels is None:
        return Signature(name, tuple(digests), None, None)
    near = None if max(pixels.shape) > MAX_SIDE_PX else perceptual_hash(pixels)
    return Signature(name, tuple(digests), pixel_hash(pixels), near)


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and not text.strip("0123456789abcdefABCDEF")
