"""Any bytes as a small still picture, and many of them in a bounded number of bytes.

The bytes are a stranger's, so they go the way of a download (`curate.fetch.image`): the header is read first, limits
act on it, and whatever a decoder raises means that there is no picture. A WebP of 160 px has some 4 kB for a photo and
1 kB for a drawing, half of what a JPEG of the same look has; all browsers since 2020 show it.

    photo of 512 px   1.5 ms, most of it decoding      photo of 12 MP   30 ms
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from curate.fetch.image import ImageSettings, process

__all__ = ["MOST_BYTES", "fitted", "thumbnail"]

MOST_BYTES = 64 << 20
"""Of an encoded picture that is opened."""
MOST_PX = 64_000_000
"""Of a picture that is decoded: what a fetch stores at most by itself."""
QUALITY = 70
LEAST_SIDE_PX = 32
"""A picture that has to be smaller still is left out."""
SMALLER = 0.85


def thumbnail(image: bytes, side_px: int) -> bytes:
    """A WebP of at most `side_px` on its longer side, sRGB, upright, an animation by its first frame; no bytes where
    the picture cannot be shown, because it is broken, too large (64 MiB, 64 megapixels) or of a kind that is not
    opened. Never raises, and never makes a picture larger."""
    if not image or len(image) > MOST_BYTES:
        return b""
    settings = ImageSettings(
        size_px=side_px,
        resize_mode="keep_ratio_largest",
        resize_only_if_bigger=True,
        format="webp",
        quality=QUALITY,
        max_area_px=MOST_PX,
        exif=False,
    )
    return process(image, settings).data


def fitted(pictures: Sequence[bytes], side_px: int, most_bytes: int) -> list[bytes]:
    """Thumbnails of `side_px` that have `most_bytes` together: where they have more, the largest ones are made smaller,
    all to the same number of bytes at most. A picture that is there twice counts twice."""
    found = list(pictures)
    most = _level([len(picture) for picture in found], most_bytes)
    made: dict[bytes, bytes] = {}
    for place, picture in enumerate(found):
        if len(picture) > most:
            if picture not in made:
                made[picture] = _within(picture, side_px, most)
            found[place] = made[picture]
    return found


def _level(sizes: Sequence[int], most_bytes: int) -> int:
    """The largest number of bytes such that, when no picture has more, all have `most_bytes` together at most."""
    left = most_bytes
    for place, size in enumerate(sorted(sizes)):
        others = len(sizes) - place
        if size * others > left:
            return left // others
        left -= size
    return max(sizes, default=0)


def _within(picture: bytes, side_px: int, most_bytes: int) -> bytes:
    made = picture
    while len(made) > most_bytes:
        side_px = int(side_px * min(SMALLER, math.sqrt(most_bytes / len(made)) + 1 - SMALLER))
        if side_px < LEAST_SIDE_PX:
            return b""
        made = thumbnail(picture, side_px)
    return made
