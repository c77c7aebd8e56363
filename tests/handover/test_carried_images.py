"""Pictures come out of one folder only, whatever a name says."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from composition_sets import picture
from PIL import Image

from curate.handover import carried_images
from curate.handover.carried_images import ImageFolder, Unusable, picture_of
from curate.storage import Storage


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    for place in (inside / "a.jpg", inside / "deep" / "b.jpg", tmp_path / "secret.jpg"):
        place.write_bytes(picture(1))
    (inside / "here.jpg").symlink_to("a.jpg")
    (inside / "out.jpg").symlink_to("../secret.jpg")
    (inside / "up").symlink_to("..")
    (inside / "loop.jpg").symlink_to("loop.jpg")
    (inside / "text.jpg").write_text("no picture")
    (inside / "empty.jpg").write_bytes(b"")
    os.mkfifo(inside / "pipe.jpg")
    return ImageFolder(str(inside))


@pytest.mark.parametrize("name", ["a.jpg", "./a.jpg", "deep/b.jpg", "here.jpg", "deep//b.jpg"])
def test_a_picture_of_the_folder(folder: ImageFolder, name: str) -> None:
    found = folder.read(name)
    assert (found.data, found.extension, found.size) == (picture(1), "jpg", (25, 25))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret.jpg", "image_outside"),
        ("deep/../../secret.jpg", "image_outside"),
        ("/etc/hostname", "image_outside"),
        ("..\\secret.jpg", "image_outside"),
        ("a.jpg\0", "image_outside"),
        ("out.jpg", "image_outside"),
        ("up/secret.jpg", "image_outside"),
        ("file:///etc/hostname", "image_is_url"),
        ("s3://bucket/a.jpg", "image_is_url"),
        ("nothing.jpg", "image_missing"),
        ("a.jpg/b.jpg", "image_missing"),
        ("deep", "image_missing"),
        ("loop.jpg", "image_missing"),
        ("pipe.jpg", "image_missing"),
        ("x" * 5000, "image_missing"),
        ("\ud800.jpg", "image_missing"),
        ("text.jpg", "not_a_picture"),
        ("empty.jpg", "not_a_picture"),
    ],
)
def test_a_name_that_gives_none(folder: ImageFolder, name: str, reason: str) -> None:
    with pytest.raises(Unusable) as found:
        folder.read(name)
    assert found.value.reason == reason


def test_a_link_to_the_folder_itself_is_the_folder(folder: ImageFolder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder.root)
    assert ImageFolder(str(tmp_path / "link")).read("a.jpg").data == picture(1)
    with pytest.raises(Unusable, match="image_outside"):
        ImageFolder(str(tmp_path / "link")).read("out.jpg")


@pytest.mark.parametrize(("most", "fits"), [(len(picture(1)), True), (len(picture(1)) - 1, False)])
def test_the_size_is_bounded(folder: ImageFolder, monkeypatch: pytest.MonkeyPatch, most: int, fits: bool) -> None:
    monkeypatch.setattr(carried_images, "MOST_PICTURE_BYTES", most)
    if fits:
        folder.read("a.jpg")
        return
    with pytest.raises(Unusable, match="image_too_large"):
        folder.read("a.jpg")


@pytest.mark.parametrize(
    ("side", "words"), [(25, None), (13_377, None), (13_378, "13378 x 13378 px, above 178,956,970")]
)
def test_a_picture_that_no_trainer_opens_is_none(side: int, words: str | None) -> None:
    """A header may claim what it likes: Pillow, and with it a trainer, stops at so many pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    data += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    found = picture_of(data)
    if words is None:
        assert not isinstance(found, str)
        assert found.size == (side, side)
        return
    assert found == f"image_too_large: {words}"
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_no_folder_has_no_pictures() -> None:
    with pytest.raises(Unusable) as found:
        ImageFolder("").read("a.jpg")
    assert "set images" in found.value.detail


@pytest.mark.slow
def test_a_folder_in_a_bucket(s3: Storage) -> None:
    s3.write("a.jpg", picture(1))
    assert ImageFolder(s3.root).read("a.jpg").data == picture(1)
    for name, reason in (("b.jpg", "image_missing"), ("../a.jpg", "image_outside"), ("a.jpg/c", "image_missing")):
        with pytest.raises(Unusable, match=reason):
            ImageFolder(s3.root).read(name)
