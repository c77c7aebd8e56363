"""The bytes behind a row's URL: the row's scene drawn, spoilt as its label says, and encoded.

Everything that touches pixels or file formats is here and in `damage`; the server only hands the bytes out. Each step
is a table from label to function, so a new defect is one function and one line. Drawing and encoding take 2.1 ms of one
core a picture over the default shares: 1 ms for a JPEG, 4 to 12 ms for blur, PNG, GIF and watermarks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from random import Random

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from curate.toyweb.damage import bomb, broken_png, html_page
from curate.toyweb.plan import Plan, Row
from curate.toyweb.render import draw

__all__ = ["CONTENT_TYPES", "ORIENTATIONS", "draw_row", "encode_row", "size_px"]

CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}
ORIENTATIONS = 8
_EXIF_ORIENTATION = 0x0112
_FRAMES = 4

# What a writer does to the upright picture so that a reader who obeys the tag gets it back (EXIF 2.32, tag 0x0112).
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encode_row(plan: Plan, row: Row) -> bytes:
    """The whole body for a row, as the server sends it when it sends all."""
    if row.defect == "exact_copy" and row.original is not None:
        return encode_row(plan, plan.row(row.original))
    if row.defect in _NO_PICTURE:
        return _NO_PICTURE[row.defect]()
    image = draw_row(plan, row)
    encode = _ENCODERS.get(row.defect, _plain)
    return encode(image, row, plan.random(row.number, "encode"))


def draw_row(plan: Plan, row: Row) -> Image.Image:
    """The upright RGB picture that a perfect reader sees. A copy is drawn from the picture it copies."""
    random = plan.random(row.number, "picture")
    if row.original is None:
        image = draw(row.scene, size_px(plan, row), random.getrandbits(64))
    else:
        image = draw_row(plan, plan.row(row.original))
    change = _CHANGES.get(row.defect)
    return image if change is None else change(image, random)


def size_px(plan: Plan, row: Row) -> tuple[int, int]:
    """(width, height) in which the scene is drawn: 200 to 640 px a side and at most 2:1, but for icons and banners."""
    random = plan.random(row.number, "size")
    if row.defect == "icon":
        side = random.choice((16, 24, 32, 48, 64))
        return side, side
    if row.defect == "banner":
        long = random.randint(480, 960)
        short = int(long / random.uniform(4, 8))
        return (long, short) if row.variant < 0.7 else (short, long)
    width = random.randint(200, 640)
    height = min(640, max(200, int(width * random.uniform(0.6, 1.6))))
    return width, height


def _single_color(image: Image.Image, random: Random) -> Image.Image:
    return Image.new("RGB", image.size, (random.randrange(256), random.randrange(256), random.randrange(256)))


def _blurred(image: Image.Image, random: Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(min(image.size) * random.uniform(0.015, 0.04)))


def _text_in_picture(image: Image.Image, random: Random) -> Image.Image:
    """Words in a bar along the top or the bottom, as memes and slides have them."""
    width, height = image.size
    bar = height // 9
    top = random.choice((0, height - bar))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, top, width, top + bar), fill=(250, 250, 250))
    text = random.choice(("WHEN SHAPES MEET", "LEARN YOUR SHAPES", "SALE: 50% OFF", "LESSON ONE: SHAPES"))
    pen.text(
        (width / 2, top + bar / 2),
        text,
        fill=(10, 10, 10),
        anchor="mm",
        font=_font(min(width * 1.5 / len(text), bar * 0.8)),
    )
    return image


def _watermark(image: Image.Image, random: Random) -> Image.Image:
    """A half transparent name across the whole picture, repeated and slanted."""
    width, height = image.size
    side = max(width, height)
    layer = Image.new("L", (side * 3 // 2, side * 3 // 2), 0)
    pen, text = ImageDraw.Draw(layer), random.choice(("toy stock", "sample only", "shapephoto"))
    step = side // 4
    for number, y in enumerate(range(0, layer.height, step)):
        for x in range(-step * (number % 2), layer.width, step * 2):
            pen.text((x, y), text, fill=random.randint(110, 130), font=_font(side / 14))
    mask = layer.rotate(25, Image.Resampling.BILINEAR)
    left, top = (mask.width - width) // 2, (mask.height - height) // 2
    white = Image.new("RGB", image.size, (255, 255, 255))
    grey = Image.new("RGB", image.size, (70, 70, 70))
    cut = mask.crop((left, top, left + width, top + height))
    shadowed = Image.composite(grey, image, cut.transform(cut.size, Image.Transform.AFFINE, (1, 0, -2, 0, 1, -2)))
    return Image.composite(white, shadowed, cut)


def _near_resized(image: Image.Image, random: Random) -> Image.Image:
    factor = 0.8 if min(image.size) * 0.8 >= 200 else 1.25
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, Image.Resampling.LANCZOS)


def _near_cropped(image: Image.Image, random: Random) -> Image.Image:
    """Up to 7 % off each side (the shapes stay whole), then back to the old size."""
    left, top, right, bottom = (random.uniform(0.02, 0.07) for _ in range(4))
    width, height = image.size
    box = (int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height))
    return image.crop(box).resize(image.size, Image.Resampling.BILINEAR)


def _near_mirrored(image: Image.Image, random: Random) -> Image.Image:
    return ImageOps.mirror(image)


def _near_bordered(image: Image.Image, random: Random) -> Image.Image:
    tone = random.choice(((0, 0, 0), (255, 255, 255), (120, 90, 60)))
    return ImageOps.expand(image, border=round(min(image.size) * random.uniform(0.02, 0.05)), fill=tone)


def _font(size_px: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(10, int(size_px)))


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def _plain(image: Image.Image, row: Row, random: Random) -> bytes:
    if row.extension == "png":
        return _saved(image, "PNG", compress_level=1)
    if row.extension == "webp":
        return _saved(image, "WEBP", quality=85, method=0)
    return _saved(image, "JPEG", quality=random.choice((82, 88, 92)))


def _reencoded(image: Image.Image, row: Row, random: Random) -> bytes:
    return _saved(image, "JPEG", quality=random.randint(35, 55))


def _oriented(image: Image.Image, row: Row, random: Random) -> bytes:
    orientation = 1 + int(row.variant * ORIENTATIONS)
    stored = image.transpose(_STORED[orientation]) if orientation in _STORED else image
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = orientation
    return _saved(stored, "JPEG", quality=90, exif=exif)


def _cmyk(image: Image.Image, row: Row, random: Random) -> bytes:
    return _saved(image.convert("CMYK"), "JPEG", quality=90)


def _palette(image: Image.Image, row: Row, random: Random) -> bytes:
    return _saved(image.quantize(64, Image.Quantize.FASTOCTREE), "PNG", compress_level=1)


def _sixteen_bit(image: Image.Image, row: Row, random: Random) -> bytes:
    """Three channels of 16 bits; Pillow cannot write these."""
    deep = np.asarray(image)[..., ::-1].astype(np.uint16) * 257
    done, data = cv2.imencode(".png", deep, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"cannot encode row {row.number} as a 16-bit PNG")
    return bytes(data.tobytes())


def _animated(image: Image.Image, row: Row, random: Random) -> bytes:
    small = image.resize((image.width // 2 * 2, image.height // 2 * 2)).quantize(32, Image.Quantize.FASTOCTREE)
    frames = [small.rotate(90 * n) if n % 2 == 0 else ImageOps.flip(small) for n in range(1, _FRAMES)]
    return _saved(small, "GIF", save_all=True, append_images=frames, duration=120, loop=0)


def _broken(image: Image.Image, row: Row, random: Random) -> bytes:
    return broken_png(np.asarray(image))


def _truncated(image: Image.Image, row: Row, random: Random) -> bytes:
    data = _plain(image, row, random)
    return data[: int(len(data) * random.uniform(0.4, 0.8))]


_Change = Callable[[Image.Image, Random], Image.Image]
_Encode = Callable[[Image.Image, Row, Random], bytes]
_CHANGES: Mapping[str, _Change] = {
    "single_color": _single_color,
    "blurred": _blurred,
    "text_in_picture": _text_in_picture,
    "watermark": _watermark,
    "near_resized": _near_resized,
    "near_cropped": _near_cropped,
    "near_mirrored": _near_mirrored,
    "near_bordered": _near_bordered,
}
_ENCODERS: Mapping[str, _Encode] = {
    "near_reencoded": _reencoded,
    "orientation": _oriented,
    "cmyk": _cmyk,
    "palette": _palette,
    "sixteen_bit": _sixteen_bit,
    "animated": _animated,
    "broken": _broken,
    "truncated": _truncated,
}
_NO_PICTURE: Mapping[str, Callable[[], bytes]] = {"bomb": bomb, "html_as_image": html_page}
