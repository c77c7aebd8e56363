"""JPEGs decoded by libjpeg-turbo itself (simplejpeg): nine pictures of ten on the web, and most of the CPU time.

Against Pillow's decoder it saves the copies into and out of Pillow's own layout, 0.4 of 2.4 ms for a picture of
0.6 MP. It is strict, so a damaged file falls back to Pillow, which reads what can be read and says what cannot. cv2's
decoder is as fast and prints its warnings to the terminal.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import simplejpeg

from curate.fetch.header import Header

__all__ = ["decode_jpeg"]

_LAYOUT = {"RGB": "RGB", "L": "GRAY"}


def decode_jpeg(
    header: Header, data: bytes, least: tuple[int, int] = (0, 0)
) -> tuple[npt.NDArray[np.uint8], str, tuple[float, float]] | None:
    """Pixels, their mode (`RGB` or `L`), and how much of them is picture; None where Pillow has to look at it.

    With `least` (width, height) the picture is decoded at 1/2, 1/4 or 1/8 where that is not below it. A picture
    1,843 px wide decoded at a quarter is 460.75 px wide in 461 columns: hence the last value.
    """
    width, height = header.image.size
    mode = header.image.mode
    if header.kind != "JPEG" or mode not in _LAYOUT:
        return None
    whole = min(width // least[0], height // least[1]) if all(least) else 1
    factor = next((f for f in (8, 4, 2) if whole >= f), 1)
    columns, rows = math.ceil(width / factor), math.ceil(height / factor)
    try:
        pixels = simplejpeg.decode_jpeg(data, _LAYOUT[mode], min_width=columns, min_height=rows)
    except ValueError:
        return None
    if pixels.shape[:2] != (rows, columns):
        return None
    return pixels[..., 0] if mode == "L" else pixels, mode, (width / factor, height / factor)
