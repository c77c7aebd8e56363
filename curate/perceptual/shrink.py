"""The few grey values that a 64-bit hash is made of, equal to Pillow's to the last bit, in little memory.

The published hashes are defined by what Pillow does: its integer luminance and its LANCZOS resize. Two orders are in
use: imagehash turns a picture grey and then shrinks it, imagededup shrinks the colours and then turns them grey.

Pillow itself copies a picture into 4 bytes a pixel, and once more to turn it grey: 500 MB for 100 million pixels. It
shrinks in two passes, first along the rows, and rounds to 8 bits between them; so the first pass can be done strip by
strip, the second on what is left (32 columns), and the bits are the same. A strip is 2 million pixels, 10 MB beside the
picture; smaller pictures are one. Pictures of 16 and of 100 million pixels take 40 % and 30 % less time than at once.
All sizes asked for share the copy and the grey.

Since Pillow 13 the first pass goes down the columns where a picture is about twice as tall as wide or more. Those are
shrunk at once, whatever they take, so that the bits stay those of Pillow as it is installed: of 1,327 photographs and
diagrams, Pillow 12 and 13 give 0 to 4 another hash, by one or two bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from curate.filter import Pixels

__all__ = ["MAX_SIDE_PX", "Grey", "check_pixels", "shrink_grey", "shrink_then_grey"]

Grey = npt.NDArray[np.uint8]
"""Luminance, height x width, 0 to 255."""

MAX_SIDE_PX = 65_535
"""The longest side of a picture with a hash, that of JPEG. It bounds what lies between the two passes to 8 MB."""

STRIP_PX = 1 << 21
TALL = 1.8
"""Height over width up to which every Pillow starts along the rows, in pictures of more than a strip."""


def shrink_grey(pixels: Pixels, *sizes: tuple[int, int]) -> list[Grey]:
    """Turn grey, then shrink: one array of uint8 (height, width) for each of `sizes` (width, height).

    Raises ValueError for what is not uint8 (height, width, 3), and for a side above `MAX_SIDE_PX`.
    """
    return [np.asarray(image) for image in _shrunk(pixels, sizes, grey=True)]


def shrink_then_grey(pixels: Pixels, *sizes: tuple[int, int]) -> list[Grey]:
    """Shrink the three colours, then turn grey; else as `shrink_grey`."""
    return [np.asarray(image.convert("L")) for image in _shrunk(pixels, sizes, grey=False)]


def check_pixels(pixels: Pixels) -> None:
    """Raise ValueError for what no hash is made of."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"a picture is uint8 (height, width, 3), not {pixels.dtype} {pixels.shape}")
    if max(pixels.shape) > MAX_SIDE_PX:
        raise ValueError(f"a side of {max(pixels.shape):,} px is above {MAX_SIDE_PX:,}: no perceptual hash")


def _shrunk(pixels: Pixels, sizes: Sequence[tuple[int, int]], grey: bool) -> list[Image.Image]:
    check_pixels(pixels)
    height, width, _ = pixels.shape
    rows = max(1, STRIP_PX // width)
    if height <= rows or height > TALL * width:
        whole = _image(pixels, grey)
        return [whole.resize(size, Image.Resampling.LANCZOS) for size in sizes]
    narrow: list[list[npt.NDArray[np.uint8]]] = [[] for _ in sizes]
    for start in range(0, height, rows):
        strip = _image(pixels[start : start + rows], grey)
        for pieces, (wide, _) in zip(narrow, sizes, strict=True):
            pieces.append(np.asarray(strip.resize((wide, strip.height), Image.Resampling.LANCZOS)))
    columns = [Image.fromarray(np.concatenate(pieces)) for pieces in narrow]
    return [image.resize(size, Image.Resampling.LANCZOS) for image, size in zip(columns, sizes, strict=True)]


def _image(pixels: Pixels, grey: bool) -> Image.Image:
    image = Image.fromarray(pixels)
    return image.convert("L") if grey else image
