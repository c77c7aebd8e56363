"""What a body is and how large, from its first bytes, so that limits act before a decoder allocates anything.

Only the formats that pages show are opened, and each by its own Pillow class after our own look at the magic number:
`Image.open` would try 40 plugins, some of which start programs, and would put its own limits and warnings in front of
ours. SVG, JPEG 2000, HEIF, icons and the like are named and refused (`image_unsupported`); HTML and the rest are
`not_an_image`. Opening a JPEG costs 0.03 ms.

Three things make a small file slow, and each is bounded here. A file of many tiny parts (PNG chunks, GIF blocks, TIFF
directories) runs through a reader that gives up after `MAX_READS`. A JPEG of many scans makes libjpeg pass over all
blocks once per scan of ten bytes, so more than `MAX_SCANS` are refused. A TIFF of millions of strips becomes as many
Python tuples, one with large tiles is decoded a tile at a time whatever the picture's size (1.2 GB for 1 MB), and
entries that overlap are copied one by one, so the directory is looked at before Pillow does.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from PIL import AvifImagePlugin, Image, ImageFile, _imaging
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from curate.fetch import exif
from curate.fetch.status import FetchStatus

__all__ = ["MAX_READS", "MAX_SCANS", "Header", "Refused", "explain", "read_header"]

MAX_READS = 200_000
MAX_SCANS = 100
"""Progressive encoders write about 10 scans; libjpeg-turbo's own fuzzers stop at 500."""
MAX_RUN_LENGTH_PX = 4_000_000
MAX_GIF_READS = 20_000
"""A GIF's comments come in pieces of 255 bytes, and Pillow before 13 copies all it has for each: 40 s for 24 MB."""
MAX_STRIPS = 100_000
MAX_TILE_PX = 4_096 * 4_096
_STRIPS = (273, 279, 324, 325)
"""Offsets and sizes of strips, and of tiles."""
_TILE = (322, 323)
"""Width and height of a tile."""
MAX_SIDE_PX = 2**31 - 1
"""What the column of sizes holds, and what a BMP turns a negative width into."""


def _set_up_pillow() -> None:
    """Make Pillow quiet and single-threaded, once per process: `catch_warnings` is not safe in threads.

    A picture's oddities are its status. Pillow tells of them through `warnings` and a logger, and libtiff writes
    lines of its own to the standard error output unless its handlers are taken away. Several pictures are decoded at
    once already, so that a pool of threads for each AVIF would only compete with that.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    with contextlib.suppress(OSError, AttributeError):  # a Pillow built without libtiff has nothing to silence
        pillow = ctypes.CDLL(_imaging.__file__)
        pillow.TIFFSetErrorHandler(None)
        pillow.TIFFSetWarningHandler(None)


_set_up_pillow()


class Refused(Exception):
    """A picture that will not be stored, with the status and the words for its row."""

    def __init__(self, status: FetchStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Header:
    """A body that was recognised. `image` is opened and not decoded; `width` and `height` are as displayed."""

    kind: str
    extension: str
    image: ImageFile.ImageFile
    width: int
    height: int
    frames: int | None
    orientation: int
    exif: bytes

    @property
    def animated(self) -> bool:
        return self.frames is not None and self.frames > 1

    @property
    def sideways(self) -> bool:
        """Whether the file's rows are the picture's columns (orientations 5 to 8)."""
        return self.orientation >= 5


class _Parts(io.BytesIO):
    """Bytes that can be read so many times: bounds the work of a parser that walks through tiny parts."""

    left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise Refused(FetchStatus.IMAGE_BROKEN, "the file has too many parts")
        return super().read(size)


def read_header(data: bytes) -> Header:
    """Recognise a body. Raises Refused, or whatever Pillow raises for a broken one (see `explain`)."""
    kind, extension, plugin = _sniff(data)
    if kind == "TIFF":
        _check_directory(data)
    if kind == "BMP":
        _check_run_length(data)
    parts = _Parts(data)
    parts.left = MAX_GIF_READS if kind == "GIF" else MAX_READS
    image = plugin(parts)
    if isinstance(image, JpegImageFile):
        _check_scans(image, data)
    raw = image.info.get("exif", b"")
    # Pillow turns a TIFF upright itself, on loading; its size is already that of the turned picture.
    orientation = 1 if kind == "TIFF" else exif.orientation(raw)
    width, height = image.size if orientation < 5 else image.size[::-1]
    if max(width, height) > MAX_SIDE_PX:
        raise Refused(FetchStatus.IMAGE_BROKEN, f"the header says {width} x {height}")
    return Header(kind, extension, image, width, height, _frames(kind, image, data), orientation, raw)


def _check_run_length(data: bytes) -> None:
    """Refuse a large run-length coded BMP: Pillow decodes it in Python, 5 s for 60 MP out of a few kB."""
    if len(data) < 34:
        return
    width, height, compression = struct.unpack_from("<ii", data, 18) + struct.unpack_from("<I", data, 30)
    if compression in (1, 2) and abs(width * height) > MAX_RUN_LENGTH_PX:
        raise Refused(FetchStatus.IMAGE_UNSUPPORTED, f"a run-length coded BMP of more than {MAX_RUN_LENGTH_PX:,} px")


def explain(error: Exception, data: bytes) -> tuple[FetchStatus, str]:
    """Status and detail for an exception of a decoder."""
    if isinstance(error, Refused):
        return error.status, error.detail
    words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if isinstance(error, MemoryError | Image.DecompressionBombError):
        return FetchStatus.IMAGE_TOO_LARGE, "more than can be held in memory"
    if _ends_early(data) or "truncated" in words.lower():
        return FetchStatus.IMAGE_TRUNCATED, words
    if isinstance(error, NotImplementedError) or "cannot handle" in words or "nsupported" in words:
        return FetchStatus.IMAGE_UNSUPPORTED, words
    return FetchStatus.IMAGE_BROKEN, words


_Plugin = Callable[[io.BytesIO], ImageFile.ImageFile]
_OPENED: tuple[tuple[bytes, str, str, _Plugin], ...] = (
    (b"\xff\xd8\xff", "JPEG", "jpg", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", "PNG", "png", PngImageFile),
    (b"GIF87a", "GIF", "gif", GifImageFile),
    (b"GIF89a", "GIF", "gif", GifImageFile),
    (b"BM", "BMP", "bmp", BmpImageFile),
    (b"II*\0", "TIFF", "tif", TiffImageFile),
    (b"MM\0*", "TIFF", "tif", TiffImageFile),
)
_NAMED: tuple[tuple[bytes, str], ...] = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\1\0", "an icon"),
    (b"8BPS", "a Photoshop file"),
    (b"II+\0", "a BigTIFF"),
    (b"MM\0+", "a BigTIFF"),
    (b"DDS ", "a DDS texture"),
    (b"%!PS", "PostScript"),
    (b"qoif", "QOI"),
    *((b"P%d" % n, "a netpbm file") for n in range(1, 8)),
)
_AVIF_BRANDS = {b"avif", b"avis", b"mif1", b"msf1"}


def _sniff(data: bytes) -> tuple[str, str, _Plugin]:
    """Name, extension and Pillow class by magic number. Raises Refused for everything that is not opened."""
    for magic, kind, extension, plugin in _OPENED:
        if data.startswith(magic):
            return kind, extension, plugin
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP", "webp", WebPImageFile
    if data[4:8] == b"ftyp":
        if data[8:12] in _AVIF_BRANDS and b"avi" in data[8:64]:
            return "AVIF", "avif", AvifImageFile
        raise Refused(FetchStatus.IMAGE_UNSUPPORTED, f"an ISO media file of brand {data[8:12]!r}")
    for magic, name in _NAMED:
        if data.startswith(magic):
            raise Refused(FetchStatus.IMAGE_UNSUPPORTED, f"{name} is not opened")
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start and not start.startswith((b"<html", b"<!doctype html")):
        raise Refused(FetchStatus.IMAGE_UNSUPPORTED, "SVG is not opened")
    if b"<html" in start or start.startswith(b"<!doctype html"):
        raise Refused(FetchStatus.NOT_AN_IMAGE, "a page of HTML")
    raise Refused(FetchStatus.NOT_AN_IMAGE, f"starts with {data[:12]!r}")


def _check_scans(image: JpegImageFile, data: bytes) -> None:
    """Refuse a JPEG of many scans. A file whose first scan has all components, all at once, has just that one."""
    end = image.fp.tell() if image.fp else 0
    length = 6 + 2 * image.layers
    interleaved = data[end - length : end - length + 2] == length.to_bytes(2, "big")
    if interleaved and "progressive" not in image.info:
        return
    scans = data.count(b"\xff\xda")
    if scans > MAX_SCANS:
        raise Refused(FetchStatus.IMAGE_BROKEN, f"a JPEG of {scans:,} scans")


def _check_directory(data: bytes) -> None:
    """Refuse a TIFF whose first directory claims more parts, larger ones or more bytes than a picture can have."""
    claim = exif.directory(data)
    if not claim.whole:
        raise Refused(FetchStatus.IMAGE_TRUNCATED, "the TIFF's directory is cut off")
    strips = max(claim.counts.get(tag, 0) for tag in _STRIPS)
    if strips > MAX_STRIPS:
        raise Refused(FetchStatus.IMAGE_BROKEN, f"a TIFF of {strips:,} strips")
    width, height = (claim.values.get(tag, 0) for tag in _TILE)
    if width * height > MAX_TILE_PX:
        raise Refused(FetchStatus.IMAGE_BROKEN, f"a TIFF of tiles of {width} x {height}")
    if claim.claimed_bytes > 4 * len(data):
        raise Refused(FetchStatus.IMAGE_BROKEN, "a TIFF of overlapping data")


def _frames(kind: str, image: ImageFile.ImageFile, data: bytes) -> int | None:
    """How many frames an animation has; never more than the file has bytes, whatever its header claims."""
    if kind == "TIFF":
        return None
    if isinstance(image, GifImageFile):
        return _gif_frames(data)
    return min(int(getattr(image, "n_frames", 1)), len(data))


def _gif_frames(data: bytes) -> int:
    """Frames of a GIF by walking over its blocks: linear in bytes, and a broken tail ends the count."""
    place = 13 + _palette_bytes(data[10])
    frames = 0
    while place < len(data) and data[place] in b"!,":
        if data[place] == 0x21:
            place += 2
        elif place + 9 < len(data):
            frames += 1
            place += 11 + _palette_bytes(data[place + 9])
        else:
            break
        while place < len(data) and data[place]:
            place += data[place] + 1
        place += 1
    return frames


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _ends_early(data: bytes) -> bool:
    """Whether a body that could not be decoded lacks its end, so that the transfer is to blame and not the writer."""
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if data.startswith(b"GIF8"):
        return not data.rstrip(b"\0").endswith(b";")
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return data.startswith(b"BM") and int.from_bytes(data[2:6], "little") > len(data)
