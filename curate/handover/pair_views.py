"""What `[stages.augment]` makes of a shard's pairs, from its tables alone: no tar is opened.

Whether a picture may be mirrored does not change from epoch to epoch, so it is asked once for a shard (10,000 pairs:
.1 s), and what an epoch draws is had for all of them at once (12 ms).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.handover.augment import Augment, Views
from curate.handover.flips import BOXES, OCR, TEXT_RATIO, count_refusals, flip_refusals
from curate.handover.shards import Places

__all__ = ["VIEW_COLUMNS", "mirrors_of", "views_of"]

TEXTS = ("caption", "web_caption", "captions")
VIEW_COLUMNS = (*TEXTS, *TEXT_RATIO, *OCR, *BOXES)
"""Columns of the sample table that say whether a picture may be mirrored; `read_places` takes those that are there."""


def mirrors_of(augment: Augment, places: Places) -> tuple[npt.NDArray[np.bool_], Counter[str]]:
    """Which pairs of a shard may be mirrored, bool (n), and counts of why others must not. `places` were read with
    VIEW_COLUMNS. All texts of a pair count, whichever a stage draws. Raises ShardError for texts of another kind."""
    mirrors = np.ones(len(places), bool)
    if not augment.flip_probability:
        return mirrors, Counter()
    first = pa.nulls(len(places), pa.string())
    for name in (name for name in TEXTS if name in places.texts.column_names):
        found = flip_refusals(places.texts[name], places.texts, augment.max_text_ratio)
        first = first.fill_null(found)
    return np.asarray(first.is_null()), count_refusals(first)


def views_of(augment: Augment, places: Places, mirrors: npt.NDArray[np.bool_], seed: int, epoch: int) -> Views:
    """The views of a shard's pairs in an epoch (a pass over the source), as `Augment.views`. A pair whose picture has
    no size in the table is seen whole, as far as its pixels go."""
    there = np.minimum(places.picture[:-1], max(len(places.width) - 1, 0))
    has = np.diff(places.picture) > 0
    width, height = (np.ones(len(places), np.int64) for _ in range(2))
    width[has], height[has] = places.width[there[has]], places.height[there[has]]
    return augment.views(places.identity, (width, height), mirrors, seed, epoch)
