"""EXIF: orientation applied, tags as JSON, broken blocks ignored."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from curate.fetch import exif
from curate.fetch.image import ImageSettings, decode, process
from curate.fetch.status import FetchStatus

pytestmark = pytest.mark.filterwarnings("ignore:.*(EXIF|Tag)")  # pytest takes our own filter away

ORIENTED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "broken" / "exif_orientation"
WRITTEN_BACK = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
"""The orientation whose turn undoes another's."""


def block(tags: dict[int, Any], camera: dict[int, Any] | None = None) -> bytes:
    image_exif = Image.Exif()
    image_exif.update(tags)
    if camera:
        image_exif.get_ifd(0x8769).update(camera)
    return image_exif.tobytes()


def scene() -> Image.Image:
    """90 x 60, all four corners different."""
    image = Image.new("RGB", (90, 60), "gray")
    for place, colour in {(0, 0): "red", (60, 0): "lime", (0, 40): "blue", (60, 40): "white"}.items():
        image.paste(colour, (*place, place[0] + 30, place[1] + 20))
    return image


def lying(orientation: int, name: str = "PNG", **options: Any) -> bytes:
    """The scene stored so that a viewer who obeys `orientation` sees it upright."""
    raw = block({274: WRITTEN_BACK[orientation]})
    probe = Image.open(io.BytesIO(_saved(scene(), "PNG", exif=raw)))
    turned = ImageOps.exif_transpose(probe).convert("RGB")
    turned.info.clear()
    return _saved(turned, name, exif=block({274: orientation}), **options)


def _saved(image: Image.Image, name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_shown_upright(orientation: int, name: str) -> None:
    data = lying(orientation, name, **({} if name in ("PNG", "TIFF") else {"quality": 95}))
    pixels = decode(data)
    assert pixels is not None
    np.testing.assert_allclose(pixels[10::20, 15::30], np.asarray(scene())[10::20, 15::30], atol=12)
    picture = process(data, ImageSettings(size_px=45, resize_mode="keep_ratio_largest", format="png"))
    assert (picture.original_width, picture.original_height) == (90, 60)
    assert (picture.width, picture.height) == (45, 30)
    stored = np.asarray(Image.open(io.BytesIO(picture.data))).astype(int)
    np.testing.assert_allclose(stored[5::10, 7::15], np.asarray(scene())[10::20, 15::30], atol=12)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_out_of_range_is_upright(orientation: int) -> None:
    picture = process(_saved(scene(), "JPEG", exif=block({274: orientation})), ImageSettings())
    assert (picture.status, picture.orientation) == (FetchStatus.SUCCESS, 1)
    assert (picture.original_width, picture.original_height) == (90, 60)


@pytest.mark.parametrize("kind", ["Landscape", "Portrait"])
@pytest.mark.parametrize("orientation", range(9))
def test_real_photos_come_out_upright_and_alike(kind: str, orientation: int) -> None:
    if not ORIENTED.is_dir():
        pytest.skip("the orientation photos of the shared data are not here")
    settings = ImageSettings(size_px=128, resize_mode="keep_ratio_largest", format="png")
    first, other = (process((ORIENTED / f"{kind}_{number}.jpg").read_bytes(), settings) for number in (1, orientation))
    assert (other.width, other.height) == (first.width, first.height)
    assert (other.original_width, other.original_height) == (first.original_width, first.original_height)
    assert other.orientation == max(orientation, 1)
    pixels = [np.asarray(Image.open(io.BytesIO(p.data))).astype(int) for p in (first, other)]
    apart = np.abs(pixels[0] - pixels[1])
    differs = (apart > 24).any(2).mean()  # each photo has its own number printed in the middle
    assert differs < 0.05
    assert apart.mean() < 4


def test_tags_are_a_json_object_of_strings() -> None:
    camera = {0x829A: IFDRational(1, 100), 0x9003: "2001:02:03 04:05:06", 0x927C: b"maker" * 50, 0xA002: 640}
    raw = block({0x010F: "Canon\0\0junk", 0x0110: "Ünï", 274: 3, 0x8825: {2: (51.0, 30.0, 0.0)}}, camera)
    picture = process(_saved(scene(), "JPEG", exif=raw), ImageSettings())
    tags = json.loads(picture.exif)
    assert tags["Image Make"] == "Canon"
    assert tags["Image Orientation"] == "3"
    assert tags["EXIF ExposureTime"] == "1/100"
    assert tags["EXIF DateTimeOriginal"] == "2001:02:03 04:05:06"
    assert tags["EXIF ExifImageWidth"] == "640"
    assert not any("Maker" in name or "GPS" in name for name in tags)
    assert all(isinstance(value, str) for value in tags.values())
    assert process(_saved(scene(), "JPEG", exif=raw), ImageSettings(exif=False)).exif == "{}"
    assert process(_saved(scene(), "JPEG"), ImageSettings()).exif == "{}"


def test_long_tags_are_bounded() -> None:
    raw = block(dict.fromkeys((0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298), "\x01" * 10_000))
    assert 2000 < len(exif.to_json(raw)) <= 4096
    json.loads(exif.to_json(raw))


def test_a_giant_block_is_not_read() -> None:
    raw = block({274: 6})
    assert exif.orientation(raw + bytes(128 * 1024 - len(raw))) == 6
    assert exif.orientation(raw + bytes(128 * 1024 - len(raw) + 1)) == 1


@pytest.mark.parametrize(("copies", "orientation"), [(16, 6), (17, 1)])
@pytest.mark.parametrize("inner", [False, True])
def test_a_block_whose_entries_overlap_is_not_read(copies: int, orientation: int, inner: bool) -> None:
    """Pillow before 13 copies what each entry claims: 128 kB with 5,000 entries become gigabytes."""
    data = exif.MAX_CLAIMED_BYTES // 16
    upright = struct.pack("<HHII", 274, 3, 1, 6)
    wide = b"".join(struct.pack("<HHII", 0xC000 + i, 7, data, 400) for i in range(copies))
    camera = struct.pack("<H", copies) + wide
    lines = upright + (struct.pack("<HHII", 0x8769, 4, 1, 100) if inner else wide)
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(lines) // 12) + lines
    raw = b"Exif\0\0" + (head.ljust(100, b"\0") + camera if inner else head).ljust(400, b"\0") + bytes(data)
    assert exif.orientation(raw) == orientation
    if orientation == 1:
        assert exif.to_json(raw) == "{}"


def test_one_entry_that_claims_the_world_does_not_cost_the_others() -> None:
    lines = struct.pack("<HHII", 274, 3, 1, 6) + struct.pack("<HHII", 0x010F, 2, 2**32 - 1, 50)
    assert exif.orientation(b"Exif\0\0II*\0\x08\0\0\0\2\0" + lines + bytes(8)) == 6


BROKEN = [
    b"",
    b"Exif\0\0",
    b"Exif\0\0MM\0*",
    b"Exif\0\0II*\0\xff\xff\xff\xff",
    block({274: 6})[:-3],
    block({274: 6}) + bytes(exif.MAX_EXIF_BYTES),
    b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\x01\0\0\0\x99\0\0\0" * 3,
]


@pytest.mark.parametrize("raw", BROKEN)
def test_a_broken_block_is_no_exif(raw: bytes) -> None:
    assert exif.orientation(raw) in range(1, 9)
    assert len(json.loads(exif.to_json(raw))) <= 1
    if len(raw) < 60_000:
        picture = process(_saved(scene(), "JPEG", exif=raw or b"Exif\0\0"), ImageSettings())
        assert picture.status is FetchStatus.SUCCESS


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_some_orientation(noise: bytes, tail: bool) -> None:
    raw = block({274: 6, 0x010F: "x" * 40}, {0x829A: (1, 3)})
    raw = raw[: len(raw) // 2] + noise + raw[len(raw) // 2 :] if tail else b"Exif\0\0II*\0" + noise
    assert 1 <= exif.orientation(raw) <= 8
    assert len(exif.to_json(raw)) <= exif.MAX_JSON_CHARS
