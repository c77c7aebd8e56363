"""EXIF: which way is up, and the camera's words as a JSON string.

img2dataset writes a rotated photo as it lies in the file and loses the tag; here the tag is applied. The JSON has
the form of exifread, which img2dataset uses (`"Image Make": "Canon"`, `"EXIF FNumber": "14/5"`), bounded in length.
Left out are maker notes, thumbnails, values that are not text or numbers, and the GPS directory: where somebody stood
is personal data, and no stage has a use for it. A broken block is no EXIF at all, never an error; nor is one whose
entries claim over 1 MiB: they overlap, and Pillow before 13, which copies each, makes gigabytes of 128 kB.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

__all__ = ["Directory", "directory", "orientation", "to_json"]

MAX_EXIF_BYTES = 128 * 1024
"""A JPEG segment holds 64 KiB; more is a thumbnail or a maker's dump."""
MAX_CLAIMED_BYTES = 1024 * 1024
MAX_JSON_CHARS = 4096
MAX_VALUE_CHARS = 256
_LEFT_OUT = {ExifTags.Base.MakerNote, ExifTags.Base.ExifOffset, ExifTags.Base.GPSInfo, ExifTags.Base.PrintImageMatching}
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


class Directory(NamedTuple):
    """What a TIFF directory says before anything in it is followed.

    `counts` and `values` by tag (a value of more than 4 bytes: where it lies); `claimed_bytes` is the sum of all data
    outside, each at most the file; `whole` is False where the directory is cut off.
    """

    counts: dict[int, int]
    values: dict[int, int]
    claimed_bytes: int
    whole: bool


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


def directory(tiff: bytes, start: int | None = None) -> Directory:
    """The first directory of a TIFF, or that at byte `start`."""
    order = _ORDERS.get(tiff[:4], "<")
    counts: dict[int, int] = {}
    values: dict[int, int] = {}
    claimed = 0
    try:
        place = struct.unpack_from(order + "I", tiff, 4)[0] if start is None else start
        for line in range(struct.unpack_from(order + "H", tiff, place)[0]):
            at = place + 2 + 12 * line
            tag, kind, count = struct.unpack_from(order + "HHI", tiff, at)
            value = struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, at + 8)[0]
            counts[tag], values[tag] = count, value
            size = count * _UNIT_BYTES.get(kind, 0)
            claimed += min(size, len(tiff)) if size > 4 else 0
    except struct.error:
        return Directory(counts, values, claimed, whole=False)
    return Directory(counts, values, claimed, whole=True)


def _overlaps(raw: bytes) -> bool:
    """Whether the directories that are read claim many times what the block holds, or are of a form of their own."""
    tiff = raw.removeprefix(b"Exif\0\0")
    main = directory(tiff)
    start = main.values.get(ExifTags.IFD.Exif)
    claimed = main.claimed_bytes + (directory(tiff, start).claimed_bytes if start else 0)
    return tiff[:4] not in _ORDERS or claimed > MAX_CLAIMED_BYTES


def _load(raw: bytes) -> Image.Exif:
    tags = Image.Exif()
    if len(raw) <= MAX_EXIF_BYTES:
        try:
            if not _overlaps(raw):
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
