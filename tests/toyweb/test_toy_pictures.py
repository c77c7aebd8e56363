"""The bytes of every label are what the label says: formats, sizes, orientation, damage, copies."""

import io
from functools import cache

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from curate.toyweb.damage import BOMB_SIDE_PX
from curate.toyweb.defects import CLEAN, DEFECTS
from curate.toyweb.picture import draw_row, encode_row
from curate.toyweb.plan import Plan

PLAN = Plan(0)
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF"}
DAMAGED = ("broken", "truncated", "html_as_image", "bomb")
ORDINARY = [d for d in DEFECTS if d not in (*DAMAGED, "icon", "banner")]


@cache
def all_rows():
    return list(PLAN.rows(0, 900))


def rows(defect, count=4):
    found = [row for row in all_rows() if row.defect == defect]
    assert found, defect
    return found[:count]


def opened(row):
    image = Image.open(io.BytesIO(encode_row(PLAN, row)))
    image.load()
    return image


def distance(one, other):
    """Mean absolute difference of two pictures, brought to one size, in grey levels."""
    small = [np.asarray(i.convert("RGB").resize((64, 64), Image.Resampling.BOX)).astype(int) for i in (one, other)]
    return np.abs(small[0] - small[1]).mean()


@pytest.mark.parametrize("defect", ORDINARY)
def test_pictures_have_the_format_of_their_url_and_a_side_of_200_to_680_px(defect):
    for row in rows(defect, 2):
        image = opened(row)
        assert image.format == FORMATS[row.extension]
        assert 200 <= min(image.size) <= max(image.size) <= 680
        assert max(image.size) <= 2 * min(image.size)
        assert getattr(image, "n_frames", 1) == (4 if defect == "animated" else 1)


@pytest.mark.parametrize("defect", [CLEAN, "sixteen_bit", "near_cropped", "watermark", "broken", "animated"])
def test_the_same_row_has_the_same_bytes(defect):
    row = rows(defect)[0]
    assert encode_row(Plan(0), row) == encode_row(PLAN, row)
    assert encode_row(Plan(1), Plan(1).row(row.number)) != encode_row(PLAN, row)


def test_every_orientation_comes_out_upright():
    found = rows("orientation", 40)
    seen = set()
    for row in found:
        image = opened(row)
        seen.add(image.getexif()[0x0112])
        assert distance(ImageOps.exif_transpose(image), draw_row(PLAN, row)) < 3
    assert seen == set(range(1, 9))


@pytest.mark.parametrize(("defect", "mode"), [("cmyk", "CMYK"), ("palette", "P")])
def test_odd_modes_still_show_the_scene(defect, mode):
    for row in rows(defect):
        image = opened(row)
        assert image.mode == mode
        assert distance(image, draw_row(PLAN, row)) < 6


def test_sixteen_bit_pictures_have_sixteen_bits():
    for row in rows("sixteen_bit"):
        data = encode_row(PLAN, row)
        deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert deep.dtype == np.uint16
        assert (deep // 257 * 257 == deep).all()
        assert distance(Image.open(io.BytesIO(data)), draw_row(PLAN, row)) < 1


def test_icons_are_tiny_and_banners_long():
    assert {opened(row).size for row in rows("icon", 30)} <= {(s, s) for s in (16, 24, 32, 48, 64)}
    for row in rows("banner", 30):
        width, height = opened(row).size
        assert 4 <= max(width, height) / min(width, height) <= 9


def test_placeholders_have_one_colour():
    for row in rows("single_color"):
        assert np.ptp(np.asarray(opened(row)).astype(int), axis=(0, 1)).max() <= 6


@pytest.mark.parametrize(
    ("defect", "least", "most"),
    [
        ("exact_copy", 0, 0),
        ("near_reencoded", 0.01, 4),
        ("near_resized", 0.01, 4),
        ("near_bordered", 2, 60),
        ("near_cropped", 1, 40),
    ],
)
def test_copies_are_as_near_as_their_label_says(defect, least, most):
    for row in rows(defect, 8):
        original = PLAN.row(row.original)
        assert least <= distance(opened(row), opened(original)) <= most
        same = encode_row(PLAN, row) == encode_row(PLAN, original)
        assert same == (defect == "exact_copy")


def test_mirrored_copies_show_the_mirrored_scene():
    for row in rows("near_mirrored", 8):
        assert distance(ImageOps.mirror(opened(row)), opened(PLAN.row(row.original))) < 3


@pytest.mark.parametrize("defect", ["text_in_picture", "watermark", "blurred"])
def test_spoilt_pictures_differ_from_clean_ones(defect):
    from curate.toyweb.picture import size_px
    from curate.toyweb.render import draw

    for row in rows(defect):
        seed = PLAN.random(row.number, "picture").getrandbits(64)
        clean = draw(row.scene, size_px(PLAN, row), seed)
        assert 1 < distance(draw_row(PLAN, row), clean) < 60


def test_truncated_and_broken_pictures_open_and_do_not_load():
    for defect in ("truncated", "broken"):
        for row in rows(defect, 8):
            with Image.open(io.BytesIO(encode_row(PLAN, row))) as image:
                assert image.format == FORMATS[row.extension]
                with pytest.raises((OSError, SyntaxError)):
                    image.load()


def test_html_is_no_picture():
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(encode_row(PLAN, rows("html_as_image")[0])))


def test_the_bomb_is_small_and_its_picture_is_not(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    data = encode_row(PLAN, rows("bomb")[0])
    assert len(data) < 100_000
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (BOMB_SIDE_PX, BOMB_SIDE_PX)
