"""Crops and flips of a stage: drawn by what a row is, applied to decoded pixels; no tar is touched.

A random resized crop as torchvision has it (the rule of Szegedy et al. 2014: an area, a shape, a place; after ten
tries that do not fit the middle), without the resizing, which is the stage's resolution policy; and a mirror image of
some (`curate.handover.flips` says which must not be). OpenCLIP's default is an area of .9 to 1.
What a row gets follows from seed, epoch and row, so that neither order nor workers nor a restart change it. 10,000 rows
are drawn in 12 ms; a crop is a view of the pixels and costs nothing, a flip is a copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.config import require_range
from curate.dedup.digest import Digests, join_digests
from curate.dedup.identity import keyed
from curate.models.captioner import uniforms

__all__ = ["Augment", "View", "Views"]

TRIES = 10
Numbers = npt.NDArray[np.int64]


class View(NamedTuple):
    """What one picture is seen as: `size` is its width and height in px, `box` the left, top, width and height of the
    crop in px of that size, `flip` says that it is mirrored afterwards."""

    size: tuple[int, int]
    box: tuple[int, int, int, int]
    flip: bool

    def of(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The part of `pixels` (height, width, ...) that is seen, at least one pixel; a copy where it is mirrored, for
        few libraries take steps backwards. They may be fewer than `size` says, of a decoder that halves as it goes."""
        left, top, wide, tall = self.box
        rows = _span(top, tall, self.size[1], pixels.shape[0])
        columns = _span(left, wide, self.size[0], pixels.shape[1])
        seen = pixels[rows, columns]
        return np.ascontiguousarray(seen[:, ::-1]) if self.flip else seen


@dataclass(frozen=True)
class Views:
    """The views of n pictures: `size` int64 (n, 2), `box` int64 (n, 4), `flip` bool (n), as those of View."""

    size: Numbers
    box: Numbers
    flip: npt.NDArray[np.bool_]

    def at(self, row: int) -> View:
        """The view of one picture."""
        width, height = self.size[row].tolist()
        left, top, wide, tall = self.box[row].tolist()
        return View((width, height), (left, top, wide, tall), bool(self.flip[row]))


@dataclass(frozen=True)
class Augment:
    """`[stages.augment]`. A crop has `min_area_ratio` to `max_area_ratio` of the picture's area (0 to 1; both 1: no
    crop), and a width of `min_aspect_ratio` to `max_aspect_ratio` of its height (torchvision's 3/4 to 4/3 where nothing
    is said). `flip_probability` of a picture that may be mirrored; one with more than `max_text_ratio` of writing, or
    whose text names a side, never is. Raises ValueError for what is out of range."""

    min_area_ratio: float = 1.0
    max_area_ratio: float = 1.0
    min_aspect_ratio: float = 3 / 4
    max_aspect_ratio: float = 4 / 3
    flip_probability: float = 0.0
    max_text_ratio: float = 0.01

    def __post_init__(self) -> None:
        require_range("min_area_ratio", self.min_area_ratio, 1e-4, 1)
        require_range("max_area_ratio", self.max_area_ratio, self.min_area_ratio, 1)
        require_range("min_aspect_ratio", self.min_aspect_ratio, 0.01, 100)
        require_range("max_aspect_ratio", self.max_aspect_ratio, self.min_aspect_ratio, 100)
        require_range("flip_probability", self.flip_probability, 0, 1)
        require_range("max_text_ratio", self.max_text_ratio, 0, 1)

    def require_fit(self, policy: str, kinds: Iterable[str]) -> None:
        """Raise ValueError for a stage that this would harm: boxes and places in a document do not move with a crop or
        a flip, and where tokens are counted by a picture's own size (`policy` tile or native) a crop has fewer than the
        plan of the stage counted."""
        other = next((kind for kind in kinds if kind != "pairs"), None)
        if other is not None:
            raise ValueError(f"augment is for pairs, and the mixture has a source of kind {other!r}; take one out")
        if self.min_area_ratio < 1 and policy in ("tile", "native"):
            raise ValueError(
                f"augment.min_area_ratio = {self.min_area_ratio:g} with policy = {policy!r}: the tokens of a picture "
                "follow from its size, which a crop changes; set it to 1, or choose fixed, pad or shortest"
            )

    def views(
        self,
        rows: Digests,
        sizes: tuple[Numbers, Numbers],
        mirrors: npt.NDArray[np.bool_],
        seed: int,
        epoch: int,
    ) -> Views:
        """The views of n pictures in an epoch. `rows` uint64 (n, 2): what each is, as `Places.identity`; `sizes`:
        widths and heights, int64 (n) px, at least 1; `mirrors` bool (n): which may be flipped."""
        width, height = (np.asarray(side, np.int64) for side in sizes)
        with np.errstate(over="ignore"):
            about = np.full((len(rows), 2), epoch, np.int64).astype(np.uint64)
        draws = uniforms(keyed(join_digests(rows, about), seed), TRIES + 1, 4)  # type: ignore[arg-type]
        flip = mirrors & (draws[:, TRIES, 0] < self.flip_probability)
        size = np.stack([width, height], axis=1)
        if self.min_area_ratio == 1:
            return Views(size, np.concatenate([np.zeros_like(size), size], axis=1), flip)
        return Views(size, self._boxes(width, height, draws[:, :TRIES]), flip)

    def _boxes(self, width: Numbers, height: Numbers, draws: npt.NDArray[np.float64]) -> Numbers:
        """`draws` float64 (n, tries, 4): of area, shape, left and top."""
        share = self.min_area_ratio + draws[..., 0] * (self.max_area_ratio - self.min_area_ratio)
        area = (width * height)[:, None] * share
        low, high = math.log(self.min_aspect_ratio), math.log(self.max_aspect_ratio)
        aspect = np.exp(low + draws[..., 1] * (high - low))
        wide = np.rint(np.sqrt(area * aspect)).astype(np.int64)
        tall = np.rint(np.sqrt(area / aspect)).astype(np.int64)
        fits = (wide >= 1) & (tall >= 1) & (wide <= width[:, None]) & (tall <= height[:, None])
        row, first = np.arange(len(width)), fits.argmax(axis=1)
        wide, tall = wide[row, first], tall[row, first]
        left = (draws[row, first, 2] * (width - wide + 1)).astype(np.int64)
        top = (draws[row, first, 3] * (height - tall + 1)).astype(np.int64)
        drawn = np.stack([left, top, wide, tall], axis=1)
        none = ~fits.any(axis=1)
        drawn[none] = self._middle(width[none], height[none])
        return drawn

    def _middle(self, width: Numbers, height: Numbers) -> Numbers:
        """The largest box in the middle whose shape is within bounds."""
        wide = np.clip(np.rint(height * self.max_aspect_ratio).astype(np.int64), 1, width)
        tall = np.clip(np.rint(width / self.min_aspect_ratio).astype(np.int64), 1, height)
        return np.stack([(width - wide) // 2, (height - tall) // 2, wide, tall], axis=1)


def _span(start: int, length: int, of: int, have: int) -> slice:
    """A part of `of` as a part of `have`."""
    if of == have:
        return slice(start, start + length)
    first = start * have // of
    return slice(first, max(first + 1, round((start + length) * have / of)))
