"""How near a stored picture is to the best one: a full decode and an area resize, in dB (PSNR over all channels).

Two numbers. `resize` is what the faster decoding costs by itself: our picture before JPEG encoding (stored as PNG)
against the reference; pictures that needed no faster decoding are exact and count as 99 dB. `stored` is what a trainer
gets: the JPEG in the tar against the reference, where most of the error is quality 95 with half-resolution colour,
for us and for the peer alike.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from curate.fetch.image import process
from curate.fetch.picture import ImageSettings

__all__ = ["resize_psnr", "stored_psnr"]

EXACT_DB = 99.0


def resize_psnr(files: list[Path], decode_factor: float) -> dict[str, float]:
    """Median and 5th percentile over `files` of our resize alone."""
    image = ImageSettings(resize_mode="keep_ratio_largest", format="png", quality=1, least_decode_factor=decode_factor)
    found = []
    for file in files:
        data = file.read_bytes()
        found.append(_against_reference(process(data, image).data, data))
    return _summary(found)


def stored_psnr(out: Path, pictures: Path, most: int) -> dict[str, float]:
    """Median and 5th percentile over the first `most` pictures in the tars of `out` (resize mode without a border)."""
    found = []
    for image, record in _samples(out):
        original = pictures / Path(urlsplit(record["url"]).path).name
        found.append(_against_reference(image, original.read_bytes()))
        if len(found) == most:
            break
    return _summary(found)


def _samples(out: Path) -> Iterator[tuple[bytes, dict[str, str]]]:
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {m.name: m for m in tar}
            for name in sorted(n for n in members if n.endswith(".jpg")):
                parts = [tar.extractfile(members[n]) for n in (name, name.replace(".jpg", ".json"))]
                image, record = [part.read() for part in parts if part is not None]
                yield image, json.load(io.BytesIO(record))


def _against_reference(stored: bytes, original: bytes) -> float:
    picture = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
    full = cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert full is not None
    size = (picture.shape[1], picture.shape[0])
    return psnr(picture, cv2.resize(full, size, interpolation=cv2.INTER_AREA))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """10 log10(255^2 / mean squared error), at most 99 dB."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return EXACT_DB if error == 0 else min(EXACT_DB, 10 * math.log10(255**2 / error))


def _summary(found: list[float]) -> dict[str, float]:
    p5, p50 = np.percentile(found, [5, 50])
    return {"median_db": round(float(p50), 1), "p5_db": round(float(p5), 1)}
