"""PDQ follows the published steps with 32-bit floats in their order; quality tells flat pictures; memory is bounded."""

import subprocess
import sys

import numpy as np
import pytest
from drawings import drawing
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curate.perceptual.jarosz import blurred
from curate.perceptual.pdq import pdq


def box(rows, size):
    """Down the first axis: from a running sum, which starts half a box early and ends half a box late."""
    out, total, count, ahead = np.empty_like(rows), np.zeros(rows.shape[1], np.float32), 0, (size + 2) // 2 - 1
    for step in range(len(rows) + ahead):
        if step < len(rows):
            total, count = total + rows[step], count + 1
        if step >= size:
            total, count = total - rows[step - size], count - 1
        if step >= ahead:
            out[step - ahead] = total / np.float32(count)
    return out


def in_order(matrix, rows):
    """matrix @ rows with each sum in the order of its terms."""
    total = np.zeros((len(matrix), rows.shape[1]), np.float32)
    for k in range(len(rows)):
        total += matrix[:, k : k + 1] * rows[k : k + 1]
    return total


def published(pixels):
    height, width, _ = pixels.shape
    grey = (pixels[..., 0] * 0.299 + pixels[..., 1] * 0.587 + pixels[..., 2] * 0.114).astype(np.float32)
    if (height, width) != (64, 64):
        for _ in range(2):
            grey = box(box(grey.T, -(-width // 128)).T, -(-height // 128))
        down, across = (((np.arange(64) + 0.5) * side / 64).astype(int) for side in (height, width))
        grey = grey[down][:, across]
    steps = [np.diff(grey, axis=axis) * np.float32(100) / np.float32(255) for axis in (0, 1)]
    quality = min(100, sum(int(np.abs(np.trunc(step)).sum()) for step in steps) // 90)
    scale = float(np.float32(np.sqrt(2 / 64)))
    waves = scale * np.cos(np.pi / 128 * np.outer(np.arange(1, 17), 2 * np.arange(64) + 1))
    waves = waves.astype(np.float32)
    low = in_order(waves, in_order(waves, grey).T).T.ravel()
    return np.packbits((low > np.sort(low)[127])[::-1]).tobytes(), quality


@given(st.integers(0, 2**32), st.integers(5, 300), st.integers(5, 300))
@settings(deadline=None, max_examples=150)
def test_follows_the_published_steps(seed, height, width):
    pixels = drawing(seed, height, width)
    assert pdq(pixels) == published(pixels)


@pytest.mark.parametrize("side", [5, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1_000])
@pytest.mark.parametrize("other", [5, 64, 144])
def test_follows_them_at_every_border(side, other):
    for pixels in (drawing(side, side, other), drawing(side, other, side)):
        assert pdq(pixels) == published(pixels)


def test_a_picture_of_64_by_64_is_not_blurred():
    pixels = drawing(1, 64, 64)
    grey = (pixels[..., 0] * 0.299 + pixels[..., 1] * 0.587 + pixels[..., 2] * 0.114).astype(np.float32)
    assert (blurred(pixels) == grey).all()


@pytest.mark.parametrize(("side", "hashed"), [(4, False), (5, True)])
def test_a_picture_of_five_pixels_has_a_hash(side, hashed):
    for pixels in (drawing(1, side, 200), drawing(1, 200, side)):
        assert (pdq(pixels).hash != bytes(32)) is hashed
        assert (pdq(pixels).quality > 0) is hashed


def test_half_the_bits_are_set():
    for seed in range(20):
        assert int.from_bytes(pdq(drawing(seed, 200, 300)).hash, "big").bit_count() == 128


def slope(contrast):
    return np.linspace(100, 100 + contrast, 300).astype(np.uint8)[None, :, None].repeat(200, 0).repeat(3, 2)


@pytest.mark.parametrize(
    ("pixels", "low", "high"),
    [
        (np.zeros((300, 200, 3), np.uint8), 0, 0),
        (np.full((300, 200, 3), 255, np.uint8), 0, 0),
        (slope(40), 0, 0),
        (slope(150), 0, 49),
        (drawing(1, 300, 200), 50, 100),
        (np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (64, 64, 1)).repeat(3, 2), 100, 100),
    ],
    ids=["black", "white", "faint slope", "slope", "drawing", "noise"],
)
def test_quality_tells_flat_pictures(pixels, low, high):
    assert low <= pdq(pixels).quality <= high


def test_copies_are_near_and_others_are_far():
    pictures = [drawing(seed, 300, 400) for seed in range(40)]
    ours = [int.from_bytes(pdq(picture).hash, "big") for picture in pictures]
    halved = [np.asarray(Image.fromarray(picture).resize((200, 150))) for picture in pictures]
    distances = [(a ^ int.from_bytes(pdq(b).hash, "big")).bit_count() for a, b in zip(ours, halved, strict=True)]
    assert max(distances) <= 31
    assert min((a ^ b).bit_count() for i, a in enumerate(ours) for b in ours[:i]) > 60


@pytest.mark.parametrize(
    "pixels", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((5, 65_536, 3), np.uint8)], ids=str
)
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match=r"a picture is uint8|is above 65,535"):
        pdq(pixels)


HUGE = """
import numpy as np
from curate.dedup.picture_hashes import PictureHashes, KINDS
def peak_kb():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
scorer = PictureHashes(tuple(KINDS))
scorer.prepare(np.zeros((300, 100, 3), np.uint8))
pixels = np.full((6_000, 6_000, 3), 7, np.uint8)  # Pillow's copy of it alone would take 144 MB
before = peak_kb()
scorer.prepare(pixels)
print(peak_kb() - before)
"""


@pytest.mark.slow
def test_a_huge_picture_takes_little_memory_beside_its_own():
    found = subprocess.run([sys.executable, "-c", HUGE], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 64 << 10
