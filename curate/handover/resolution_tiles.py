"""Into how many tiles each published rule cuts a picture: columns and rows from its width and height.

Every rule is the one of the project's own code, with its order of floating-point operations, since a tie decided
otherwise is a tile too many: a trainer that counts 256 tokens more than the plan did cuts an answer off. Vectorised
over pictures, with a loop over the candidate grids (at most some 200): a million pictures take 0.1 s of one core for
12 tiles, 0.6 s for 48.

    closest_aspect   InternVL 1.5 (Chen et al. 2024), `dynamic_preprocess`
    anyres           LLaVA-NeXT, `select_best_resolution`; LLaVA-OneVision's bilinear shrink
    longest_side     Idefics3 (Laurencon et al. 2024) and SmolVLM, `resize_for_vision_encoder` and `split_images`
    canvas           Llama 3.2 vision, `get_optimal_tiled_canvas`
    hd               InternLM-XComposer2-4KHD and Phi-3-vision, `HD_transform`
    slices           MiniCPM-V (LLaVA-UHD's rule), `slice_image`
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = [
    "Grid",
    "Numbers",
    "anyres_grid",
    "anyres_tokens",
    "canvas_grid",
    "closest_aspect_grid",
    "hd_grid",
    "longest_side_grid",
    "slice_grid",
]

Numbers = npt.NDArray[np.int64]
Grid = tuple[Numbers, Numbers]
"""Columns and rows of tiles, int64, one a picture."""


def closest_aspect_grid(width: Numbers, height: Numbers, tile: int, least: int, most: int) -> Grid:
    """The grid of `least` to `most` tiles whose aspect ratio is closest; of several as close the one with more tiles,
    as long as the picture has more than half their pixels."""
    aspect, area = width / height, width * height
    found = _Choice(len(width))
    closest = np.full(len(width), np.inf)
    for columns, rows in _arrangements(least, most):
        apart = np.abs(aspect - columns / rows)
        better = (apart < closest) | ((apart == closest) & (area > 0.5 * tile * tile * columns * rows))
        closest = found.take(better, columns, rows, apart, closest)
    return found.grid


def anyres_grid(width: Numbers, height: Numbers, tile: int, grids: Sequence[tuple[int, int]]) -> Grid:
    """The grid (of `grids`, columns and rows) in which most of the picture's pixels remain; of several the one with the
    least padding, then the first."""
    found = _Choice(len(width))
    most, least = np.zeros(len(width)), np.full(len(width), np.inf)
    for columns, rows in grids:
        across, down = columns * tile, rows * tile
        scale = np.minimum(across / width, down / height)
        kept = np.minimum(np.trunc(width * scale) * np.trunc(height * scale), width * height)
        wasted = across * down - kept
        better = (kept > most) | ((kept == most) & (wasted < least))
        least = np.where(better, wasted, least)
        most = found.take(better, columns, rows, kept, most)
    return found.grid


def anyres_tokens(width: Numbers, height: Numbers, grid: Grid, side: int, shrink: int, row_tokens: int) -> Numbers:
    """Tokens of the unpadded grid, without the base picture: each tile is `side` x `side` tokens, padding is cut off,
    and each row that is left ends with `row_tokens`. Above 1.21 times the tokens of `shrink` tiles (0: never) the grid
    is shrunk to about as many (LLaVA-OneVision's anyres_max_9)."""
    across, down = grid[0] * side, grid[1] * side
    wide = width / height > across / down
    left_down = np.trunc(np.round(height * (across / width), 7)).astype(np.int64)
    left_across = np.trunc(np.round(width * (down / height), 7)).astype(np.int64)
    down, across = (
        np.where(wide, down - (down - left_down) // 2 * 2, down),
        np.where(wide, across, across - (across - left_across) // 2 * 2),
    )
    if shrink:
        ratio = np.sqrt(down * across / (shrink * side**2))
        ratio = np.where(ratio > 1.1, ratio, 1.0)
        down, across = (down // ratio).astype(np.int64), (across // ratio).astype(np.int64)
    return down * (across + row_tokens)


def longest_side_grid(width: Numbers, height: Numbers, tile: int, longest: int) -> Grid:
    """The longest side is brought to `longest` px, up or down, the other to an even number; both are then stretched to
    whole tiles."""
    aspect, wide = width / height, width >= height
    width, height = (
        np.where(wide, longest, _even(longest * aspect)),
        np.where(wide, _even(longest / aspect), longest),
    )
    width, height = np.maximum(width, 1), np.maximum(height, 1)
    aspect, wide = width / height, width >= height
    across = np.where(wide, _whole(width, tile), 0)
    down = np.where(wide, (across / aspect).astype(np.int64), _whole(height, tile))
    across = np.where(wide, across, (down * aspect).astype(np.int64))
    return np.maximum(_whole(across, tile) // tile, 1), np.maximum(_whole(down, tile) // tile, 1)


def canvas_grid(width: Numbers, height: Numbers, tile: int, most: int) -> Grid:
    """The canvas of up to `most` tiles that enlarges the picture least; where none holds it, the one that shrinks it
    least; of several the smallest."""
    grids = [(c, r) for r in range(1, most + 1) for c in range(1, most // r + 1)]
    scales = np.stack([np.minimum(c * tile / width, r * tile / height) for c, r in grids])
    fits = scales >= 1
    least_up = np.where(fits, scales, np.inf).min(0)
    best = np.where(fits.any(0), least_up, np.where(fits, -np.inf, scales).max(0))
    areas = np.array([[c * r] for c, r in grids])
    chosen = np.where(scales == best, areas, np.iinfo(np.int64).max).argmin(0)
    return np.array([c for c, _ in grids])[chosen], np.array([r for _, r in grids])[chosen]


def hd_grid(width: Numbers, height: Numbers, tile: int, most: int) -> Grid:
    """As many tiles along the longer side as leave no more than `most` in all, at the picture's own shape; the shorter
    side is padded up."""
    ratio = np.maximum(width, height) / np.minimum(width, height)
    long = np.ones(len(width), np.int64)
    for scale in range(2, most + 1):
        long = np.where(scale * np.ceil(scale / ratio) <= most, scale, long)
    short = np.maximum(np.ceil((long * tile / ratio).astype(np.int64) / tile).astype(np.int64), 1)
    wide = width >= height
    return np.where(wide, long, short), np.where(wide, short, long)


def slice_grid(width: Numbers, height: Numbers, tile: int, most: int) -> Grid:
    """About as many slices as the picture has times `tile` squared px, one more or less, at most `most`: of those
    grids the one whose aspect ratio is closest on a logarithmic scale. (1, 1): it is not sliced."""
    wanted = np.minimum(np.ceil(width * height / (tile * tile)), most).astype(np.int64)
    found = _Choice(len(width))
    closest = np.full(len(width), np.inf)
    aspect = np.log(width / height)
    for slices in range(2, most + 1):
        near = (wanted > 1) & (np.abs(wanted - slices) <= 1)
        for columns in (c for c in range(1, slices + 1) if slices % c == 0):
            rows = slices // columns
            apart = np.abs(aspect - math.log(columns / rows))
            better = near & ((apart < closest) | ((apart == closest) & (rows > found.grid[1])))
            closest = found.take(better, columns, rows, apart, closest)
    return found.grid


class _Choice:
    """The grid chosen so far for each picture, one tile at first."""

    def __init__(self, pictures: int) -> None:
        self.grid: Grid = (np.ones(pictures, np.int64), np.ones(pictures, np.int64))

    def take(
        self, better: npt.NDArray[np.bool_], columns: int, rows: int, score: npt.ArrayLike, before: npt.ArrayLike
    ) -> npt.NDArray[np.float64]:
        """Choose a grid where it is better; answers the scores of what is chosen then."""
        self.grid = (np.where(better, columns, self.grid[0]), np.where(better, rows, self.grid[1]))
        return np.asarray(np.where(better, score, before), np.float64)


def _arrangements(least: int, most: int) -> list[tuple[int, int]]:
    """Columns and rows of all grids of `least` to `most` tiles, by their number, then by columns."""
    pairs = [(c, r) for c in range(1, most + 1) for r in range(1, most // c + 1) if c * r >= least]
    return sorted(pairs, key=lambda pair: pair[0] * pair[1])


def _even(side: npt.NDArray[np.float64]) -> Numbers:
    whole = side.astype(np.int64)
    return whole + whole % 2


def _whole(side: Numbers, tile: int) -> Numbers:
    return -(-side // tile) * tile
