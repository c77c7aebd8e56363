"""Photo-like JPEGs from a seed, so that the bench needs no data of anybody's and yet decodes what the web serves.

What the cost of decoding and the error of a fast resize depend on is kept as in a crawl of photos: a spectrum that
falls as 1/f (equal energy in each octave), sharp edges of objects over one another at all sizes, detail that differs
from place to place, half-resolution colour, and the sizes, bytes, progressive and grey shares of the set below.
Noise is built as a pyramid: the coarsest octave first, doubled and given a finer one until the full size, which costs
4/3 of one full-size pass. What is not kept: meaning, and the exact statistics of any camera.

    python -m bench.pictures     makes both sets under bench/data/ (about a minute on 2 cores) and prints their figures
"""

from __future__ import annotations

import io
import json
import math
import multiprocessing
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

__all__ = ["SETS", "PictureSet", "picture_folder"]

DATA = Path(__file__).resolve().parent / "data"
VERSION = 1
ASPECTS = (4 / 3, 3 / 2, 1.0, 16 / 9, 3 / 4, 2 / 3)
PROGRESSIVE_RATIO, GREY_RATIO, EXIF_RATIO = 0.21, 0.03, 0.3


@dataclass(frozen=True)
class PictureSet:
    """`area_px` is the mean area, `spread` the sigma of its logarithm; `detail` scales the finest octaves and so the
    bytes a pixel; `quality` is the lowest and highest JPEG quality."""

    name: str
    count: int
    area_px: float
    spread: float
    detail: float
    quality: tuple[int, int]
    seed: int = 20


SETS = {
    "photos_0.6mp": PictureSet("photos_0.6mp", 1000, 620_000, 0.62, 1.4, (73, 93)),
    "photos_3.1mp": PictureSet("photos_3.1mp", 250, 3_100_000, 0.25, 0.48, (68, 85)),
}


def picture_folder(chosen: PictureSet) -> Path:
    """The folder with `00000.jpg` and on, made when it is absent or was made with other settings."""
    folder = DATA / chosen.name
    stamp = folder / "set.json"
    mark = json.dumps({"version": VERSION, **asdict(chosen)})
    if not stamp.is_file() or stamp.read_text() != mark:
        folder.mkdir(parents=True, exist_ok=True)
        with multiprocessing.get_context("spawn").Pool() as pool:
            pool.starmap(_write, [(chosen, i, folder) for i in range(chosen.count)], chunksize=10)
        stamp.write_text(mark)
    return folder


def _write(chosen: PictureSet, index: int, folder: Path) -> None:
    cv2.setNumThreads(1)
    (folder / f"{index:05d}.jpg").write_bytes(jpeg(chosen, index))


def jpeg(chosen: PictureSet, index: int) -> bytes:
    """The bytes of one picture; the same for the same set and index (and versions of NumPy, OpenCV and Pillow)."""
    rng = np.random.default_rng([chosen.seed, index])
    area = chosen.area_px * math.exp(rng.normal(-(chosen.spread**2) / 2, chosen.spread))
    aspect = float(rng.choice(ASPECTS))
    width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    image = Image.fromarray(_scene(rng, height, width, chosen.detail))
    if rng.random() < GREY_RATIO:
        image = image.convert("L")
    options: dict[str, object] = {"progressive": bool(rng.random() < PROGRESSIVE_RATIO)}
    if rng.random() < EXIF_RATIO:
        options["exif"] = _exif(rng)
    target = io.BytesIO()
    image.save(target, "JPEG", quality=int(rng.integers(*chosen.quality)), **options)
    return target.getvalue()


def _scene(rng: np.random.Generator, height: int, width: int, detail: float) -> np.ndarray:
    """RGB uint8 (height, width, 3): flat objects over one another, each lit unevenly, with texture on top."""
    colours = cv2.cvtColor(_objects(rng, height, width), cv2.COLOR_RGB2YCrCb).astype(np.float32)
    fine = detail * math.exp(rng.normal(0, 0.35))
    texture = _octaves(rng, height, width, 4.5, fine)
    patches = np.clip(1 + 0.8 * _octaves(rng, height // 16 + 1, width // 16 + 1, 0.5, 1.0), 0.1, 2.5)
    colours[..., 0] += texture * cv2.resize(patches, (width, height), interpolation=cv2.INTER_LINEAR)
    for channel in (1, 2):
        chroma = _octaves(rng, height // 4 + 1, width // 4 + 1, 1.6, 1.0)
        colours[..., channel] += cv2.resize(chroma, (width, height), interpolation=cv2.INTER_LINEAR)
    scene: np.ndarray = cv2.cvtColor(np.clip(colours, 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB)
    return scene


def _objects(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Ellipses and quadrilaterals, large ones first, radii spread evenly over the octaves (a "dead leaves" picture)."""
    canvas = np.full((height, width, 3), rng.integers(40, 216, 3), np.uint8)
    side = min(height, width)
    for radius in sorted(side * np.exp(rng.uniform(math.log(0.015), math.log(0.7), 50)), reverse=True):
        colour = [int(c) for c in rng.normal(rng.uniform(40, 216), 25, 3).clip(0, 255)]
        centre = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        if rng.random() < 0.6:
            axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.3, 1))))
            cv2.ellipse(canvas, centre.astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = centre + radius * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * rng.uniform(0.3, 1, (4, 2))
            cv2.fillConvexPoly(canvas, corners.astype(np.int32), colour, cv2.LINE_AA)
    soft: np.ndarray = cv2.GaussianBlur(canvas, (3, 3), 0.6)
    return soft


def _octaves(rng: np.random.Generator, height: int, width: int, amplitude: float, fine: float) -> np.ndarray:
    """float32 (height, width): noise of equal deviation `amplitude` in each octave; `fine` scales the last two."""
    levels = max(1, int(math.log2(max(4, min(height, width)))) - 1)
    sizes = [(max(2, width >> k), max(2, height >> k)) for k in range(levels, -1, -1)]
    field = np.zeros((sizes[0][1], sizes[0][0]), np.float32)
    for k, (w, h) in enumerate(sizes):
        scale = amplitude * (fine if k >= levels - 1 else 1.0) * (0.6 if k == levels else 1.0)
        field = cv2.resize(field, (w, h), interpolation=cv2.INTER_LINEAR)
        field += rng.standard_normal((h, w), np.float32) * np.float32(scale)
    return field


def _exif(rng: np.random.Generator) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Bench", f"Model {rng.integers(100)}"
    exif[0x0132] = f"2021:{rng.integers(1, 13):02d}:{rng.integers(1, 29):02d} 12:00:00"
    exif.get_ifd(0x8769).update({0x829A: (1, int(rng.integers(30, 2000))), 0x8827: int(rng.integers(1, 64)) * 50})
    return exif


def figures(folder: Path) -> dict[str, float]:
    """Mean and 5th, 50th and 95th percentile of the bytes, mean megapixels, share of progressive and grey files."""
    files = sorted(folder.glob("*.jpg"))
    sizes = np.array([f.stat().st_size for f in files])
    heads = []
    for f in files:
        with Image.open(f) as image:
            heads.append((image.width * image.height, "progressive" in image.info, image.mode == "L"))
    area, progressive, grey = np.array(heads, float).mean(axis=0)
    low, median, high = np.percentile(sizes, [5, 50, 95])
    return {
        "pictures": len(files),
        "mean_bytes": round(float(sizes.mean())),
        "p5_bytes": round(float(low)),
        "median_bytes": round(float(median)),
        "p95_bytes": round(float(high)),
        "mean_mp": round(float(area) / 1e6, 3),
        "progressive_ratio": round(float(progressive), 3),
        "grey_ratio": round(float(grey), 3),
    }


if __name__ == "__main__":
    for chosen in SETS.values():
        print(chosen.name, figures(picture_folder(chosen)))
