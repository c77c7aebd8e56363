"""What a stage does with a picture's size, and how many tokens the picture is then: by formula, without decoding.

The same pictures are 576 tokens for LLaVA-1.5, 169 to 4,394 for Idefics3 and 4 to 16,384 for Qwen2-VL, so what a data
set costs a stage is known only from its widths and heights. They stand in the tables; a million pictures take 0.01 s
to 0.6 s, and no pixel is read. Counted are the rows of the language model's input that pictures make (or, behind
cross-attention, that they are attended to as); markers such as <image> belong to a chat template and are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from curate.config import require_range
from curate.handover import resolution_tiles as tiles
from curate.handover.resolution_native import fit_box, fit_side, smart_resize
from curate.handover.resolution_tiles import Grid, Numbers

__all__ = ["Resolution"]

Policy = Literal["fixed", "pad", "shortest", "tile", "native"]
Tiling = Literal["closest_aspect", "anyres", "longest_side", "quarters", "canvas", "hd", "slices"]
LARGEST_SIDE = 4096
"""Idefics3 brings no side above this, in px."""


@dataclass(frozen=True)
class Resolution:
    """A stage's resolution policy.

    `policy`: "fixed" squeezes to `size` x `size` px, "pad" fills up to a square first, "shortest" scales the short
    side and crops the middle, "tile" cuts into squares of `size` px (`tiling` says by which rule), "native" keeps the
    shape. `patch` px a side of a patch, `merge` patches a side that become one token; `tokens` where a picture or tile
    makes so many whatever its size (a resampler). `row_tokens` end each row of tokens (Pixtral's and Fuyu's breaks,
    LLaVA-NeXT's and Phi-3-vision's newlines), `extra_tokens` come once a picture (a separator, a class token).

    Tilings, whose rules `curate.handover.resolution_tiles` has: "closest_aspect" of `min_tiles` to `max_tiles`, with a
    `thumbnail` of the whole where there is more than one tile; "anyres": the best of `grids` (columns, rows; empty:
    all up to `max_side` px), always with the whole picture, shrunk above `shrink_tiles`; "longest_side" brings it to
    `max_side` px, the whole added to more than one tile; "quarters": four and the whole (Idefics2); "canvas" and "hd"
    of up to `max_tiles`, "hd" with the whole; "slices" of up to `max_tiles`, the whole added to more than one.

    Native: with `min_pixels` or `max_pixels` Qwen2-VL's rule; else sides within `max_side` px, and with `max_height`
    within `max_side` x `max_height` (Fuyu). Pictures longer than `max_aspect` times their short side (0: none) are
    refused, as Qwen2-VL's code does.
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
    grids: tuple[tuple[int, int], ...] = ()
    shrink_tiles: int = 0
    min_pixels: int = 0
    max_pixels: int = 0
    max_side: int = 0
    max_height: int = 0
    max_aspect: float = 0.0
    row_tokens: int = 0
    extra_tokens: int = 0

    def __post_init__(self) -> None:
        require_range("size", self.size, 1, 16_384)
        require_range("patch", self.patch, 1, self.size)
        require_range("merge", self.merge, 1, 64)
        for name in ("tokens", "extra_tokens", "row_tokens", "min_pixels", "max_side", "max_height", "max_aspect"):
            require_range(name, getattr(self, name), 0, 1e9)
        require_range("min_tiles", self.min_tiles, 1)
        require_range("max_tiles", self.max_tiles, self.min_tiles, 1_000)
        require_range("shrink_tiles", self.shrink_tiles, 0, 1_000)
        if self.max_pixels:
            require_range("max_pixels", self.max_pixels, max(self.min_pixels, 1))
        if self.max_height:
            require_range("max_side", self.max_side, 1)
        if self.policy == "tile":
            self._require_tiling()

    def _require_tiling(self) -> None:
        for grid in self.grids:
            if len(grid) != 2 or min(grid) < 1:
                raise ValueError(f"grids has {list(grid)}; each is [columns, rows], at least 1")
        if self.tiling == "anyres" and not self.grids and self.max_side < self.size:
            raise ValueError("tiling anyres needs grids = [[columns, rows], ...], or max_side = N px, at least size")
        if self.tiling == "longest_side":
            require_range("max_side", self.max_side, 1, LARGEST_SIDE)
        if self.row_tokens and self.tiling not in ("anyres", "hd"):
            raise ValueError(f"row_tokens has no meaning for tiling {self.tiling}; anyres and hd have rows that end")

    def image_tokens(self, width: Numbers, height: Numbers) -> Numbers:
        """Tokens of pictures of these sizes, int64 as the sizes (px, at least 1); 0 where they are refused."""
        width, height = np.asarray(width, np.int64), np.asarray(height, np.int64)
        found = self._tokens(width, height) + self.extra_tokens
        return np.where(self.refused(width, height), 0, found)

    def refused(self, width: Numbers, height: Numbers) -> npt.NDArray[np.bool_]:
        """Which pictures are longer than `max_aspect`."""
        long, short = np.maximum(width, height), np.minimum(width, height)
        return (long / short > self.max_aspect) & (self.max_aspect > 0)

    def enlarged(self, width: Numbers, height: Numbers) -> npt.NDArray[np.bool_]:
        """Which pictures have fewer pixels than the policy gives the model, so that it sees them blown up: with a side
        below `size` (fixed, shortest), both sides below it (pad, tile), fewer than `min_pixels` (native)."""
        if self.policy in ("fixed", "shortest"):
            return np.minimum(width, height) < self.size
        if self.policy == "native":
            return np.asarray(width, np.int64) * height < self.min_pixels
        return np.maximum(width, height) < self.size

    def grid(self, width: Numbers, height: Numbers) -> Grid:
        """Columns and rows of tiles that pictures are cut into, int64; ones where the policy does not tile."""
        if self.policy != "tile" or self.tiling == "quarters":
            side = np.full(len(width), 2 if self.policy == "tile" else 1, np.int64)
            return side, side
        if self.tiling == "closest_aspect":
            return tiles.closest_aspect_grid(width, height, self.size, self.min_tiles, self.max_tiles)
        if self.tiling == "anyres":
            most = self.max_side // self.size
            grids = self.grids or [(c, r) for r in range(1, most + 1) for c in range(1, most + 1)]
            return tiles.anyres_grid(width, height, self.size, grids)
        if self.tiling == "longest_side":
            return tiles.longest_side_grid(width, height, self.size, self.max_side)
        by_number = {"canvas": tiles.canvas_grid, "hd": tiles.hd_grid, "slices": tiles.slice_grid}
        return by_number[self.tiling](width, height, self.size, self.max_tiles)

    def _tokens(self, width: Numbers, height: Numbers) -> Numbers:
        side = self.size // (self.patch * self.merge)
        each = self.tokens or side * side
        if self.policy == "tile":
            return self._tiled(width, height, side, each)
        if self.policy == "native" and not self.tokens:
            return self._native(width, height)
        return np.full(len(width), each + (0 if self.tokens else side * self.row_tokens), np.int64)

    def _tiled(self, width: Numbers, height: Numbers, side: int, each: int) -> Numbers:
        columns, rows = self.grid(width, height)
        if self.tiling == "anyres" and not self.tokens:
            grid = columns, rows
            return each + tiles.anyres_tokens(width, height, grid, side, self.shrink_tiles, self.row_tokens)
        if self.tiling == "anyres":
            return (columns * rows + 1) * each
        if self.tiling == "hd":
            return (columns * rows + 1) * each + (rows + 1) * side * self.row_tokens
        whole = self.tiling in ("longest_side", "quarters", "slices") or self.thumbnail
        return (columns * rows + ((columns * rows > 1) & whole)) * each

    def _native(self, width: Numbers, height: Numbers) -> Numbers:
        token = self.patch * self.merge
        if self.min_pixels or self.max_pixels:
            across, down = smart_resize(width, height, token, self.min_pixels, self.max_pixels)
        elif self.max_height:
            across, down = fit_box(width, height, token, self.max_side, self.max_height)
        else:
            across, down = fit_side(width, height, token, self.max_side)
        return down // token * (across // token + self.row_tokens)
