"""Crops and flips: within bounds, drawn as torchvision draws them, by what a row is and nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.config import build
from curate.errors import ConfigError
from curate.handover.augment import Augment, View, Views

CROPS = Augment(0.3, 0.9, flip_probability=0.5)


def rows_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (n, 2), np.uint64)


def views(own: Augment, n: int, size: tuple[int, int] = (300, 200), seed: int = 0, epoch: int = 0) -> Views:
    sizes = np.full(n, size[0]), np.full(n, size[1])
    return own.views(rows_of(n), sizes, np.ones(n, bool), seed, epoch)


def test_boxes_keep_the_bounds() -> None:
    box = views(CROPS, 5_000).box
    left, top, wide, tall = box.T
    assert box.dtype == np.int64
    assert (box >= 0).all()
    assert (left + wide <= 300).all()
    assert (top + tall <= 200).all()
    area, aspect = wide * tall / 60_000, wide / tall
    assert 0.29 < area.min() < 0.32
    assert 0.85 < area.max() < 0.91
    assert 0.74 < aspect.min() < 0.78
    assert 1.30 < aspect.max() < 1.35
    assert (left == 0).any()
    assert (left + wide == 300).any()


def test_shape_size_and_flip_are_drawn_apart() -> None:
    """A shape and its inverse are equally likely, and a flip says nothing of the crop."""
    found = views(CROPS, 20_000, (4_000, 4_000))
    wide, tall = found.box[:, 2], found.box[:, 3]
    assert abs(np.mean(wide > tall) - 0.5) < 0.015
    area = wide * tall / 16e6
    assert abs(area[found.flip].mean() - area[~found.flip].mean()) < 0.01
    assert abs(np.corrcoef(area, wide / tall)[0, 1]) < 0.03


@pytest.mark.slow
def test_they_are_drawn_as_torchvision_draws_them() -> None:
    """Quantiles of place and size of 4,000 crops beside as many of RandomResizedCrop's own."""
    import torch

    import curate.models  # noqa: F401  (lets torchvision be imported)

    transforms = pytest.importorskip("torchvision.transforms")
    torch.manual_seed(0)
    picture = torch.zeros(3, 200, 300)
    theirs = [
        transforms.RandomResizedCrop.get_params(picture, [0.3, 0.9], [3 / 4, 4 / 3])  # top, left, height, width
        for _ in range(4_000)
    ]
    top, left, tall, wide = np.array(theirs).T
    ours = views(CROPS, 4_000).box.T
    for mine, other in zip(ours, (left, top, wide, tall), strict=True):
        assert np.abs(np.quantile(mine, [0.1, 0.5, 0.9]) - np.quantile(other, [0.1, 0.5, 0.9])).max() < 7


def test_a_shape_that_never_fits_gives_the_middle() -> None:
    whole = Augment(1 - 1e-9, 1.0)
    assert views(whole, 1, (1_000, 100)).box.tolist() == [[433, 0, 133, 100]]
    assert views(whole, 1, (100, 1_000)).box.tolist() == [[0, 433, 100, 133]]
    assert views(Augment(0.01, 0.02), 1, (1, 1)).box.tolist() == [[0, 0, 1, 1]]


def test_without_a_crop_pictures_stay_whole() -> None:
    found = views(Augment(flip_probability=0.5), 100, (1_000, 10))
    assert np.unique(found.box, axis=0).tolist() == [[0, 0, 1_000, 10]]
    assert 30 < found.flip.sum() < 70
    assert not views(Augment(), 100).flip.any()
    assert views(Augment(flip_probability=1), 100).flip.all()


def test_a_picture_that_must_not_be_mirrored_never_is() -> None:
    mirrors = np.arange(1_000) % 2 == 0
    found = CROPS.views(rows_of(1_000), (np.full(1_000, 50), np.full(1_000, 50)), mirrors, 0, 0)
    assert not found.flip[~mirrors].any()
    assert abs(found.flip[mirrors].mean() - 0.5) < 0.1


def test_a_view_is_that_of_the_row_the_epoch_and_the_seed() -> None:
    rows, sizes = rows_of(50), (np.arange(50) + 20, np.arange(50) * 3 + 9)
    mirrors = np.ones(50, bool)
    whole = CROPS.views(rows, sizes, mirrors, 7, 3)
    order = np.random.default_rng(1).permutation(50)[:20]
    part = CROPS.views(rows[order], (sizes[0][order], sizes[1][order]), mirrors[order], 7, 3)
    assert (part.box == whole.box[order]).all()
    assert (part.flip == whole.flip[order]).all()
    for seed, epoch in [(7, 4), (8, 3), (8, 4), (3, 7)]:
        other = CROPS.views(rows, sizes, mirrors, seed, epoch)
        assert (other.box != whole.box).any(axis=1).sum() > 40
        assert 10 < (other.flip != whole.flip).sum() < 40


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.booleans()
)
def test_what_is_seen_lies_within_and_has_pixels(w: int, h: int, dw: int, dh: int, seed: int, flip: bool) -> None:
    """Whatever size the decoder gave."""
    mirrors = np.array([flip])
    view = Augment(0.01, 1.0, flip_probability=1.0).views(
        rows_of(1, seed), (np.array([w]), np.array([h])), mirrors, 0, 0
    )
    pixels = np.arange(dw * dh).reshape(dh, dw)
    seen = view.at(0).of(pixels)
    assert view.at(0).flip == flip
    assert seen.size
    assert np.isin(seen, pixels).all()
    assert len(np.unique(seen)) == seen.size
    if (w, h) == (dw, dh):
        assert seen.shape == (view.box[0, 3], view.box[0, 2])


def test_pixels_of_a_view() -> None:
    pixels = np.arange(24).reshape(4, 6)
    box = (1, 2, 3, 2)
    assert View((6, 4), box, False).of(pixels).tolist() == [[13, 14, 15], [19, 20, 21]]
    assert View((6, 4), box, True).of(pixels).tolist() == [[15, 14, 13], [21, 20, 19]]
    assert View((12, 8), (2, 4, 6, 4), False).of(pixels).tolist() == [[13, 14, 15], [19, 20, 21]]
    assert np.shares_memory(View((6, 4), box, False).of(pixels), pixels)
    assert View((6, 4), box, True).of(pixels).flags.c_contiguous
    assert View((6, 4), box, True).of(np.zeros((4, 6, 3), np.uint8)).shape == (2, 3, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"min_area_ratio": 0.0},
        {"min_area_ratio": 1.1},
        {"max_area_ratio": 1.1},
        {"min_area_ratio": 0.9, "max_area_ratio": 0.8},
        {"min_aspect_ratio": 0.0},
        {"min_aspect_ratio": 2.0},
        {"max_aspect_ratio": 101.0},
        {"flip_probability": 1.1},
        {"flip_probability": -0.1},
        {"max_text_ratio": math.nan},
    ],
)
def test_settings_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Augment(**changes)


def test_settings_of_a_config() -> None:
    assert build(Augment, {"min_area_ratio": 0.9, "flip_probability": 0.5}, "stages.augment") == Augment(
        0.9, flip_probability=0.5
    )
    with pytest.raises(ConfigError, match="no key 'flip'"):
        build(Augment, {"flip": 0.5}, "stages.augment")
