"""Any pixels Pillow can decode as three channels of sRGB.

In two steps, with the resize in between: `channels` decodes and gets rid of what cannot be resized (palettes, alpha,
16 bits), `to_srgb` converts colours, which then costs a few thousand pixels instead of millions. An embedded profile
is recognised as sRGB by what it does to 729 colours and not by its name, once per profile and process (1 ms), so the
nine in ten pictures with an sRGB profile are not converted at all.

Decisions: alpha and transparent colours lie on white. 16-bit samples keep their upper byte, and a transparent colour
of 16 bits is not looked for. CMYK without a usable profile becomes (1 - ink) (1 - black), which is what browsers show.
Profiles are applied with perceptual intent; one that is broken, over 4 MiB, or for another colour space is ignored.
PNG's gAMA and cICP are ignored. Floating point and 32-bit samples have no agreed white and are refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageCms

from curate.fetch.header import Refused
from curate.fetch.status import FetchStatus
from curate.filter import Pixels

__all__ = ["channels", "is_plain", "to_srgb"]

MAX_PROFILE_BYTES = 4 * 1024 * 1024
MAX_PROFILES = 64
MAX_BAND_PX = 2_000_000
SAME_COLOR = 3
"""Largest difference, of 255, that a profile may make to any probed colour and still count as sRGB."""

_WITH_ALPHA = {"RGBA", "RGBa", "LA", "La", "PA"}
_KEPT = {"L", "RGB", "CMYK"}
_transforms: dict[tuple[bytes, str], ImageCms.ImageCmsTransform | None] = {}


def is_plain(image: Image.Image) -> bool:
    """Whether the file already holds opaque three-channel sRGB, so that `channels` and `to_srgb` change nothing."""
    return image.mode == "RGB" and "transparency" not in image.info and _transform(image, "RGB") is None


def channels(image: Image.Image) -> tuple[npt.NDArray[np.uint8], str]:
    """Decode. Returns uint8, height x width (mode L) or height x width x 3 (RGB) or x 4 (CMYK), and that mode.

    A large picture is converted in bands of rows, so that beside Pillow's own copy there is only the result.
    """
    image.load()  # a palette's transparency and some modes are known only now
    width, height = image.size
    rows = max(1, MAX_BAND_PX // width)
    if height <= rows:
        return _opaque(image)
    first, mode = _opaque(image.crop((0, 0, width, rows)))
    whole = np.empty((height, *first.shape[1:]), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        whole[top:bottom] = _opaque(image.crop((0, top, width, bottom)))[0]
    return whole, mode


def to_srgb(pixels: npt.NDArray[np.uint8], mode: str, image: Image.Image) -> Pixels:
    """What `channels` returned, resized or not, as height x width x 3 sRGB; `image` is where the profile is."""
    transform = _transform(image, mode)
    if transform is not None:
        return np.asarray(_apply(transform, _image(pixels, mode)))
    if mode == "CMYK":
        return np.asarray(_image(pixels, mode).convert("RGB"))
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if mode == "L" else pixels


def _opaque(image: Image.Image) -> tuple[npt.NDArray[np.uint8], str]:
    """Pixels of a loaded image without palette, alpha or 16 bits, and their mode: L, RGB or CMYK."""
    if image.mode.startswith("I"):
        return _upper_byte(image), "L"
    if image.mode == "F":
        raise Refused(FetchStatus.IMAGE_UNSUPPORTED, "floating point samples have no agreed white")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = _on_white(image)
    elif image.mode == "LAB":
        image = _apply(_lab_transform(), image)
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in _KEPT:
        image = image.convert("RGB")
    return _array(image), image.mode


def _upper_byte(image: Image.Image) -> npt.NDArray[np.uint8]:
    samples: npt.NDArray[Any] = np.asarray(image)
    if samples.min() < 0 or samples.max() > 0xFFFF:
        raise Refused(FetchStatus.IMAGE_UNSUPPORTED, "samples of more than 16 bits have no agreed white")
    return (samples >> 8).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    """An image with alpha, or with one transparent colour, over white; grey stays grey."""
    grey = image.mode in ("LA", "La", "L", "1")
    layer = image.convert("LA" if grey else "RGBA")
    white = Image.new("L" if grey else "RGB", layer.size, "white")
    white.paste(layer.convert(white.mode), mask=layer.getchannel("A"))
    return white


def _array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """A loaded image's pixels. RGB comes through Arrow, without Pillow's copy piece by piece: 0.09 for 0.20 ms."""
    if image.mode == "RGB":
        with contextlib.suppress(ValueError):  # Pillow may hold a picture in several blocks
            padded = pa.array(image).flatten().to_numpy().reshape(image.height, image.width, 4)
            pixels: npt.NDArray[np.uint8] = cv2.cvtColor(padded, cv2.COLOR_RGBA2RGB)
            return pixels
    return np.asarray(image)


def _image(pixels: npt.NDArray[np.uint8], mode: str) -> Image.Image:
    return Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())


def _apply(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    return transform.apply(image)


def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def _transform(image: Image.Image, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion from the embedded profile to sRGB; None where there is nothing to convert."""
    profile = image.info.get("icc_profile")
    if not profile or len(profile) > MAX_PROFILE_BYTES:
        return None
    key = (hashlib.sha256(profile).digest(), mode)
    try:
        return _transforms[key]
    except KeyError:
        if len(_transforms) >= MAX_PROFILES:
            _transforms.clear()
        return _transforms.setdefault(key, _build(profile, mode))


def _build(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None
    return None if mode != "CMYK" and _changes_nothing(transform, mode) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    probe = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    before = _image(probe, mode)
    after = np.asarray(_apply(transform, before)).astype(int)
    return bool(np.abs(after - np.asarray(before.convert("RGB"))).max() <= SAME_COLOR)
