"""pHash and dHash follow their definitions at any size, in strips or at once; equal frequencies are equal."""

import numpy as np
import pytest
import scipy.fft
from drawings import drawing
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import curate.perceptual.shrink as shrink
from curate.perceptual.dhash import dhash, dhash_imagededup
from curate.perceptual.phash import median_bits, median_bits_without_mean, packed, phash, phash_imagededup

ALL = [phash, phash_imagededup, dhash, dhash_imagededup]
SIZES = st.tuples(st.integers(0, 2**32), st.integers(1, 80), st.integers(1, 80))


def definition(pixels, name):
    """The four hashes as their authors describe them, with a whole DCT."""
    size = (32, 32) if name.startswith("phash") else (9, 8)
    image = Image.fromarray(pixels)
    if name.endswith("imagededup"):
        grey = np.asarray(image.resize(size, Image.Resampling.LANCZOS).convert("L"))
    else:
        grey = np.asarray(image.convert("L").resize(size, Image.Resampling.LANCZOS))
    if name.startswith("dhash"):
        return grey[:, 1:] > grey[:, :-1]
    low = scipy.fft.dctn(grey.astype(float))[:8, :8]
    return low > np.median(low) if name == "phash" else low >= np.median(low.ravel()[1:])


@pytest.mark.parametrize("made", ALL, ids=lambda made: made.__name__)
@given(SIZES)
@settings(deadline=None, max_examples=60)
def test_follows_its_definition(made, picture):
    seed, height, width = picture
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    if min(height, width) > 4:  # in others frequencies are equal, and noise decides
        assert made(pixels) == packed(definition(pixels, made.__name__))


@pytest.mark.parametrize("made", ALL, ids=lambda made: made.__name__)
@pytest.mark.parametrize("strip_px", [1, 500, 3_000, 9_000, 10_000])
def test_strips_change_nothing(monkeypatch, made, strip_px):
    pictures = [drawing(3, 90, 100), drawing(4, 3, 400), drawing(5, 32, 200), drawing(6, 300, 1)]
    whole = [made(pixels) for pixels in pictures]
    monkeypatch.setattr(shrink, "STRIP_PX", strip_px)
    assert [made(pixels) for pixels in pictures] == whole


@given(SIZES, st.integers(1, 2_000))
@settings(deadline=None, max_examples=60)
def test_strips_shrink_as_pillow_does(picture, strip_px):
    seed, height, width = picture
    pixels = drawing(seed, min(height, width), width)  # small tall ones start down the columns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shrink, "STRIP_PX", strip_px)
        grey, small = shrink.shrink_grey(pixels, (32, 32), (9, 8))
        (colours,) = shrink.shrink_then_grey(pixels, (32, 32))
    image = Image.fromarray(pixels)
    for found, size in ((grey, (32, 32)), (small, (9, 8))):
        assert (found == np.asarray(image.convert("L").resize(size, Image.Resampling.LANCZOS))).all()
    assert (colours == np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS).convert("L"))).all()


@pytest.mark.parametrize("size", [(1_400, 1_600), (1_900, 1_200), (2_150, 1_200), (2_170, 1_200), (4_000, 900)])
def test_tall_and_wide_pictures_of_more_than_a_strip_are_as_at_once(size):
    pixels = drawing(7, size[0] // 10, size[1] // 10).repeat(10, axis=0).repeat(10, axis=1)
    assert size[0] * size[1] > shrink.STRIP_PX
    assert [made(pixels) for made in ALL] == [packed(definition(pixels, made.__name__)) for made in ALL]


def test_bits_are_in_the_order_of_the_frequencies():
    """The first bit is the mean, the second the slowest wave across, the ninth the slowest down."""
    places = np.cos(np.pi * (2 * np.arange(32) + 1) / 64)
    across = np.uint8(128 + 100 * places)[None, :].repeat(32, axis=0)
    assert f"{median_bits(across):064b}"[:9] == "110" + f"{median_bits(across):064b}"[3:8] + "0"
    assert f"{median_bits(across.T):064b}"[0] == f"{median_bits(across.T):064b}"[8] == "1"
    assert f"{median_bits(across.T):064b}"[1] == "0"


@pytest.mark.parametrize("level", [1, 77, 255])
def test_frequencies_of_a_flat_picture_are_equal(level):
    """All but the mean are 0, and so is their median: none is above it, all are it."""
    flat = np.full((50, 60, 3), level, np.uint8)
    assert (phash(flat), phash_imagededup(flat), dhash(flat)) == (1 << 63, 2**64 - 1, 0)


def test_noise_of_the_arithmetic_is_no_difference():
    """In a picture that is the same upside down, every second frequency down is 0, and so is the median."""
    half = np.random.default_rng(1).integers(0, 256, (16, 32), np.uint8)
    grey = np.concatenate([half, half[::-1]])
    odd_rows = 0x00FF00FF00FF00FF
    below = scipy.fft.dctn(grey.astype(float))[:8, :8] < -1
    assert median_bits(grey) & odd_rows == 0
    assert median_bits_without_mean(grey) & odd_rows == odd_rows
    assert below[::2].any()
    assert median_bits_without_mean(grey) & packed(below) == 0


@pytest.mark.parametrize("black", [(1, 1), (1, 10_000), (10_000, 1), (300, 200)])
def test_black_is_all_zeros(black):
    pixels = np.zeros((*black, 3), np.uint8)
    assert (phash(pixels), dhash(pixels), dhash_imagededup(pixels)) == (0, 0, 0)
    assert phash_imagededup(pixels) == 2**64 - 1


@pytest.mark.parametrize("made", ALL, ids=lambda made: made.__name__)
@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((5, 5), np.uint8), r"not uint8 \(5, 5\)"),
        (np.zeros((5, 5, 4), np.uint8), r"not uint8 \(5, 5, 4\)"),
        (np.zeros((5, 5, 3), np.float32), "not float32"),
        (np.zeros((0, 5, 3), np.uint8), r"not uint8 \(0, 5, 3\)"),
        (np.zeros((1, 65_536, 3), np.uint8), "a side of 65,536 px is above 65,535"),
    ],
    ids=["grey", "alpha", "floats", "empty", "long"],
)
def test_what_is_no_picture_is_refused(made, pixels, words):
    with pytest.raises(ValueError, match=words):
        made(pixels)


def test_the_longest_side_is_included():
    assert phash(np.zeros((65_535, 1, 3), np.uint8)) == phash(np.zeros((1, 65_535, 3), np.uint8)) == 0


def test_copies_are_near_and_others_are_far():
    pictures = [drawing(seed, 300, 400) for seed in range(40)]
    ours = [phash(picture) for picture in pictures]
    halved = [np.asarray(Image.fromarray(picture).resize((200, 150))) for picture in pictures]
    assert all((a ^ phash(b)).bit_count() <= 4 for a, b in zip(ours, halved, strict=True))
    assert min((a ^ b).bit_count() for i, a in enumerate(ours) for b in ours[:i]) > 8
