"""EXIF: which way is up, and the camera's words as a JSON string.

img2dataset writes a rotated photo as it lies in the file and loses the tag; here the tag is applied. The JSON has
the form of exifread, which img2dataset uses (`"Image Make": "Canon"`, `"EXIF FNumber": "14/5"`), bounded in length.
Left out are maker notes, thumbnails, values that are not text or numbers, and the GPS directory: where somebody stood
is personal data, and no stage has a use for it. A broken block is no EXIF at all, never an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

__all__ = ["orientation", "to_json"]

MAX_EXIF_BYTES = 128 * 1024
"""A JPEG segment holds 64 KiB; more is a thumbnail or a maker's dump."""
MAX_JSON_CHARS = 4096
MAX_VALUE_CHARS = 256
_LEFT_OUT = {ExifTags.Base.MakerNote, ExifTags.Base.ExifOffset, ExifTags.Base.GPSInfo, ExifTags.Base.PrintImageMatching}


def orientation(raw: bytes) -> int:
    """The orientation tag, 1 to 8; 1 where it is missing, broken or out of range."""
    value = _load(raw).get(ExifTags.Base.Orientation, 1) if raw else 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def to_json(raw: bytes) -> str:
    """The tags as a JSON object of strings, `{}` when there are none, at most 4,096 characters."""
    if not raw:
        return "{}"
    tags: dict[str, str] = {}
    length = 2
    for name, value in _tags(_load(raw)):
        length += len(json.dumps({name: value}))
        if length > MAX_JSON_CHARS:
            break
        tags[name] = value
    return json.dumps(tags)


def _load(raw: bytes) -> Image.Exif:
    tags = Image.Exif()
    if len(raw) <= MAX_EXIF_BYTES:
        try:
            tags.load(raw)
        except Exception:  # noqa: BLE001 - whatever a hostile block provokes, the picture is what counts
            return Image.Exif()
    return tags


def _tags(exif: Image.Exif) -> Iterator[tuple[str, str]]:
    """Name and words of every tag worth keeping: the main directory, then the camera's."""
    try:
        directories = (("Image", dict(exif)), ("EXIF", exif.get_ifd(ExifTags.IFD.Exif)))
    except Exception:  # noqa: BLE001 - as above: tags are decoded only when they are asked for
        return
    for prefix, directory in directories:
        for tag, value in sorted(directory.items()):
            words = "" if tag in _LEFT_OUT or tag not in ExifTags.TAGS else _words(value)
            if words:
                yield f"{prefix} {ExifTags.TAGS[tag]}", words


def _words(value: Any) -> str:
    """A tag's value as text; empty for what is not text or a few numbers."""
    if isinstance(value, IFDRational):
        return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
        return value if value.isprintable() and "\ufffd" not in value else ""
    if isinstance(value, str):
        return value.split("\0")[0].strip()[:MAX_VALUE_CHARS]
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_words, value)) + "]" if len(value) <= 8 else ""
    return str(value) if isinstance(value, int | float) else ""
