"""How well copies are found by hashes of a picture: pairs within a radius, against pairs that are known to be copies.

Two sets. imagededup's test pictures as they come: those with one `ukbench` number show the same. And each of those,
and textbook pictures, rendered anew in eight ways: two versions of one picture are copies. (Textbooks show some
pictures twice; these count against all contenders alike.) imagededup reads the files itself and searches itself.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from curate.dedup.picture_hashes import KINDS, PictureHashes
from curate.fetch.image import decode
from curate.perceptual.pdq import LEAST_QUALITY

RADIUS = 10
"""imagededup's default."""
Pairs = set[tuple[str, str]]

CHANGES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda image: image,
    "quality 40": lambda image: _reencoded(image, 40),
    "halved": lambda image: image.resize((max(1, image.width // 2), max(1, image.height // 2))),
    "squashed": lambda image: image.resize((256, 256)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "cropped": lambda image: ImageOps.crop(image, max(1, round(min(image.size) * 0.03))),
    "bordered": lambda image: ImageOps.expand(image, max(2, round(max(image.size) * 0.05)), "white"),
    "mirrored": ImageOps.mirror,
}


@dataclass(frozen=True)
class Found:
    """Of all pairs found, and of all copies."""

    name: str
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def evaluate(
    data: Path, files: Sequence[Path], folder: Path, encoders: Mapping[str, Any]
) -> Iterator[tuple[str, list[Found]]]:
    """What is found among imagededup's pictures, and among copies of these and of `files`."""
    own = data / "neardup" / "imagededup" / "tests" / "data"
    as_they_come, rendered = folder / "own", folder / "rendered"
    as_they_come.mkdir()
    for number, path in enumerate(sorted(p for p in own.rglob("*") if p.is_file() and p.suffix != ".pkl")):
        (as_they_come / f"{_shown(path)}-{number}{path.suffix}").symlink_to(path.resolve())
    yield "imagededup's test pictures as they come", _contest(as_they_come, encoders)
    for name, chosen in (("its base pictures", sorted((own / "base_images").iterdir())), ("textbook pictures", files)):
        into = rendered / name.replace(" ", "_")
        into.mkdir(parents=True)
        for number, path in enumerate(chosen):
            image = Image.open(path).convert("RGB")
            for change, make in CHANGES.items():
                make(image).save(into / f"{number}-{change.replace(' ', '_')}.png")
        yield f"{len(chosen)} of {name}, each in {len(CHANGES)} versions", _contest(into, encoders)


def _contest(folder: Path, encoders: Mapping[str, Any]) -> list[Found]:
    paths = sorted(folder.iterdir())
    rows = {p.name: PictureHashes(tuple(KINDS)).prepare(x) for p in paths if (x := decode(p.read_bytes())) is not None}
    true = {pair for pair in combinations(sorted(rows), 2) if len({name.split("-")[0] for name in pair}) == 1}
    found = []
    for kind in ("phash", "dhash", "phash_imagededup", "dhash_imagededup"):
        found.append(_scored(f"{kind}, {RADIUS} bits", _near(rows, kind, RADIUS), true))
        if kind in encoders:
            found.append(_scored(f"  imagededup itself, {RADIUS} bits", _theirs(folder, encoders[kind]), true))
    sharp = {name: row for name, row in rows.items() if row["pdq_quality"] >= LEAST_QUALITY}
    found.append(_scored("phash, 4 bits", _near(rows, "phash", 4), true))
    found.append(_scored("phash, 10 bits, quality of 50", _near(sharp, "phash", RADIUS), true))
    found.append(_scored("pdq, 31 bits, quality of 50", _near(sharp, "pdq", 31), true))
    return found


def _theirs(folder: Path, encoder: Any) -> Pairs:
    hashes = encoder.encode_images(image_dir=folder, num_enc_workers=0)
    near = encoder.find_duplicates(encoding_map=hashes, max_distance_threshold=RADIUS, num_dist_workers=0)
    return {(min(a, b), max(a, b)) for a, others in near.items() for b in others}


def _near(rows: Mapping[str, Mapping[str, Any]], kind: str, radius: int) -> Pairs:
    """Every pair compared with every other: nothing missed."""
    names = sorted(rows)
    values = [rows[n][kind] for n in names]
    whole = b"".join(v if isinstance(v, bytes) else int(v).to_bytes(8, "big") for v in values)
    words = np.frombuffer(whole, np.uint64).reshape(len(names), -1) if names else np.zeros((0, 1), np.uint64)
    found = set()
    for number, name in enumerate(names):
        apart = np.bitwise_count(words[number + 1 :] ^ words[number]).sum(axis=1)
        found |= {(name, names[number + 1 + place]) for place in np.flatnonzero(apart <= radius)}
    return found


def _scored(name: str, found: Pairs, true: Pairs) -> Found:
    right = len(found & true)
    return Found(name, right / len(found) if found else 1.0, right / len(true) if true else 1.0)


def _shown(path: Path) -> str:
    """What a picture of imagededup's shows: its ukbench number, else its own name."""
    if path.stem == "alpha_channel_image":
        return "ukbench00120"
    number = re.match(r"ukbench\d+", path.stem)
    return number.group() if number else path.stem.replace("-", "_")


def _reencoded(image: Image.Image, quality: int) -> Image.Image:
    into = io.BytesIO()
    image.save(into, "JPEG", quality=quality)
    return Image.open(io.BytesIO(into.getvalue())).convert("RGB")
