"""Limits, resize modes and encoding: tables of sizes, each bound from both sides."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curate.config import build
from curate.errors import ConfigError
from curate.fetch.image import ImageSettings, decode, process
from curate.fetch.resize import plan
from curate.fetch.status import FetchStatus


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth picture in which neighbouring regions differ."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, name: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


SIZES = [
    # mode, only if bigger, before, after
    ("no", False, (300, 200), (300, 200)),
    ("no", True, (30, 20), (30, 20)),
    ("border", False, (300, 200), (100, 100)),
    ("border", False, (30, 20), (100, 100)),
    ("border", False, (100, 100), (100, 100)),
    ("border", True, (101, 20), (100, 100)),
    ("border", True, (100, 20), (100, 20)),
    ("border", True, (99, 20), (99, 20)),
    ("keep_ratio", False, (300, 200), (150, 100)),
    ("keep_ratio", False, (200, 300), (100, 150)),
    ("keep_ratio", False, (30, 20), (150, 100)),
    ("keep_ratio", True, (300, 100), (300, 100)),
    ("keep_ratio", True, (303, 101), (300, 100)),
    ("keep_ratio_largest", False, (300, 200), (100, 67)),
    ("keep_ratio_largest", False, (200, 300), (67, 100)),
    ("keep_ratio_largest", False, (30, 20), (100, 67)),
    ("keep_ratio_largest", True, (100, 99), (100, 99)),
    ("keep_ratio_largest", True, (101, 99), (100, 98)),
    ("keep_ratio_largest", False, (1000, 1), (100, 1)),
    ("center_crop", False, (300, 200), (100, 100)),
    ("center_crop", False, (30, 20), (100, 100)),
    ("center_crop", True, (300, 100), (300, 100)),
    ("center_crop", True, (300, 101), (100, 100)),
]


@pytest.mark.parametrize(("mode", "only_if_bigger", "before", "after"), SIZES)
def test_a_mode_gives_img2datasets_size(
    mode: Any, only_if_bigger: bool, before: tuple[int, int], after: tuple[int, int]
) -> None:
    settings = ImageSettings(size_px=100, resize_mode=mode, resize_only_if_bigger=only_if_bigger)
    picture = process(encoded(noise(*before)), settings)
    assert picture.status is FetchStatus.SUCCESS
    assert (picture.width, picture.height) == after == opened(picture.data).size
    assert (picture.original_width, picture.original_height) == before
    assert opened(picture.data).mode == "RGB"


def test_the_border_is_white_and_the_picture_in_the_middle() -> None:
    settings = ImageSettings(size_px=100, format="png")
    pixels = np.asarray(opened(process(encoded(Image.new("RGB", (200, 101), "blue"), "PNG"), settings).data))
    blue = (pixels == (0, 0, 255)).all(2)
    assert (pixels[~blue] == 255).all()
    assert blue[:, 0].nonzero()[0].tolist() == list(range(25, 75))  # 50 rows (50.5 rounds to even), 25 above them


def test_the_crop_is_the_middle() -> None:
    strips = Image.new("RGB", (300, 100), "red")
    strips.paste("lime", (100, 0, 200, 100))
    picture = process(encoded(strips, "PNG"), ImageSettings(size_px=100, resize_mode="center_crop", format="png"))
    assert (np.asarray(opened(picture.data)) == (0, 255, 0)).all()


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(1, 600),
    st.sampled_from(["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]),
)
def test_a_plan_keeps_the_ratio_and_meets_its_size(width: int, height: int, size: int, mode: Any) -> None:
    made = plan(width, height, ImageSettings(size_px=size, resize_mode=mode))
    side = max if mode in ("border", "keep_ratio_largest") else min
    assert mode == "no" or side(made.scaled) == size
    ratio = side(made.scaled) / side(width, height)
    assert abs(made.scaled[0] - max(1, width * ratio)) <= 0.5
    assert abs(made.scaled[1] - max(1, height * ratio)) <= 0.5
    assert made.final == ((size, size) if mode in ("border", "center_crop") else made.scaled)


@pytest.mark.parametrize("name", ["nearest", "linear", "cubic", "area", "lanczos"])
def test_interpolations_are_cv2s_and_chosen_by_direction(name: Any) -> None:
    flag = getattr(cv2, {"lanczos": "INTER_LANCZOS4"}.get(name, f"INTER_{name.upper()}"))
    for before, other in (((90, 60), "downscale_interpolation"), ((20, 10), "upscale_interpolation")):
        source = noise(*before)
        settings = replace(ImageSettings(size_px=45, resize_mode="keep_ratio_largest", format="png"), **{other: name})
        picture = process(encoded(source, "PNG"), settings)
        size = (picture.width or 0, picture.height or 0)
        np.testing.assert_array_equal(opened(picture.data), cv2.resize(np.asarray(source), size, interpolation=flag))


LIMITS = [
    ({"min_side_px": 20}, FetchStatus.SUCCESS),
    ({"min_side_px": 21}, FetchStatus.IMAGE_TOO_SMALL),
    ({"max_area_px": 1200}, FetchStatus.SUCCESS),
    ({"max_area_px": 1199}, FetchStatus.IMAGE_TOO_LARGE),
    ({"max_aspect_ratio": 3.0}, FetchStatus.SUCCESS),
    ({"max_aspect_ratio": 2.99}, FetchStatus.ASPECT_RATIO_TOO_LARGE),
]


@pytest.mark.parametrize(("settings", "status"), LIMITS)
@pytest.mark.parametrize("size", [(60, 20), (20, 60)])
def test_limits_are_included_and_look_at_the_original(
    settings: dict[str, Any], status: FetchStatus, size: tuple[int, int]
) -> None:
    picture = process(encoded(noise(*size)), ImageSettings(size_px=30, resize_mode="keep_ratio_largest", **settings))
    assert picture.status is status
    assert (picture.original_width, picture.original_height) == size
    assert bool(picture.data) == (status is FetchStatus.SUCCESS) == (picture.detail == "")
    assert len(picture.sha256) == 64


def test_a_line_is_not_blown_up() -> None:
    line = encoded(Image.new("RGB", (65_000, 1)))
    picture = process(line, ImageSettings(resize_mode="keep_ratio"))
    assert picture.status is FetchStatus.ASPECT_RATIO_TOO_LARGE
    assert "16640000" in picture.detail.replace(",", "")


@pytest.mark.parametrize(("side", "status"), [(16_383, FetchStatus.SUCCESS), (16_384, FetchStatus.IMAGE_TOO_LARGE)])
def test_a_side_longer_than_the_format_holds_is_refused(side: int, status: FetchStatus) -> None:
    picture = process(encoded(Image.new("RGB", (side, 2))), ImageSettings(resize_mode="no", format="webp"))
    assert picture.status is status


@pytest.mark.parametrize(
    ("name", "quality", "magic"),
    [
        ("jpg", None, b"\xff\xd8\xff"),
        ("jpg", 60, b"\xff\xd8\xff"),
        ("png", None, b"\x89PNG"),
        ("png", 9, b"\x89PNG"),
        ("webp", None, b"RIFF"),
        ("webp", 101, b"RIFF"),
    ],
)
def test_what_is_stored_is_in_the_format_asked_for(name: Any, quality: int | None, magic: bytes) -> None:
    data = encoded(noise(64, 64), "PNG")
    picture = process(data, ImageSettings(size_px=64, format=name, quality=quality))
    assert picture.data.startswith(magic)
    assert picture.extension == name
    assert picture == process(data, ImageSettings(size_px=64, format=name, quality=quality))
    off = np.abs(np.asarray(opened(picture.data)).astype(int) - np.asarray(noise(64, 64))).max()
    assert off == 0 if name == "png" or quality == 101 else off > 0


BAD = [
    ({"size_px": 0}, "size_px"),
    ({"quality": 101}, "quality (of jpg)"),
    ({"quality": 10, "format": "png"}, "quality (of png) = 10 is out of range: from 0 to 9"),
    ({"quality": 102, "format": "webp"}, "quality (of webp)"),
    ({"least_decode_factor": 0.5}, "least_decode_factor"),
    ({"max_aspect_ratio": 0.5}, "max_aspect_ratio"),
    ({"min_side_px": -1}, "min_side_px"),
    ({"max_area_px": 0}, "max_area_px"),
    ({"format": "gif"}, "image.format"),
    ({"resize_mode": "crop"}, "image.resize_mode"),
    ({"keep_original": True}, "image.keep_original"),
    ({"size": 3}, "size_px"),
]


@pytest.mark.parametrize(("table", "words"), BAD)
def test_a_bad_setting_is_one_clear_line(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(ImageSettings, table, "image")
    assert words in str(caught.value)


def test_unchanged_originals_are_kept_and_others_written_anew() -> None:
    settings = ImageSettings(size_px=80, resize_mode="no", keep_original="unchanged")
    turned = Image.Exif()
    turned[274] = 6
    cases = [
        (encoded(noise(80, 60)), True),
        (encoded(noise(80, 60), "PNG"), False),
        (encoded(noise(80, 60).convert("L")), False),
        (encoded(noise(80, 60).convert("CMYK")), False),
        (encoded(noise(80, 60), exif=turned), False),
    ]
    for data, kept in cases:
        picture = process(data, settings)
        assert picture.status is FetchStatus.SUCCESS
        assert (picture.data == data) is kept
        assert opened(picture.data).mode == "RGB"
    two = encoded(noise(80, 60), "WEBP", save_all=True, append_images=[noise(80, 60, 1)])
    one = encoded(noise(80, 60), "WEBP")
    assert process(one, replace(settings, format="webp")).data == one
    assert process(two, replace(settings, format="webp")).data != two
    data = encoded(noise(80, 60))
    assert process(data, replace(settings, resize_mode="border")).data != data
    assert process(data, replace(settings, keep_original="never")).data != data
    assert process(data, settings, [[0.2, 0.2, 0.8, 0.8]]).data != data
    assert process(data[:-400], settings).status is FetchStatus.IMAGE_TRUNCATED


@pytest.mark.parametrize(
    ("name", "extension"), [("PNG", "png"), ("GIF", "gif"), ("BMP", "bmp"), ("WEBP", "webp"), ("AVIF", "avif")]
)
def test_originals_always_kept_have_their_own_extension(name: str, extension: str) -> None:
    data = encoded(noise(80, 60), name)
    picture = process(data, ImageSettings(keep_original="always", min_side_px=60))
    assert (picture.data, picture.extension, picture.width, picture.height) == (data, extension, 80, 60)
    assert process(data, ImageSettings(keep_original="always", min_side_px=61)).status is FetchStatus.IMAGE_TOO_SMALL


def test_decode_gives_all_pixels_and_none_above_the_limit() -> None:
    data = encoded(noise(80, 60), "PNG")
    np.testing.assert_array_equal(decode(data), np.asarray(noise(80, 60)))
    assert decode(data, max_area_px=4800) is not None
    assert decode(data, max_area_px=4799) is None
    assert decode(b"not a picture") is None
