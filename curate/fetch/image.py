"""From a downloaded body to a stored picture: header, limits, decode, scale, colours, upright, frame, encode.

The order is the trade. Limits look at the header, so a bomb costs 20 microseconds. A JPEG is decoded at the smallest
DCT scale that is still twice the target (40 dB or more against a full decode, 2.3 times as fast at 3 MP; at 0.6 MP
most pictures are decoded in full and are exact). Colours, faces and orientation come after the resize, on the few
pixels that are left. libjpeg-turbo decodes whole JPEGs, Pillow all else, also what is damaged; cv2 resizes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from curate.fetch import exif
from curate.fetch.color import channels, is_plain, to_srgb
from curate.fetch.faces import blur
from curate.fetch.header import Header, Refused, explain, read_header
from curate.fetch.jpeg import decode_jpeg
from curate.fetch.picture import ImageSettings, Picture
from curate.fetch.resize import MAX_SIDE_PX, Plan, encode, frame, plan, scale, upright
from curate.fetch.status import FetchStatus
from curate.filter import Pixels

__all__ = ["ImageSettings", "Picture", "decode", "process"]


def process(data: bytes, settings: ImageSettings, boxes: Sequence[Sequence[float]] = ()) -> Picture:
    """Check, decode, resize and encode one body. Never raises; safe to call from many threads.

    `boxes` are blurred: [x0, y0, x1, y1] in 0..1 of the picture *as it lies in the file*, before EXIF orientation,
    because DataComp's were found on pictures that img2dataset had not turned.
    """
    header: Header | None = None
    status, detail = FetchStatus.SUCCESS, ""
    stored: tuple[str, bytes, int | None, int | None] = ("", b"", None, None)
    try:
        header = read_header(data)
        _check_limits(header, settings)
        stored = _stored(header, data, settings, boxes)
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile bytes, and a row needs a status
        status, detail = explain(error, data)
    extension, encoded, width, height = stored
    return Picture(
        status=status,
        detail=detail,
        sha256=hashlib.sha256(data).hexdigest(),
        data=encoded,
        extension=extension,
        original_bytes=len(data),
        width=width,
        height=height,
        original_width=header.width if header else None,
        original_height=header.height if header else None,
        format=header.kind if header else None,
        frames=header.frames if header else None,
        animated=header.animated if header else None,
        orientation=header.orientation if header else None,
        exif=exif.to_json(header.exif) if header and settings.exif else "{}",
    )


def decode(data: bytes, max_area_px: int = ImageSettings.max_area_px) -> Pixels | None:
    """A stored picture as height x width x 3 sRGB, upright, read-only; None where it cannot be decoded."""
    try:
        header = read_header(data)
        if header.width * header.height > max_area_px:
            return None
        pixels, mode, _ = decode_jpeg(header, data) or _by_pillow(header, header.image.size)
        return upright(to_srgb(pixels, mode, header.image), header.orientation)
    except Exception:  # noqa: BLE001 - as in `process`; the row's status was recorded when it was fetched
        return None


def _check_limits(header: Header, settings: ImageSettings) -> None:
    width, height = header.width, header.height
    short, long = min(width, height), max(width, height)
    if short < settings.min_side_px:
        raise Refused(FetchStatus.IMAGE_TOO_SMALL, f"{width} x {height}, a side below {settings.min_side_px} px")
    if width * height > settings.max_area_px:
        raise Refused(FetchStatus.IMAGE_TOO_LARGE, f"{width} x {height}, above {settings.max_area_px:,} px")
    if settings.max_aspect_ratio is not None and long / short > settings.max_aspect_ratio:
        raise Refused(FetchStatus.ASPECT_RATIO_TOO_LARGE, f"{width} x {height}, above {settings.max_aspect_ratio:g}")


def _stored(
    header: Header, data: bytes, settings: ImageSettings, boxes: Sequence[Sequence[float]]
) -> tuple[str, bytes, int, int]:
    """Extension, bytes, width and height of what is stored."""
    if settings.keep_original == "always":
        return header.extension, data, header.width, header.height
    target = plan(header.width, header.height, settings)
    if target.area_px > settings.max_area_px:
        raise Refused(FetchStatus.ASPECT_RATIO_TOO_LARGE, f"would be scaled to {target.scaled}")
    if max(target.final) > MAX_SIDE_PX[settings.format]:
        raise Refused(
            FetchStatus.IMAGE_TOO_LARGE, f"{settings.format} holds {MAX_SIDE_PX[settings.format]:,} px a side"
        )
    if settings.keep_original == "unchanged" and not boxes and _is_final(header, target, settings):
        header.image.load()
        return header.extension, data, header.width, header.height
    pixels = frame(_pixels(header, data, target, settings, boxes), target.final)
    return settings.format, encode(pixels, settings), *target.final


def _is_final(header: Header, target: Plan, settings: ImageSettings) -> bool:
    """Whether the downloaded bytes are what would be written."""
    return (
        header.extension == settings.format
        and (header.width, header.height) == target.scaled == target.final
        and header.orientation == 1
        and not header.animated
        and is_plain(header.image)
    )


def _pixels(
    header: Header, data: bytes, target: Plan, settings: ImageSettings, boxes: Sequence[Sequence[float]]
) -> Pixels:
    """Decoded at the least size that will do, scaled, in sRGB, faces blurred, upright."""
    size = target.scaled[::-1] if header.sideways else target.scaled
    factor = settings.least_decode_factor
    least = (math.ceil(size[0] * factor), math.ceil(size[1] * factor))
    pixels, mode, extent = decode_jpeg(header, data, least) or _by_pillow(header, least)
    pixels = to_srgb(scale(pixels, extent, size, target.interpolation), mode, header.image)
    if boxes:
        pixels = blur(pixels, boxes)
    return upright(pixels, header.orientation)


def _by_pillow(header: Header, least: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], str, tuple[float, float]]:
    """As `decode_jpeg`, for every format; raises what Pillow raises."""
    draft = header.image.draft(None, least)
    pixels, mode = channels(header.image)
    return pixels, mode, draft[1][2:] if draft else (pixels.shape[1], pixels.shape[0])
