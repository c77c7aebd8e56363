"""A few shards of one source, their examples in a drawn order: what a plan knows of an example before it is read.

All draws of a pass are made here, for a whole window at once (0.3 us an example, beside 2 us for reading its tables):
the order, which text of a pair, whether a text looks at the next picture, which half of a third pass. Each is keyed by
seed, pass and what the row is, so none depends on what else lies in the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.dedup.digest import Digests, join_digests
from curate.handover.augment import Augment, Views
from curate.handover.manifest import ShardEntry
from curate.handover.pair_views import mirrors_of, views_of
from curate.handover.resolution import Resolution
from curate.handover.shards import Places
from curate.handover.stages import MixtureSource
from curate.train.data.draws import order_of, row_uniforms, stream_seed
from curate.train.data.texts import Choices, choose_texts

__all__ = [
    "LONGER",
    "NOT_REPEATED",
    "OUT_OF_RANGE",
    "TOO_LONG",
    "WANTED",
    "Counting",
    "Item",
    "Longer",
    "Window",
    "draw_window",
    "passes_of",
]

Numbers = npt.NDArray[np.int64]
WANTED, OUT_OF_RANGE, TOO_LONG, NOT_REPEATED = range(4)
Longer = Literal["cut", "keep", "leave_out"]
LONGER = {"cut": "longer_cut", "keep": "longer_kept", "leave_out": "longer_left_out"}
"""What is done with an example of more tokens than its row has, and under which name it is counted."""


@dataclass(frozen=True)
class Counting:
    """How a source's order is drawn and what an example weighs: `window` shards are mixed, tokens are those of
    `tokenizer` ("" counts none) and of the pictures by `resolution`, and `extra_tokens` for each example (begin, end).
    `augment` draws crops and flips, at 10 us a pair. An example has at most `limit` tokens (0: any number); one that
    has more is `longer`: a key of LONGER."""

    seed: int
    window: int
    tokenizer: str
    resolution: Resolution
    extra_tokens: int = 0
    augment: Augment | None = None
    limit: int = 0
    longer: Longer = "cut"


@dataclass(frozen=True)
class Window:
    """The n examples of a few shards, in the order drawn. `shard` int32 (among `shards`) and `row` int32 say where each
    lies; `tokens` int64 in its row; `text` int32 (`curate.train.data.texts`); `next_image`, `fell_back` bool; `longer`
    bool: it has more than the limit, and where `cuts` is true its row has as many as that. `state` uint8: it is WANTED,
    has a number of pictures OUT_OF_RANGE, is TOO_LONG, or is NOT_REPEATED in this pass. `views`: which part of each
    picture is seen; None for all of them."""

    shards: Sequence[ShardEntry]
    places: Sequence[Places]
    shard: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    tokens: Numbers
    text: npt.NDArray[np.int32]
    next_image: npt.NDArray[np.bool_]
    fell_back: npt.NDArray[np.bool_]
    longer: npt.NDArray[np.bool_]
    cuts: bool
    state: npt.NDArray[np.uint8]
    views: Views | None = None


class Item(NamedTuple):
    """One example in a plan: that of `place` in pass `run` of a stream, in row `row` of the drawn order of `window`."""

    stream: int
    run: int
    place: int
    tokens: int
    window: Window
    row: int


def passes_of(source: MixtureSource) -> int:
    """Passes over a source in an epoch that goes by `repeat`; the last one may be of a part of it. 0 for repeat = 0."""
    return int(-(-source.repeat // 1))


def draw_window(
    source: MixtureSource, counting: Counting, shards: Sequence[ShardEntry], places: Sequence[Places], run: int
) -> Window:
    """The window of these shards as pass `run` draws it."""

    def seed(what: str, number: int = run) -> int:
        return stream_seed(counting.seed, what, source.name, number)

    rows = _told_apart(np.concatenate([own.identity for own in places]))
    order = order_of(rows, seed("rows"))
    ends = np.cumsum([len(own) for own in places])
    told = [replace(own, identity=part) for own, part in zip(places, np.split(rows, ends[:-1]), strict=True)]
    choices = [choose_texts(own, source.captions, seed("texts")) for own in told]
    images = np.concatenate([own.images for own in places])
    state = np.where(_between(images, source.min_images, source.max_images), WANTED, OUT_OF_RANGE)
    tokens = _all_tokens(counting, places, choices)
    longer = (tokens > counting.limit) & (counting.limit > 0)
    if counting.longer == "leave_out":
        state = np.where((state == WANTED) & longer, TOO_LONG, state)
    passes, rest = passes_of(source), source.repeat % 1
    if rest and run % passes == passes - 1:
        drawn = row_uniforms(rows, seed("repeat", run // passes))
        state = np.where((state == WANTED) & (drawn >= rest), NOT_REPEATED, state)
    next_image = row_uniforms(rows, seed("next image")) < source.next_image_probability
    return Window(
        shards=shards,
        places=places,
        shard=np.repeat(np.arange(len(places), dtype=np.int32), [len(own) for own in places])[order],
        row=np.concatenate([np.arange(len(own), dtype=np.int32) for own in places])[order],
        tokens=(np.where(longer, counting.limit, tokens) if counting.longer == "cut" else tokens)[order],
        text=np.concatenate([own.text for own in choices])[order],
        next_image=next_image[order],
        fell_back=np.concatenate([own.fell_back for own in choices])[order],
        longer=longer[order],
        cuts=counting.longer == "cut",
        state=state[order].astype(np.uint8),
        views=_views(counting.augment, told, seed("views"), order) if counting.augment else None,
    )


def _views(augment: Augment, places: Sequence[Places], seed: int, order: Numbers) -> Views:
    """What is seen of each picture. The seed is of one pass."""
    own = [views_of(augment, each, mirrors_of(augment, each)[0], seed, 0) for each in places]
    size, box, flip = (np.concatenate([getattr(each, name) for each in own]) for name in ("size", "box", "flip"))
    return Views(size[order], box[order], flip[order])


def _all_tokens(counting: Counting, places: Sequence[Places], choices: Sequence[Choices]) -> Numbers:
    """Tokens of text and pictures together; 0 for all where nobody counts."""
    text = np.concatenate([own.tokens for own in choices])
    if not counting.tokenizer:
        return np.zeros(len(text), np.int64)
    pictures = [_summed(counting.resolution.image_tokens(own.width, own.height), own.picture) for own in places]
    return text + np.concatenate(pictures) + counting.extra_tokens


def _told_apart(rows: Digests) -> Digests:
    """The same, where copies of one row get digests of their own: with one digest they would lie side by side, and have
    the same text and the same crop."""
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    again = np.append(False, (rows[order][1:] == rows[order][:-1]).all(axis=1))
    if not again.any():
        return rows
    number = np.arange(len(rows))
    copy = np.empty(len(rows), np.uint64)
    copy[order] = number - np.maximum.accumulate(np.where(again, 0, number))
    joined = join_digests(rows, np.stack([copy, copy], axis=1))
    return np.where(copy[:, None] > 0, joined, rows)


def _between(images: Numbers, least: int, most: int) -> npt.NDArray[np.bool_]:
    """Whether each number of pictures is within the bounds, both included; `most` = 0 is no bound."""
    return (images >= least) & ((images <= most) if most else True)


def _summed(tokens: Numbers, starts: Numbers) -> Numbers:
    """Tokens of all pictures of each example."""
    ends: Numbers = np.append(0, np.cumsum(tokens)).astype(np.int64)
    return ends[starts[1:]] - ends[starts[:-1]]
