"""What a stage's augmentation makes of a shard's pairs, by the shard's tables, and the stages that it does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.handover.augment import Augment
from curate.handover.pair_views import VIEW_COLUMNS, mirrors_of, views_of
from curate.handover.shards import Places

FLIPS = Augment(0.5, 1.0, flip_probability=1.0)


def places(images: list[int], sizes: list[tuple[int, int]], **texts: Any) -> Places:
    n = len(images)
    nothing = np.zeros(n, np.int64)
    rows = np.arange(2 * n, dtype=np.uint64).reshape(n, 2) * np.uint64(2**40 + 7)
    width, height = (np.array([size[side] for size in sizes], np.int64) for side in (0, 1))
    return Places(
        keys=pa.array([str(number) for number in range(n)]),
        identity=rows,
        first=np.zeros(n + 1, np.int64),
        offset=nothing,
        size=nothing,
        extension=np.zeros(n, np.int32),
        extensions=("jpg",),
        tokens=nothing,
        images=np.array(images, np.int64),
        width=width,
        height=height,
        picture=np.append(0, np.cumsum(images)).astype(np.int64),
        texts=pa.table(texts or {"caption": pa.nulls(n, pa.string())}),
        text_tokens=None,
    )


def test_all_texts_of_a_pair_have_a_say() -> None:
    own = places(
        [1] * 5,
        [(9, 9)] * 5,
        caption=["a dog", "a sign", "a dog", "a dog", "a dog"],
        captions=[["a dog"], ["a dog on the left"], ["a dog", "turning left"], None, ["a dog"]],
        web_caption=[None, None, None, "STOP sign", None],
        text_area_ratio=[0.0, 0.0, 0.0, 0.0, 0.5],
    )
    mirrors, counts = mirrors_of(FLIPS, own)
    assert mirrors.tolist() == [True, False, False, False, False]
    assert counts == {
        "in": 5,
        "flip_refused.text_tells_of_writing": 2,
        "flip_refused.text_names_a_side": 1,
        "flip_refused.picture_has_writing": 1,
    }
    assert set(own.texts.column_names) <= set(VIEW_COLUMNS)


def test_nobody_is_asked_where_nothing_is_flipped() -> None:
    mirrors, counts = mirrors_of(Augment(0.5, 1.0), places([1], [(9, 9)], caption=["left"]))
    assert mirrors.tolist() == [True]
    assert not counts


def test_each_pair_has_the_view_of_its_own_picture() -> None:
    own = places([1, 0, 1], [(400, 20), (20, 400)])
    found = views_of(FLIPS, own, np.array([True, True, False]), 0, 1)
    wide, tall = found.box[:, 2], found.box[:, 3]
    assert (wide[0] > 20, tall[0] <= 20, wide[2] <= 20, tall[2] > 20) == (True,) * 4
    assert found.box[1].tolist() == [0, 0, 1, 1]
    assert found.flip.tolist() == [True, True, False]
    again = views_of(FLIPS, own, np.ones(3, bool), 0, 1)
    assert (again.box == found.box).all()
    square = places([1] * 3, [(90, 80)] * 3)
    epochs = [views_of(FLIPS, square, np.ones(3, bool), 0, epoch).box for epoch in (1, 2)]
    assert (epochs[0] != epochs[1]).any(axis=1).all()


def test_a_shard_without_pictures_or_rows() -> None:
    assert views_of(FLIPS, places([0, 0], []), np.ones(2, bool), 0, 0).box.tolist() == [[0, 0, 1, 1]] * 2
    assert len(views_of(FLIPS, places([], []), np.ones(0, bool), 0, 0).flip) == 0


@pytest.mark.parametrize(
    ("own", "policy", "kinds", "words"),
    [
        (Augment(0.9), "fixed", ["pairs", "pairs"], ""),
        (Augment(0.9), "pad", ["pairs"], ""),
        (Augment(0.9), "shortest", ["pairs"], ""),
        (Augment(flip_probability=0.5), "native", ["pairs"], ""),
        (Augment(0.9), "native", ["pairs"], "min_area_ratio = 0.9"),
        (Augment(0.9), "tile", ["pairs"], "min_area_ratio = 0.9"),
        (Augment(), "fixed", ["pairs", "chat"], "kind 'chat'"),
        (Augment(), "fixed", ["interleaved"], "kind 'interleaved'"),
    ],
)
def test_stages_that_it_fits(own: Augment, policy: str, kinds: list[str], words: str) -> None:
    if not words:
        own.require_fit(policy, kinds)
        return
    with pytest.raises(ValueError, match=words):
        own.require_fit(policy, kinds)
