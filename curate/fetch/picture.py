"""What is asked of a picture (`ImageSettings`, the `[image]` table of a config) and what comes back (`Picture`).

The options are img2dataset's under plainer names, with three changes. Its two switches `skip_reencode` and
`disable_all_reencoding` are one option with three values, so no combination is meaningless. The default quality
depends on the format, because its default of 95 is refused by its own PNG writer. And one area limit acts before
anything is decoded, where img2dataset's acts after 1.4 GB were allocated for a 607 kB file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from curate.config import require_range
from curate.fetch.status import FetchStatus

__all__ = ["ImageSettings", "Interpolation", "Picture", "ResizeMode"]

ResizeMode = Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
Interpolation = Literal["nearest", "linear", "cubic", "area", "lanczos"]

_QUALITY = {"jpg": (0, 100, 95), "png": (0, 9, 6), "webp": (1, 101, 95)}
"""Lowest, highest and default quality per format. For png it is the zlib level; 101 is lossless webp."""


@dataclass(frozen=True)
class ImageSettings:
    """How pictures are checked, resized and stored.

    `resize_mode`: `no`; `border` (longest side to `size_px`, padded with white to a square); `keep_ratio` (shortest
    side to `size_px`); `keep_ratio_largest` (longest side); `center_crop` (`keep_ratio`, then the middle square).
    With `resize_only_if_bigger`, a picture that is not bigger is left alone: no border and no crop either.
    `quality` is 0..100 for jpg, 0..9 (compression) for png, 1..100 or 101 (lossless) for webp; None: 95, 6, 95.
    `keep_original`: `never`; `unchanged` stores the downloaded bytes where they already are what would be written
    (format, size, upright, three channels, sRGB, one frame); `always` stores them all, undecoded, as their own format.
    `least_decode_factor`: a JPEG is decoded at 1/2, 1/4 or 1/8 where that is still this many times the target size.
    `max_area_px` bounds the picture and what it would be resized to; a decoder needs 4 to 16 bytes a pixel. No scorer
    looks at what is stored with more than 64,000,000.
    `min_side_px`, `max_area_px` and `max_aspect_ratio` (longest by shortest side) look at the header alone.
    `box_column` names a column of the source with boxes to blur, lists of [x0, y0, x1, y1], each 0 to 1.
    `sha256_column` names one with the digest (hex) that the downloaded bytes must have, against poisoning; a row
    without one is not checked.
    """

    size_px: int = 256
    resize_mode: ResizeMode = "border"
    resize_only_if_bigger: bool = False
    upscale_interpolation: Interpolation = "lanczos"
    downscale_interpolation: Interpolation = "area"
    format: Literal["jpg", "png", "webp"] = "jpg"
    quality: int | None = None
    keep_original: Literal["never", "unchanged", "always"] = "never"
    least_decode_factor: float = 2.0
    min_side_px: int = 0
    max_area_px: int = 64_000_000
    max_aspect_ratio: float | None = None
    exif: bool = True
    box_column: str = ""
    sha256_column: str = ""

    def __post_init__(self) -> None:
        low, high, _ = _QUALITY[self.format]
        require_range("size_px", self.size_px, 1, 16_383)
        require_range(f"quality (of {self.format})", self.quality, low, high)
        require_range("least_decode_factor", self.least_decode_factor, 1)
        require_range("min_side_px", self.min_side_px, 0)
        require_range("max_area_px", self.max_area_px, 1, 1_000_000_000)
        require_range("max_aspect_ratio", self.max_aspect_ratio, 1)

    @property
    def encode_quality(self) -> int:
        return _QUALITY[self.format][2] if self.quality is None else self.quality


@dataclass(frozen=True)
class Picture:
    """What became of one downloaded body. What the header told is there for failures too.

    `data` are the bytes to store, empty unless `status` is success; `extension` is theirs, without a dot.
    `original_bytes` counts those that were downloaded.
    `width` and `height` are of what is stored. `original_width` and `original_height` are of the picture as displayed,
    that is after its EXIF `orientation` (1 to 8) was applied. `format` is that of the download (`JPEG`, `PNG`, ...).
    `frames` is None where it was not counted (pages of a TIFF). `exif` is a JSON object of strings, at most 4,096
    characters. `sha256` is of the downloaded bytes, in hex.
    """

    status: FetchStatus
    detail: str
    sha256: str
    data: bytes = b""
    extension: str = ""
    original_bytes: int = 0
    width: int | None = None
    height: int | None = None
    original_width: int | None = None
    original_height: int | None = None
    format: str | None = None
    frames: int | None = None
    animated: bool | None = None
    orientation: int | None = None
    exif: str = "{}"
