"""What a stage does with a picture's size, and how many tokens the picture is then: by formula, without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from curate.config import require_range

__all__ = ["Resolution"]

Policy = Literal["fixed", "pad", "shortest", "tile", "native"]
Tiling = Literal["closest_aspect", "anyres", "longest_side"]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Resolution:
    """A stage's resolution policy.

    `policy`: "fixed" squeezes to `size` x `size` px, "pad" fills up to a square first, "shortest" scales the short
    side and crops the middle, "tile" cuts into squares of `size` px (`tiling` says by which rule), "native" keeps the
    shape within `min_pixels` and `max_pixels` (and `max_side` px). `patch` px a side of a patch, `merge` patches a
    side that become one token; `tokens` where a resampler makes so many of each picture or tile, whatever its size.
    """

    policy: Policy = "fixed"
    size: int = 224
    patch: int = 14
    merge: int = 1
    tokens: int = 0
    tiling: Tiling = "closest_aspect"
    min_tiles: int = 1
    max_tiles: int = 1
    thumbnail: bool = False
    min_pixels: int = 0
    max_pixels: int = 0
    max_side: int = 0
    row_tokens: int = 0

    def __post_init__(self) -> None:
        require_range("size", self.size, 1, 16_384)
        require_range("patch", self.patch, 1, self.size)
        require_range("merge", self.merge, 1, 64)
        require_range("tokens", self.tokens, 0, 1_000_000)
        require_range("max_tiles", self.max_tiles, self.min_tiles, 1_000)
        require_range("min_tiles", self.min_tiles, 1)

    def image_tokens(self, width: Numbers, height: Numbers) -> Numbers:
        """Tokens of pictures of these sizes, int64 as the sizes (px, at least 1)."""
        side = self.size // (self.patch * self.merge)
        each = self.tokens or side * side
        return np.full(len(width), each, np.int64)
