"""Tokens of a picture by formula: published examples, bounds, what is refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.handover.resolution import Resolution

LLAVA_NEXT = Resolution(
    policy="tile", tiling="anyres", size=336, row_tokens=1, grids=((1, 2), (2, 1), (2, 2), (1, 3), (3, 1))
)
ONEVISION = Resolution(policy="tile", tiling="anyres", size=384, max_side=2304, shrink_tiles=9, row_tokens=1)
INTERNVL = Resolution(policy="tile", size=448, merge=2, max_tiles=12, thumbnail=True)
IDEFICS3 = Resolution(policy="tile", tiling="longest_side", size=364, merge=2, max_side=1456)
PHI3 = Resolution(policy="tile", tiling="hd", size=336, merge=2, max_tiles=16, row_tokens=1, extra_tokens=1)
MINICPM = Resolution(policy="tile", tiling="slices", size=448, tokens=96, max_tiles=9)
LLAMA32 = Resolution(policy="tile", tiling="canvas", size=560, tokens=1601, max_tiles=4)
QWEN2 = Resolution(policy="native", merge=2, min_pixels=56 * 56, max_pixels=14 * 14 * 4 * 1280, max_aspect=200)
PIXTRAL = Resolution(policy="native", size=1024, patch=16, max_side=1024, row_tokens=1)
FUYU = Resolution(policy="native", size=1080, patch=30, max_side=1920, max_height=1080, row_tokens=1)

sides = st.integers(1, 5000)
sizes = st.lists(st.tuples(sides, sides), min_size=1, max_size=20)


def tokens(resolution: Resolution, width: int, height: int) -> int:
    found = resolution.image_tokens(np.array([width]), np.array([height]))
    assert found.dtype == np.int64
    return int(found[0])


@pytest.mark.parametrize(
    ("resolution", "width", "height", "expected"),
    [
        (Resolution(), 1, 5000, 256),  # CLIP and PaliGemma at 224: 16 x 16
        (Resolution(size=448), 640, 480, 1024),  # PaliGemma at 448
        (Resolution(size=896), 640, 480, 4096),
        (Resolution(policy="pad", size=336), 640, 480, 576),  # LLaVA-1.5
        (Resolution(size=384), 640, 480, 729),  # LLaVA-OneVision's first stage
        (Resolution(policy="shortest", patch=32, extra_tokens=1), 640, 480, 50),  # CLIP B/32 with its class token
        (Resolution(tokens=32), 640, 480, 32),  # BLIP-2
        (Resolution(policy="native", size=980, max_side=980, tokens=64), 640, 480, 64),  # Idefics2's resampler
        (Resolution(policy="tile", tiling="quarters", size=980, tokens=64), 640, 480, 320),  # and with splitting
        (LLAVA_NEXT, 672, 672, 576 + 48 * 48 + 48),
        (LLAVA_NEXT, 1008, 336, 576 + 24 * 72 + 24),
        (LLAVA_NEXT, 1000, 1000, 576 + 48 * 48 + 48),
        (ONEVISION, 384, 384, 729 + 27 * 27 + 27),
        (ONEVISION, 2304, 2304, 729 + 81 * 81 + 81),  # 36 tiles shrunk to 9
        (INTERNVL, 448, 448, 256),
        (INTERNVL, 896, 448, 3 * 256),  # two tiles and the thumbnail
        (INTERNVL, 1792, 1344, 13 * 256),
        (IDEFICS3, 364, 364, 17 * 169),  # brought up to 1456
        (IDEFICS3, 1456, 728, 9 * 169),
        (Resolution(policy="tile", tiling="longest_side", size=364, merge=2, max_side=364), 900, 90, 169),
        (PHI3, 336, 336, 17 * 144 + 1 + 5 * 12),  # always brought up to as many tiles as fit
        (PHI3, 1344, 336, 17 * 144 + 1 + 3 * 12),  # 8 x 2
        (MINICPM, 448, 448, 96),
        (MINICPM, 449, 448, 3 * 96),
        (MINICPM, 1344, 1344, 10 * 96),
        (LLAMA32, 560, 560, 1601),
        (LLAMA32, 561, 560, 2 * 1601),
        (LLAMA32, 1120, 1120, 4 * 1601),
        (QWEN2, 224, 224, 64),
        (QWEN2, 28, 28, 4),  # brought up to 56 x 56
        (QWEN2, 4000, 20, 143),
        (QWEN2, 4001, 20, 0),  # refused: above 200 to 1
        (PIXTRAL, 1024, 1024, 64 * 65),
        (PIXTRAL, 512, 512, 32 * 33),
        (PIXTRAL, 2048, 1024, 32 * 65),
        (PIXTRAL, 17, 16, 3),
        (FUYU, 30, 30, 2),
        (FUYU, 1920, 1080, 36 * 65),
        (FUYU, 3840, 2160, 36 * 65),
    ],
)
def test_published_examples(resolution: Resolution, width: int, height: int, expected: int) -> None:
    assert tokens(resolution, width, height) == expected


def hd_tokens(width: int, height: int, most: int) -> int:
    """Phi-3-vision's own way, with its loop: 144 tokens a tile, 12 newlines a row of tiles, one separator."""
    turned = width < height
    if turned:
        width, height = height, width
    ratio = width / height
    scale = 1
    while scale * math.ceil(scale / ratio) <= most:
        scale += 1
    scale -= 1
    across, down = scale, max(math.ceil(int(scale * 336 / ratio) / 336), 1)
    if turned:
        across, down = down, across
    return (across * down + 1) * 144 + 1 + (down + 1) * 12


@given(sizes)
def test_hd_is_the_loop_of_its_code(pictures: list[tuple[int, int]]) -> None:
    width, height = np.array(pictures).T
    assert PHI3.image_tokens(width, height).tolist() == [hd_tokens(w, h, 16) for w, h in pictures]


@given(sizes)
@settings(max_examples=40)
def test_many_pictures_are_as_one_by_one(pictures: list[tuple[int, int]]) -> None:
    width, height = np.array(pictures).T
    for resolution in (LLAVA_NEXT, ONEVISION, INTERNVL, IDEFICS3, PHI3, MINICPM, LLAMA32, QWEN2, PIXTRAL, FUYU):
        assert resolution.image_tokens(width, height).tolist() == [tokens(resolution, w, h) for w, h in pictures]


@given(sizes)
def test_bounds_hold(pictures: list[tuple[int, int]]) -> None:
    width, height = np.array(pictures).T
    for resolution in (INTERNVL, LLAMA32, MINICPM, PHI3):
        columns, rows = resolution.grid(width, height)
        assert min(columns.min(), rows.min()) >= 1
        assert (columns * rows).max() <= resolution.max_tiles
    pixels = QWEN2.image_tokens(width, height) * 28 * 28
    assert (pixels <= QWEN2.max_pixels).all()
    assert (PIXTRAL.image_tokens(width, height) <= 64 * 65).all()
    assert (FUYU.image_tokens(width, height) <= 36 * 65).all()


@pytest.mark.parametrize(
    ("resolution", "width", "height", "expected"),
    [
        (Resolution(size=224), 224, 224, False),
        (Resolution(size=224), 500, 223, True),
        (Resolution(policy="shortest"), 223, 500, True),
        (Resolution(policy="pad", size=336), 336, 10, False),
        (Resolution(policy="pad", size=336), 335, 335, True),
        (INTERNVL, 448, 10, False),
        (INTERNVL, 447, 447, True),
        (QWEN2, 56, 56, False),
        (QWEN2, 56, 55, True),
    ],
)
def test_which_pictures_are_enlarged(resolution: Resolution, width: int, height: int, expected: bool) -> None:
    assert bool(resolution.enlarged(np.array([width]), np.array([height]))[0]) is expected


def test_no_pictures() -> None:
    none = np.array([], np.int64)
    for resolution in (Resolution(), LLAVA_NEXT, INTERNVL, IDEFICS3, PHI3, MINICPM, LLAMA32, QWEN2, PIXTRAL, FUYU):
        assert resolution.image_tokens(none, none).tolist() == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 0}, "size = 0"),
        ({"patch": 300}, "patch = 300"),
        ({"min_pixels": 10, "max_pixels": 9}, "max_pixels = 9"),
        ({"max_height": 10}, "max_side = 0"),
        ({"policy": "tile", "min_tiles": 3}, "max_tiles = 1"),
        ({"policy": "tile", "tiling": "anyres"}, "grids"),
        ({"policy": "tile", "tiling": "anyres", "grids": ((0, 1),)}, r"grids has \[0, 1\]"),
        ({"policy": "tile", "tiling": "longest_side"}, "max_side = 0"),
        ({"policy": "tile", "tiling": "longest_side", "max_side": 4097}, "max_side = 4097"),
        ({"policy": "tile", "row_tokens": 1}, "row_tokens"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Resolution(**settings)
