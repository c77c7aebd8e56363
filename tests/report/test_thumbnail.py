"""Thumbnails: a still, upright, small sRGB picture of any bytes, or none; never an exception, never unbounded."""

import io
import resource
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curate.report.pictures import thumbnail
from curate.report.pictures.thumbnails import MOST_BYTES, fitted

BROKEN = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "broken" / "pillow"
RED, BLUE = (200, 30, 30), (30, 30, 200)


def encoded(image, format="PNG", **options):
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def halves(mode="RGB", size=(400, 200)):
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image.convert(mode)


def corners(data):
    """Size, and the colours near the left and the right end."""
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.mode, getattr(image, "n_frames", 1)) == ("WEBP", "RGB", 1)
    width, height = image.size
    return image.size, image.getpixel((width // 8, height // 2)), image.getpixel((width - width // 8 - 1, height // 2))


def near(one, other, most=25):
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= most


EXIF_TURNED = Image.Exif()
EXIF_TURNED[0x0112] = 3


@pytest.mark.parametrize(
    ("data", "turned"),
    [
        (encoded(halves()), False),
        (encoded(halves(), "JPEG", quality=95), False),
        (encoded(halves("CMYK"), "JPEG", quality=95), False),
        (encoded(halves("P")), False),
        (encoded(halves("RGBA")), False),
        (encoded(halves(), "WEBP", lossless=True), False),
        (encoded(halves(), "JPEG", quality=95, exif=EXIF_TURNED), True),
        (encoded(halves(), "GIF", save_all=True, append_images=[Image.new("RGB", (400, 200), "lime")]), False),
        (encoded(halves(), "WEBP", save_all=True, append_images=[Image.new("RGB", (400, 200), "lime")]), False),
    ],
)
def test_a_small_still_upright_picture(data, turned):
    size, left, right = corners(thumbnail(data, 160))
    assert size == (160, 80)
    assert near(left, BLUE if turned else RED)
    assert near(right, RED if turned else BLUE)


def test_sixteen_bits_become_grey():
    ramp = np.linspace(0, 65_535, 300 * 300).reshape(300, 300).astype(np.uint16)
    size, left, _ = corners(thumbnail(encoded(Image.fromarray(ramp)), 160))
    assert size == (160, 160)
    assert near(left, (127, 127, 127))


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((400, 200), 160, (160, 80)),
        ((160, 20), 160, (160, 20)),
        ((161, 20), 160, (160, 20)),
        ((3, 5), 160, (3, 5)),
        ((1, 1), 16, (1, 1)),
        ((4_000, 1), 160, (160, 1)),
        ((1, 4_000), 160, (1, 160)),
    ],
)
def test_sizes(size, side, expected):
    assert Image.open(io.BytesIO(thumbnail(encoded(Image.new("RGB", size)), side))).size == expected


def bomb(width, height):
    """A PNG whose header promises more than a decoder should hold."""
    raw = encoded(Image.new("L", (8, 8)))
    header = raw[12:16] + width.to_bytes(4) + height.to_bytes(4) + raw[24:29]
    return raw[:12] + header + zlib.crc32(header).to_bytes(4) + raw[33:]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        b"\xff\xd8\xff",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        encoded(halves(), "JPEG")[:300],
        encoded(halves())[:60],
        bomb(50_000, 50_000),
        bomb(1 << 30, 1),
        encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"),
        encoded(halves()) + bytes(MOST_BYTES),
        encoded(Image.new("1", (8_001, 8_000))),
    ],
)
def test_no_bytes_of_what_cannot_be_shown(data):
    began = time.process_time()
    assert thumbnail(data, 160) == b""
    assert time.process_time() - began < 2


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF"]))
def test_any_bytes_are_a_picture_or_none(tail, magic):
    assert isinstance(thumbnail(magic + tail, 32), bytes)


@given(st.integers(0, 2_000), st.integers(0, 255))
def test_a_damaged_byte_is_no_exception(place, value):
    data = bytearray(encoded(halves(size=(40, 20)), "JPEG"))
    data[place % len(data)] = value
    assert isinstance(thumbnail(bytes(data), 32), bytes)


@pytest.mark.filterwarnings("ignore")
def test_broken_pictures_of_others_stay_bounded():
    if not BROKEN.is_dir():
        pytest.skip("the broken pictures of the shared data are not here")
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(path for path in BROKEN.rglob("*") if path.is_file())[::4]:
        began = time.process_time()
        assert isinstance(thumbnail(path.read_bytes(), 160), bytes), path.name
        assert time.process_time() - began < 5, path.name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 500_000


def noise(seed, side=160):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return thumbnail(encoded(Image.fromarray(pixels)), side)


@pytest.mark.parametrize(("most", "fewest"), [(10**9, 4), (40_000, 4), (12_000, 4), (3_000, 1), (50, 0), (0, 0)])
def test_thumbnails_share_their_bytes(most, fewest):
    small = thumbnail(encoded(halves()), 160)
    pictures = [noise(1), small, b"", noise(2), noise(1)]
    found = fitted(pictures, 160, most)
    assert sum(map(len, found)) <= most
    assert sum(1 for one in found if one) >= fewest
    assert found[2] == b""
    assert found[0] == found[4]
    if most >= 12_000:
        assert found[1] == small  # only the largest pay
    assert all(Image.open(io.BytesIO(one)).format == "WEBP" for one in found if one)


def test_what_fits_is_not_touched():
    pictures = [noise(1), noise(2)]
    assert fitted(pictures, 160, sum(map(len, pictures))) == pictures
    assert fitted(pictures, 160, sum(map(len, pictures)) - 1) != pictures
    assert fitted([], 160, 0) == []
