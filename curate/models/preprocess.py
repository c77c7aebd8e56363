"""From decoded pixels to what a CLIP's picture tower takes, as open_clip's own transforms do it, to the last bit.

Three ways of making a square: `shortest` (the short side to the size, then the middle; CLIP), `squash` (both sides to
the size; SigLIP), `longest` (the long side, then a border). Pillow resizes, because its anti-aliased bicubic is the
definition. What comes out are bytes, 150 kB at 224 px; mean and standard deviation are taken out on the device. 2 ms
for a 450 px picture on one core. Of a picture longer than eight times its width only the middle is resized, which
takes another way through Pillow's arithmetic (one pixel in seven is a level or two off): a strip of 1 x 5,000 px would
otherwise become 750 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.filter import Pixels

__all__ = ["Preprocess", "from_open_clip"]

LONGEST = 8


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes `size` x `size` x 3 bytes; `mean` and `std` (0 to 1, RGB) are for the device."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "squash", "longest"] = "shortest"
    fill: int = 0

    def __call__(self, pixels: Pixels) -> npt.NDArray[np.uint8]:
        """uint8 of height x width x 3 to uint8 of size x size x 3."""
        from PIL import Image

        image = Image.fromarray(pixels)
        method = Image.Resampling.BICUBIC if self.interpolation == "bicubic" else Image.Resampling.BILINEAR
        square = (self.size, self.size)
        if self.resize_mode == "squash":
            return np.asarray(image.resize(square, method))
        scaled = self._scaled(*image.size)
        if max(scaled) > LONGEST * self.size:
            return np.asarray(image.resize(square, method, self._box(image.size, scaled)))
        if scaled != image.size:
            image = image.resize(scaled, method)
        return self._middle(np.asarray(image))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """Size after the resize: torchvision truncates, open_clip's `longest` rounds."""
        if self.resize_mode == "longest":
            ratio = max(width / self.size, height / self.size)
            return max(1, round(width / ratio)), max(1, round(height / ratio))
        short, long = min(width, height), max(width, height)
        grown = int(self.size * long / short)
        return (self.size, grown) if width <= height else (grown, self.size)

    def _box(self, sides: tuple[int, int], scaled: tuple[int, int]) -> tuple[float, float, float, float]:
        """Where the middle square of the scaled picture lies in the picture: left, top, right, bottom."""
        starts = [round((after - self.size) / 2) for after in scaled]
        left, top = (start * side / after for start, side, after in zip(starts, sides, scaled, strict=True))
        ends = [(start + self.size) * side / after for start, side, after in zip(starts, sides, scaled, strict=True)]
        return left, top, min(ends[0], sides[0]), min(ends[1], sides[1])

    def _middle(self, pixels: Pixels) -> npt.NDArray[np.uint8]:
        """The middle square, or the picture on a square of the fill."""
        height, width = pixels.shape[:2]
        if min(height, width) >= self.size:
            top, left = round((height - self.size) / 2), round((width - self.size) / 2)
            return np.ascontiguousarray(pixels[top : top + self.size, left : left + self.size])
        square = np.full((self.size, self.size, 3), self.fill, np.uint8)
        y, x = (self.size - height) // 2, (self.size - width) // 2
        square[y : y + height, x : x + width] = pixels
        return square


def from_open_clip(config: Any) -> Preprocess:
    """From open_clip's preprocessing table of a model. Raises ConfigError for what it has and we do not."""
    size = config["size"]
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if sides[0] != sides[1]:
        raise ConfigError(f"a model for pictures of {sides[0]} x {sides[1]} px is not square and not known here")
    for key, known in (("interpolation", ("bicubic", "bilinear")), ("resize_mode", ("shortest", "squash", "longest"))):
        if config[key] not in known:
            raise ConfigError(f"the model's preprocessing says {key} = {config[key]!r}; known are {', '.join(known)}")
    try:
        mean, std, fill = _rgb(config["mean"]), _rgb(config["std"]), int(config["fill_color"])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the model's preprocessing has no usable mean, std or fill_color: {error}") from None
    if min(std) <= 0 or not 0 <= fill <= 255:
        raise ConfigError(f"the model's preprocessing says std = {std}, fill_color = {fill}: above 0, and 0 to 255")
    return Preprocess(sides[0], mean, std, config["interpolation"], config["resize_mode"], fill)


def _rgb(value: Any) -> tuple[float, float, float]:
    """One number for all three channels, or three."""
    red, green, blue = map(float, (value,) * 3 if isinstance(value, int | float) else value)
    return red, green, blue
