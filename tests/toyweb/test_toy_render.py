"""What is drawn is what the scene says: right colours, right number, right places; the same seed, the same pixels."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_scenes import scenes

from curate.toyweb.render import BACKGROUNDS, MARGIN_RATIO, draw, render
from curate.toyweb.scene import Group, Scene

SATURATED = 96
"""Shapes differ between their channels by more than this, backgrounds (186 to 248, less the grain) by less."""


def blobs(pixels):
    """Centres (x, y) of the connected saturated patches, and their mean colours."""
    spread = pixels.max(axis=2).astype(int) - pixels.min(axis=2)
    count, labels, stats, centres = cv2.connectedComponentsWithStats((spread > SATURATED).astype(np.uint8))
    large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] > 0.0005 * spread.size]
    return [(centres[n], pixels[labels == n].mean(axis=0)) for n in large]


@settings(max_examples=60, deadline=None)
@given(scenes, st.integers(0, 2**64 - 1), st.sampled_from([(300, 300), (480, 260), (220, 520)]))
def test_the_picture_has_as_many_shapes_as_the_scene_and_on_the_right_side(scene, seed, size):
    found = blobs(render(scene, size, seed))
    assert len(found) == scene.first.count + scene.second.count
    axis = 1 if scene.layout == "above" else 0
    first = sum(centre[axis] < size[axis] / 2 for centre, _ in found)
    assert first == scene.first.count


@pytest.mark.parametrize(
    ("color", "test"),
    [
        ("red", lambda r, g, b: r > 180 and g < 70 and b < 70),
        ("blue", lambda r, g, b: b > 180 and r < 70),
        ("green", lambda r, g, b: g > 130 and r < 70 and b < 90),
        ("yellow", lambda r, g, b: r > 210 and g > 180 and b < 70),
        ("orange", lambda r, g, b: r > 210 and 100 < g < 150 and b < 50),
        ("purple", lambda r, g, b: 110 < r < 150 and g < 60 and b > 150),
    ],
)
@pytest.mark.parametrize("seed", range(6))
def test_colours_are_what_they_are_called(color, test, seed):
    scene = Scene(Group(1, color, "square"), Group(1, color, "square"), "left")
    for _, mean in blobs(render(scene, (300, 200), seed)):
        assert test(*mean), mean


def test_shapes_fill_their_box_as_their_names_say():
    fill = {}
    for shape in ("circle", "square", "triangle", "star"):
        pixels = render(Scene(Group(1, "red", shape), Group(1, "blue", shape), "left"), (640, 400), 3)
        red = (pixels[..., 0].astype(int) - pixels[..., 1]) > SATURATED
        rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
        fill[shape] = red.sum() / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1))
    assert fill["square"] > 0.98
    assert 0.75 < fill["circle"] < 0.82  # pi / 4
    assert 0.47 < fill["triangle"] < 0.53
    assert 0.2 < fill["star"] < 0.45


@settings(max_examples=40, deadline=None)
@given(scenes, st.integers(0, 2**32))
def test_the_margin_stays_free(scene, seed):
    width, height = 400, 300
    pixels = render(scene, (width, height), seed).astype(int)
    left, top = int(width * MARGIN_RATIO) - 1, int(height * MARGIN_RATIO) - 1
    pixels[top:-top, left:-left] = 0
    assert (pixels.max(axis=2) - pixels.min(axis=2)).max() <= SATURATED


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (64, 48), (200, 640), (640, 200), (961, 121)])
def test_any_size(size):
    pixels = render(Scene(Group(3, "red", "star"), Group(3, "blue", "star"), "left"), size, 1)
    assert pixels.shape == (size[1], size[0], 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("size", [(32, 32), (300, 200)])
def test_same_seed_same_pixels_and_another_seed_others(size):
    scene = Scene(Group(2, "red", "star"), Group(3, "blue", "circle"), "above")
    assert np.array_equal(render(scene, size, 7), render(scene, size, 7))
    assert not np.array_equal(render(scene, size, 7), render(scene, size, 8))


def test_every_background_occurs_and_none_is_as_vivid_as_a_shape():
    from random import Random

    for seed in range(20):
        for name, paint in BACKGROUNDS.items():
            pixels = np.asarray(paint(240, 160, Random(seed))).astype(int)
            assert pixels.shape == (160, 240, 3), name
            assert (pixels.max(axis=2) - pixels.min(axis=2)).max() <= SATURATED, name
    scene = Scene(Group(1, "red", "star"), Group(1, "blue", "star"), "left")
    corners = {draw(scene, (200, 200), seed).getpixel((0, 0)) for seed in range(30)}
    assert len(corners) > 20
