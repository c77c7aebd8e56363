"""Everything becomes three channels of sRGB: alpha, palettes, 16 bits, CMYK, profiles."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from curate.fetch import color
from curate.fetch.image import ImageSettings, decode, process
from curate.fetch.status import FetchStatus

SIDE = 32


def encoded(image: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def shown(data: bytes) -> tuple[int, int, int]:
    """The colour of a one-colour picture after decoding."""
    pixels = decode(data)
    assert pixels is not None
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8
    assert np.ptp(pixels.reshape(-1, 3), axis=0).max() <= 1
    return tuple(int(v) for v in pixels[SIDE // 2, SIDE // 2])


def plain(mode: str, value: Any) -> Image.Image:
    return Image.new(mode, (SIDE, SIDE), value)


def palette(alpha: bytes | int) -> bytes:
    image = plain("P", 1)
    image.putpalette([0, 0, 0, 200, 100, 0])
    return encoded(image, transparency=alpha)


def deep(value: int) -> bytes:
    return encoded(Image.fromarray(np.full((SIDE, SIDE), value, np.uint16)))


PLAIN = [
    ("rgb", encoded(plain("RGB", (10, 20, 30))), (10, 20, 30)),
    ("grey", encoded(plain("L", 77)), (77, 77, 77)),
    ("one bit", encoded(plain("1", 1)), (255, 255, 255)),
    ("clear is white", encoded(plain("RGBA", (255, 0, 0, 0))), (255, 255, 255)),
    ("half red on white", encoded(plain("RGBA", (255, 0, 0, 128))), (255, 127, 127)),
    ("opaque", encoded(plain("RGBA", (1, 2, 3, 255))), (1, 2, 3)),
    ("grey and alpha", encoded(plain("LA", (0, 51))), (204, 204, 204)),
    ("palette", palette(0), (200, 100, 0)),
    ("palette, clear colour", palette(1), (255, 255, 255)),
    ("palette, alpha per colour", palette(bytes([255, 51])), (244, 224, 204)),
    ("transparent colour", encoded(plain("RGB", (9, 9, 9)), transparency=(9, 9, 9)), (255, 255, 255)),
    ("transparent grey", encoded(plain("L", 9), transparency=9), (255, 255, 255)),
    ("16-bit black", deep(0), (0, 0, 0)),
    ("16-bit middle is not clipped", deep(0x8000), (128, 128, 128)),
    ("16-bit white", deep(0xFFFF), (255, 255, 255)),
    ("16-bit tiff", encoded(Image.fromarray(np.full((SIDE, SIDE), 0x4000, np.uint16)), "TIFF"), (64, 64, 64)),
    ("gif", encoded(plain("P", 0), "GIF"), (0, 0, 0)),
    ("bmp", encoded(plain("RGB", (1, 2, 3)), "BMP"), (1, 2, 3)),
    ("lab white", encoded(plain("LAB", (255, 128, 128)), "TIFF"), (255, 255, 255)),
    ("cmyk tiff", encoded(plain("CMYK", (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    ("cmyk is ink by black", encoded(plain("CMYK", (0, 0, 255, 128)), "TIFF"), (127, 127, 0)),
    ("webp, lossless alpha", encoded(plain("RGBA", (0, 0, 255, 0)), "WEBP", lossless=True), (255, 255, 255)),
]


@pytest.mark.parametrize(("data", "expected"), [p[1:] for p in PLAIN], ids=[p[0] for p in PLAIN])
def test_colours_arrive(data: bytes, expected: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(shown(data), expected, atol=1)
    picture = process(data, ImageSettings(size_px=16, format="png"))
    stored = Image.open(io.BytesIO(picture.data))
    assert stored.mode == "RGB"
    np.testing.assert_allclose(stored.getpixel((8, 8)), expected, atol=1)


def test_cmyk_jpeg_as_adobe_writes_it_is_not_a_negative() -> None:
    np.testing.assert_allclose(shown(encoded(plain("CMYK", (0, 255, 255, 0)), "JPEG", quality=95)), (255, 0, 0), atol=3)


@pytest.mark.parametrize("value", [-1.0, 0.5, 1e30])
def test_floating_point_is_refused(value: float) -> None:
    picture = process(encoded(plain("F", value), "TIFF"), ImageSettings())
    assert picture.status is FetchStatus.IMAGE_UNSUPPORTED


@pytest.mark.parametrize(
    ("value", "status"),
    [(65535, FetchStatus.SUCCESS), (65536, FetchStatus.IMAGE_UNSUPPORTED), (-1, FetchStatus.IMAGE_UNSUPPORTED)],
)
def test_integers_beyond_16_bits_are_refused(value: int, status: FetchStatus) -> None:
    assert process(encoded(plain("I", value), "TIFF"), ImageSettings()).status is status


def profile(gamma: float, primaries: tuple[tuple[float, float], ...], space: bytes = b"RGB ") -> bytes:
    """A small matrix profile (ICC v2) with the given primaries under D65 and one gamma."""
    white = np.array([0.9505, 1.0, 1.089])
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    columns = columns * np.linalg.solve(columns, white)
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1.0, 0.8249])
    adapted = np.linalg.inv(cone) @ np.diag((cone @ d50) / (cone @ white)) @ cone @ columns

    def fixed(values: Any) -> bytes:
        return b"".join(round(float(v) * 65536).to_bytes(4, "big", signed=True) for v in values)

    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(d50)}
    tags |= {name: b"XYZ \0\0\0\0" + fixed(adapted[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    curve = b"curv\0\0\0\0\0\0\0\1" + int(gamma * 256).to_bytes(2, "big") + b"\0\0"
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), curve)
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + (start + len(body)).to_bytes(4, "big") + len(value).to_bytes(4, "big")
        body += value
    header = bytearray(128)
    header[4:24] = b"\0\0\0\0\x02\x20\0\0mntr" + space + b"XYZ "
    header[36:40] = b"acsp"
    header[68:80] = fixed(d50)
    whole = bytes(header) + len(tags).to_bytes(4, "big") + table + body
    return len(whole).to_bytes(4, "big") + whole[4:]


SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE = profile(2.2, ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)))
DISPLAY_P3 = profile(2.2, ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)))


@pytest.mark.parametrize(
    ("icc", "before", "expected"),
    [
        (ADOBE, (0, 255, 0), (0, 255, 1)),
        (ADOBE, (128, 200, 128), (77, 201, 125)),
        (ADOBE, (255, 255, 255), (255, 255, 255)),
        (DISPLAY_P3, (200, 128, 128), (213, 125, 127)),
    ],
)
def test_wide_gamuts_are_converted(icc: bytes, before: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(shown(encoded(plain("RGB", before), icc_profile=icc)), expected, atol=3)
    small = process(encoded(plain("RGB", before), icc_profile=icc), ImageSettings(size_px=16, format="png"))
    np.testing.assert_allclose(Image.open(io.BytesIO(small.data)).getpixel((8, 8)), expected, atol=3)


def test_srgb_by_any_name_is_left_alone() -> None:
    built_in = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (built_in, built_in[:200] + bytes([built_in[200] ^ 1]) + built_in[201:]):
        image = Image.open(io.BytesIO(encoded(plain("RGB", (1, 2, 3)), icc_profile=icc)))
        assert color.is_plain(image)
        assert shown(encoded(plain("RGB", (1, 2, 3)), icc_profile=icc)) == (1, 2, 3)
    assert not color.is_plain(Image.open(io.BytesIO(encoded(plain("RGB", (1, 2, 3)), icc_profile=ADOBE))))


def test_a_grey_profile_is_applied_to_grey() -> None:
    linear = profile(1.0, SRGB_PRIMARIES, b"GRAY")
    np.testing.assert_allclose(shown(encoded(plain("L", 55), icc_profile=linear)), (128, 128, 128), atol=2)


@pytest.mark.parametrize(
    "icc",
    [b"x", b"\0" * 5000, ADOBE[:200], ADOBE + bytes(color.MAX_PROFILE_BYTES), profile(1.0, SRGB_PRIMARIES, b"GRAY")],
    ids=["one byte", "zeros", "cut", "huge", "of another space"],
)
def test_an_unusable_profile_is_ignored(icc: bytes) -> None:
    data = encoded(plain("RGB", (128, 200, 128)), "JPEG", icc_profile=icc, quality=100)
    np.testing.assert_allclose(shown(data), (128, 200, 128), atol=3)


def test_a_large_picture_is_converted_in_bands_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for mode, depth in (("RGBA", 4), ("LA", 2), ("RGB", 3), ("L", 1)):
        pixels = rng.integers(0, 256, (41, 37, depth), np.uint8)
        data = encoded(Image.fromarray(pixels[..., 0] if depth == 1 else pixels, mode))
        whole = decode(data)
        with monkeypatch.context() as patch:
            patch.setattr(color, "MAX_BAND_PX", 37 * 10)
            np.testing.assert_array_equal(decode(data), whole)


def test_threads_share_profiles() -> None:
    data = [encoded(plain("RGB", (i, 100, 50)), icc_profile=profile(1.0 + i / 50, SRGB_PRIMARIES)) for i in range(70)]
    expected = [decode(d) for d in data]
    color._transforms.clear()
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(i for i, d in enumerate(data) if not np.array_equal(decode(d), expected[i]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(color._transforms) <= color.MAX_PROFILES
