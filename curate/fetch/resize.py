"""Geometry and encoding: from decoded pixels to the bytes that are stored, by img2dataset's rules.

What a mode does to a size is worked out first, as numbers (`plan`), because the decoder wants to know how small it
may decode, and because a line of 3,000 x 1 in `keep_ratio` would become 768,000 x 256 and must be refused unresized.
cv2 does the work, with one thread: the decode workers are the parallelism.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from curate.fetch.picture import ImageSettings
from curate.filter import Pixels

__all__ = ["MAX_SIDE_PX", "Plan", "encode", "frame", "plan", "scale", "upright"]

cv2.setNumThreads(1)

MAX_SIDE_PX = {"jpg": 65_500, "png": 1_000_000, "webp": 16_383}
"""The longest side each format can hold."""

_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
_TURN = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
_MIRROR_TURN = {2: None, 4: cv2.ROTATE_180, 5: cv2.ROTATE_90_COUNTERCLOCKWISE, 7: cv2.ROTATE_90_CLOCKWISE}


@dataclass(frozen=True)
class Plan:
    """Sizes as displayed, width before height: scale to `scaled`, then pad or crop to `final`, both centred."""

    scaled: tuple[int, int]
    final: tuple[int, int]
    interpolation: int

    @property
    def area_px(self) -> int:
        """The largest picture on the way."""
        return max(self.scaled[0] * self.scaled[1], self.final[0] * self.final[1])


def plan(width: int, height: int, settings: ImageSettings) -> Plan:
    """What the settings make of a picture of this size."""
    size, mode = settings.size_px, settings.resize_mode
    side = max(width, height) if mode in ("border", "keep_ratio_largest") else min(width, height)
    bigger = side > size
    name = settings.downscale_interpolation if bigger else settings.upscale_interpolation
    interpolation = _INTERPOLATION[name]
    if mode == "no" or (settings.resize_only_if_bigger and not bigger):
        return Plan((width, height), (width, height), interpolation)
    ratio = size / side
    scaled = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return Plan(scaled, (size, size) if mode in ("border", "center_crop") else scaled, interpolation)


def scale(
    pixels: npt.NDArray[np.uint8], extent: tuple[float, float], size: tuple[int, int], interpolation: int
) -> npt.NDArray[np.uint8]:
    """Height x width (x channels) resized to `size`, given as width and height.

    `extent` is how much of `pixels` is picture. A JPEG 1,843 px wide, decoded at a quarter, is 460.75 px wide in 461
    columns; taking those for its width would stretch it by half a pixel of the result, which costs up to 9 dB.
    """
    if pixels.shape[1::-1] == size:
        return pixels
    ratio_x, ratio_y = size[0] / extent[0], size[1] / extent[1]
    resized: npt.NDArray[np.uint8] = cv2.resize(pixels, None, fx=ratio_x, fy=ratio_y, interpolation=interpolation)
    return resized[: size[1], : size[0]]


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Rows and columns as a viewer shows them under EXIF `orientation` 1 to 8."""
    if orientation in _MIRROR_TURN:
        pixels = cv2.flip(pixels, 1)
    turn = _TURN.get(orientation, _MIRROR_TURN.get(orientation))
    return pixels if turn is None else cv2.rotate(pixels, turn)


def frame(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Padded with white or cropped to `size` (width, height), around the centre."""
    width, height = size
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    cropped = pixels[max(top, 0) : max(top, 0) + height, max(left, 0) : max(left, 0) + width]
    if cropped.shape[:2] == (height, width):
        return cropped
    canvas = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - cropped.shape[0]) // 2, (width - cropped.shape[1]) // 2
    canvas[top : top + cropped.shape[0], left : left + cropped.shape[1]] = cropped
    return canvas


def encode(pixels: Pixels, settings: ImageSettings) -> bytes:
    """Height x width x 3 sRGB as jpg (4:2:0), png or webp; the same pixels give the same bytes."""
    flag = {"jpg": cv2.IMWRITE_JPEG_QUALITY, "png": cv2.IMWRITE_PNG_COMPRESSION, "webp": cv2.IMWRITE_WEBP_QUALITY}
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(f".{settings.format}", bgr, [flag[settings.format], settings.encode_quality])
    if not done:
        raise ValueError(f"{settings.format} of {pixels.shape[1]} x {pixels.shape[0]} could not be written")
    return bytes(data)
