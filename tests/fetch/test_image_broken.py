"""Broken, hostile and odd bytes: each a status, quiet, within a bound of time and memory."""

from __future__ import annotations

import io
import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from curate.fetch import header
from curate.fetch.image import ImageSettings, decode, process
from curate.fetch.status import FetchStatus

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pytest takes our own filter away

BROKEN = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "broken"
SMALL = ImageSettings(size_px=32)
PICTURE = {
    FetchStatus.SUCCESS,
    FetchStatus.NOT_AN_IMAGE,
    FetchStatus.IMAGE_TRUNCATED,
    FetchStatus.IMAGE_BROKEN,
    FetchStatus.IMAGE_UNSUPPORTED,
    FetchStatus.IMAGE_TOO_LARGE,
    FetchStatus.ASPECT_RATIO_TOO_LARGE,
}


def encoded(name: str, size: tuple[int, int] = (120, 90), **options: Any) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size[1] // 10 + 1, size[0] // 10 + 1, 3), np.uint8)
    Image.fromarray(pixels).resize(size).save(out, name, **options)
    return out.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def grey(width: int, height: int) -> bytes:
    return chunk(b"IDAT", zlib.compress(bytes(height * (width + 1)), 9))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF", "TIFF"])
def test_a_cut_file_is_truncated_wherever_it_is_cut(name: str) -> None:
    data = encoded(name)
    assert process(data, SMALL).status is FetchStatus.SUCCESS
    for share in (0.3, 0.5, 0.8, 0.95):
        picture = process(data[: int(len(data) * share)], SMALL)
        expected = {FetchStatus.IMAGE_TRUNCATED}
        if name in ("AVIF", "TIFF"):  # their tables may lie at the end, and then nobody can tell
            expected.add(FetchStatus.IMAGE_BROKEN)
        assert picture.status in expected, (share, picture.detail)
        assert picture.data == b""
        assert decode(data[: int(len(data) * share)]) is None


def test_a_cut_progressive_jpeg_is_truncated() -> None:
    data = encoded("JPEG", (400, 300), progressive=True)
    for share in (0.2, 0.5, 0.9):
        assert process(data[: int(len(data) * share)], SMALL).status is FetchStatus.IMAGE_TRUNCATED


NOT_OPENED = [
    (b"", FetchStatus.NOT_AN_IMAGE),
    (b"<!DOCTYPE html><html><body>404</body></html>", FetchStatus.NOT_AN_IMAGE),
    (b"\n<html><svg></svg></html>", FetchStatus.NOT_AN_IMAGE),
    (b'{"error": "no"}', FetchStatus.NOT_AN_IMAGE),
    (b"%PDF-1.4", FetchStatus.NOT_AN_IMAGE),
    (b"\xef\xbb\xbf<svg xmlns='http://www.w3.org/2000/svg'/>", FetchStatus.IMAGE_UNSUPPORTED),
    (b"<?xml version='1.0'?><!-- x --><svg/>", FetchStatus.IMAGE_UNSUPPORTED),
    (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), FetchStatus.IMAGE_UNSUPPORTED),
    (b"\0\0\0\x18ftypheic" + bytes(50), FetchStatus.IMAGE_UNSUPPORTED),
    (b"\0\0\1\0\1\0", FetchStatus.IMAGE_UNSUPPORTED),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", FetchStatus.IMAGE_UNSUPPORTED),
    (b"P6\n1 1\n255\n\0\0\0", FetchStatus.IMAGE_UNSUPPORTED),
    (b"\xff\xd8\xff", FetchStatus.IMAGE_TRUNCATED),
    (b"\x89PNG\r\n\x1a\n", FetchStatus.IMAGE_TRUNCATED),
    (b"GIF89a", FetchStatus.IMAGE_TRUNCATED),
    (b"RIFF\xff\0\0\0WEBP", FetchStatus.IMAGE_TRUNCATED),
    (b"II*\0", FetchStatus.IMAGE_TRUNCATED),
]


@pytest.mark.parametrize(("data", "status"), NOT_OPENED)
def test_what_is_no_picture_says_what_it_is(data: bytes, status: FetchStatus) -> None:
    picture = process(data, SMALL)
    assert picture.status is status
    assert picture.detail
    assert picture.original_width is None
    assert decode(data) is None


FRAMES = [
    ("GIF", 3, True),
    ("WEBP", 3, True),
    ("PNG", 3, True),
    ("AVIF", 3, True),
    ("GIF", 1, False),
    ("TIFF", 2, None),
]


@pytest.mark.parametrize(("name", "count", "animated"), FRAMES)
def test_an_animation_is_its_first_frame_and_flagged(name: str, count: int, animated: bool | None) -> None:
    frames = [Image.new("RGB", (40, 40), c) for c in ("red", "lime", "blue")][:count]
    out = io.BytesIO()
    frames[0].save(out, name, save_all=True, append_images=frames[1:], **({"lossless": True} if name == "WEBP" else {}))
    picture = process(out.getvalue(), ImageSettings(size_px=40, format="png"))
    assert picture.status is FetchStatus.SUCCESS
    assert picture.animated is bool(animated)
    assert picture.frames == (None if name == "TIFF" else count)
    red = Image.open(io.BytesIO(picture.data)).getpixel((20, 20))
    np.testing.assert_allclose(red, (255, 0, 0), atol=5)


def test_the_gif_walk_agrees_with_pillow() -> None:
    files = sorted((BROKEN / "pillow").rglob("*.gif"))
    if not files:
        pytest.skip("the broken images of the shared data are not here")
    for file in files:
        data = file.read_bytes()
        try:
            expected = Image.open(io.BytesIO(data)).n_frames
        except Exception:  # noqa: BLE001
            continue
        assert header._gif_frames(data) == expected, file.name


def hostile() -> Iterator[tuple[str, bytes, set[FetchStatus]]]:
    """Files that are small and want much. Name, bytes, and the statuses that are right."""
    ok, broken, large = FetchStatus.SUCCESS, FetchStatus.IMAGE_BROKEN, FetchStatus.IMAGE_TOO_LARGE
    yield "png bomb", png(25_000, 25_000, grey(25_000, 100)), {large}
    yield "png that says 2 billion", png(2**31 - 1, 2**31 - 1, grey(9, 9)), {large}
    yield "gif that says 65535", b"GIF89a" + b"\xff" * 4 + bytes(3) + b"," + bytes(4) + b"\xff" * 4 + bytes(50), {large}
    yield "gif frame outside", b"GIF89a\1\0\1\0" + bytes(3) + b"," + b"\xff" * 8 + bytes(50), {large}
    yield (
        "webp that says 16384",
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(8),
        {large, broken},
    )
    yield "a million chunks", png(9, 9, chunk(b"tEXt", b"a\0b") * 1_000_000, grey(9, 9)), {broken}
    yield "a million chunks behind", png(9, 9, grey(9, 9), chunk(b"tEXt", b"a\0b") * 1_000_000), {broken}
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))
    yield "text bombs", png(9, 9, text * 200, grey(9, 9)), {broken}
    icc = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(300_000_000), 9))
    yield "profile bomb", png(9, 9, icc, grey(9, 9)), {broken, ok}
    frame = b"," + bytes(4) + b"\x01\0\x01\0\0" + b"\x02\x02\x44\x01\0"
    yield "a million gif frames", b"GIF89a\x01\0\x01\0\x80\0\0" + bytes(6) + frame * 1_000_000 + b";", {ok}
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x01"
    jpeg = encoded("JPEG", (4000, 4000), progressive=True, quality=5)
    yield "a jpeg of 50,000 scans", jpeg[:-2] + scan * 50_000 + jpeg[-2:], {broken}
    strips = struct.pack("<HHII", 273, 4, 3_000_000, 200)
    tags = [struct.pack("<HHII", t, 3, 1, v) for t, v in ((256, 9), (257, 9), (258, 8), (262, 1))]
    yield "a tiff of 3,000,000 strips", b"II*\0\x08\0\0\0\x05\0" + b"".join(tags) + strips + bytes(12_000_300), {broken}
    wide = [struct.pack("<HHII", 0xC000 + i, 1, 4_000_000, 8) for i in range(2_000)]  # Pillow before 13: 8 GB
    yield "a tiff of overlapping tags", b"II*\0\x08\0\0\0\xd0\x07" + b"".join(wide) + bytes(4_100_000), {broken}
    comments = b"!\xfe" + (b"\xff" + b"a" * 255) * 95_000 + b"\0"  # Pillow before 13: 40 s
    yield "gif with 24 MB of comments", b"GIF89a\1\0\1\0\x80\0\0" + bytes(6) + comments + frame, {broken}
    yield "jpeg with 16 MB of comments", jpeg[:2] + (b"\xff\xfe\xff\xff" + bytes(65_533)) * 256 + jpeg[2:], {ok}
    yield "jpeg of a million segments", jpeg[:2] + b"\xff\xfe\0\2" * 1_000_000 + jpeg[2:], {broken}


HOSTILE = list(hostile())


@pytest.mark.parametrize(("data", "statuses"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_a_small_hostile_file_is_soon_done(data: bytes, statuses: set[FetchStatus]) -> None:
    started = time.process_time()
    picture = process(data, SMALL)
    assert picture.status in statuses, picture.detail
    assert time.process_time() - started < 20  # unbounded they take minutes; this is no benchmark


@pytest.mark.parametrize(("side", "refused"), [(4_096, False), (4_112, True)])
def test_a_tile_of_a_tiff_is_bounded_whatever_the_size_of_the_picture(side: int, refused: bool) -> None:
    tags = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (277, 1), (322, side), (323, side), (325, side * side)]
    lines = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted([*tags, (324, 200)])]
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(lines)) + b"".join(lines)
    picture = process(data.ljust(200 + side * side, b"\0"), SMALL)
    assert picture.status is (FetchStatus.IMAGE_BROKEN if refused else FetchStatus.SUCCESS), picture.detail
    assert ("tiles" in picture.detail) is refused


def test_a_sequential_jpeg_may_have_many_scans_too() -> None:
    frame = b"\xff\xc0\x00\x11\x08\x03\xe8\x03\xe8\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    for scans, refused in ((header.MAX_SCANS, False), (header.MAX_SCANS + 1, True)):
        picture = process(b"\xff\xd8" + frame + scan * scans + b"\xff\xd9", SMALL)
        assert ("scans" in picture.detail) is refused


@pytest.mark.parametrize(
    ("side", "compression", "refused"), [(2000, 1, False), (2001, 1, True), (2001, 2, True), (2001, 0, False)]
)
def test_a_large_run_length_coded_bmp_is_refused(side: int, compression: int, refused: bool) -> None:
    data = bytearray(encoded("BMP"))
    data[18:26] = side.to_bytes(4, "little") * 2
    data[28:30] = (8 if compression == 1 else 4 if compression else 24).to_bytes(2, "little")
    data[30:34] = compression.to_bytes(4, "little")
    assert ("run-length" in process(bytes(data), SMALL).detail) is refused


def test_sizes_fit_their_column() -> None:
    data = bytearray(encoded("BMP"))
    data[18:22] = (-5 & 0xFFFFFFFF).to_bytes(4, "little")
    picture = process(bytes(data), SMALL)
    assert picture.status is FetchStatus.IMAGE_BROKEN
    assert picture.original_width is None


@given(st.binary(max_size=400), st.sampled_from([b"", *(magic for magic, *_ in header._OPENED), b"RIFF\0\0\0\0WEBP"]))
def test_random_bytes_never_raise(noise: bytes, magic: bytes) -> None:
    picture = process(magic + noise, SMALL)
    assert picture.status in PICTURE
    assert (picture.status is FetchStatus.SUCCESS) == bool(picture.data)
    assert decode(magic + noise) is None or picture.status is FetchStatus.SUCCESS


WHOLE = [encoded(name, (60, 40)) for name in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF", "TIFF")]
WHOLE.append(encoded("JPEG", (60, 40), progressive=True))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=8),
    st.floats(0, 1),
)
def test_mutated_pictures_never_raise(data: bytes, changes: list[tuple[float, bytes]], end: float) -> None:
    mutated = bytearray(data)
    for place, value in changes:
        start = int(place * (len(mutated) - 1))
        mutated[start : start + len(value)] = value
    picture = process(bytes(mutated[: int(len(mutated) * end)]) if end < 0.3 else bytes(mutated), SMALL)
    assert picture.status in PICTURE
    if picture.status is FetchStatus.SUCCESS:
        stored = Image.open(io.BytesIO(picture.data))
        stored.load()
        assert (stored.mode, stored.size) == ("RGB", (32, 32)) == ("RGB", (picture.width, picture.height))
    json.loads(picture.exif)
