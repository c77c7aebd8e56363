"""A JPEG decoded at a fraction must look like one that was decoded in full: 40 dB at the median."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from curate.fetch.image import ImageSettings, process

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def photo_like(width: int, height: int, seed: int) -> Image.Image:
    """1/f noise with correlated channels, a few hard edges and some grain: the statistics of photographs."""
    rng = np.random.default_rng(seed)
    shape = -(-height // 64) * 64, -(-width // 64) * 64  # of which a transform is quick
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    frequency[0, 0] = 1
    grey, tint = (np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) / frequency, shape) for _ in "ab")
    channels = np.stack([grey + 0.3 * k * tint for k in (-1, 0, 1)], -1)[:height, :width]
    channels = 128 + 45 * (channels - channels.mean()) / channels.std()
    for _ in range(12):
        x, y = rng.integers(0, width), rng.integers(0, height)
        channels[y : y + height // 5, x : x + width // 7] += rng.normal(0, 40, 3)
    return Image.fromarray(np.clip(channels + rng.normal(0, 2, channels.shape), 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, progressive: bool = False) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82, progressive=progressive)
    return out.getvalue()


def psnr(data: bytes, settings: ImageSettings) -> float:
    """Of the stored picture (lossless) against full decode and area resize; 99 where they are equal."""
    made = np.asarray(Image.open(io.BytesIO(process(data, settings).data))).astype(float)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    best = cv2.resize(whole, made.shape[1::-1], interpolation=cv2.INTER_AREA)
    error = ((made - best) ** 2).mean()
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


SETTINGS = ImageSettings(resize_mode="keep_ratio_largest", format="png", quality=1)


@pytest.mark.parametrize("sizes", [[(915, 661), (1100, 540), (1201, 499)], [(1843, 1382), (2071, 1499), (2501, 1249)]])
def test_median_of_photo_like_pictures(sizes: list[tuple[int, int]]) -> None:
    """About 0.6 MP and about 3 MP. The least value is where a quarter is just above twice the target."""
    values = [psnr(jpeg(photo_like(*size, seed), seed % 2 == 1), SETTINGS) for seed, size in enumerate(sizes)]
    assert np.median(values) >= 40
    assert min(values) >= 38


def test_small_pictures_are_exact() -> None:
    assert psnr(jpeg(photo_like(1023, 700, 0)), SETTINGS) == 99


@pytest.mark.parametrize("width", range(1025, 1033))
def test_a_width_that_no_fraction_divides_is_not_stretched(width: int) -> None:
    """At an eighth its last column stands for 1 to 8 of the picture's; counting it as 8 costs up to 10 dB."""
    assert psnr(jpeg(photo_like(width, 280, 1)), replace(SETTINGS, size_px=64)) >= 37


def test_factor_one_is_faster_and_a_large_factor_exact() -> None:
    data = jpeg(photo_like(1030, 700, 2))
    settings = replace(SETTINGS, size_px=128)
    by_factor = [psnr(data, replace(settings, least_decode_factor=factor)) for factor in (1.0, 2.0, 99.0)]
    assert by_factor[0] < by_factor[1] < by_factor[2] == 99


def test_median_of_real_photos() -> None:
    files = sorted(DATA.glob("broken/exif_orientation/*_1.jpg")) + sorted(DATA.rglob("web/sites/**/*.jpg"))
    large = [file.read_bytes() for file in files if max(Image.open(file).size) >= 1024]
    if not large:
        pytest.skip("the photos of the shared data are not here")
    assert np.median([psnr(data, SETTINGS) for data in large]) >= 40
