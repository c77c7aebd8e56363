"""Perceptual hashes: ours beside imagehash, imagededup and pdqhash, of the same decoded pictures in one process.

Four tables: bits that differ from the peer's, over real pictures and over drawings whose frequencies are equal (where
the rounding of a peer's FFT decides); pictures a second of CPU, from decoded pixels; precision, recall and F1 on the
pictures of imagededup's own tests and on rendered copies of them and of textbook pictures, with imagededup's hashes
and search beside; memory and time of a picture of 100 million pixels.

    pip install --no-deps --target PEERS imagehash imagededup pdqhash pywavelets scikit-learn joblib threadpoolctl \
        narwhals tqdm matplotlib pyparsing cycler kiwisolver contourpy fonttools
    OMP_NUM_THREADS=1 python -m bench.perceptual [--peers PEERS] [--data ../shared/data] [--small]
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from bench.perceptual_copies import Found, evaluate
from curate.dedup.picture_hashes import KINDS, PictureHashes
from curate.fetch.image import decode
from curate.perceptual.dhash import dhash, dhash_imagededup
from curate.perceptual.pdq import pdq
from curate.perceptual.phash import phash, phash_imagededup

Hash = Callable[[np.ndarray], int]
ROUNDS = 3


def main() -> None:
    """Print the four tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="a folder with the peers' packages")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--small", action="store_true", help="every eighth picture")
    options = parser.parse_args()
    if options.peers:
        sys.path.append(str(options.peers))
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    contenders, imagededup = _contenders()
    files = sorted(f for f in (options.data / "pairs").rglob("*") if f.suffix.lower() in {".jpg", ".jpeg", ".png"})
    files = files[:: 8 if options.small else 1]
    pictures = [p for p in (decode(f.read_bytes()) for f in files) if p is not None]
    _parity("real pictures", pictures, contenders)
    for name, drawings in _drawings().items():
        _parity(name, drawings, contenders)
    _speed(pictures, contenders)
    with tempfile.TemporaryDirectory() as folder:
        for title, found in evaluate(options.data, files[::4], Path(folder), imagededup):
            _print_found(title, found)
    _huge()


def _contenders() -> tuple[dict[str, tuple[Hash, Hash]], dict[str, Any]]:
    """Ours and the peer's by kind, and imagededup's two encoders."""
    import imagehash
    import pdqhash

    for name in ("imagededup.utils.models", "imagededup.methods.cnn"):  # its neural half, which needs torchvision
        stand_in: Any = ModuleType(name)
        stand_in.CustomModel = stand_in.CNN = None
        sys.modules[name] = stand_in
    from imagededup.methods.hashing import DHash, PHash

    encoders = {"phash_imagededup": PHash(verbose=False), "dhash_imagededup": DHash(verbose=False)}
    contenders = {
        "phash": (phash, lambda p: int(str(imagehash.phash(Image.fromarray(p))), 16)),
        "dhash": (dhash, lambda p: int(str(imagehash.dhash(Image.fromarray(p))), 16)),
        "phash_imagededup": (
            phash_imagededup,
            lambda p: int(encoders["phash_imagededup"].encode_image(image_array=p), 16),
        ),
        "dhash_imagededup": (
            dhash_imagededup,
            lambda p: int(encoders["dhash_imagededup"].encode_image(image_array=p), 16),
        ),
        "pdq": (
            lambda p: int.from_bytes(pdq(p).hash, "big"),
            lambda p: int.from_bytes(np.packbits(pdqhash.compute(p)[0]).tobytes(), "big"),
        ),
        "pdq_quality": (lambda p: pdq(p).quality, lambda p: pdqhash.compute(p)[1]),
    }
    return contenders, encoders


def _drawings() -> dict[str, list[np.ndarray]]:
    """Pictures whose frequencies are equal, many of them: flat ones, slopes, and those that are their own mirror."""
    sizes = [(64, 96), (200, 300), (333, 250), (32, 32)]
    random = np.random.default_rng(0)
    flat = [np.full((*size, 3), level, np.uint8) for size in sizes for level in range(0, 256, 5)]
    thin = [(n, other) for n in (1, 2, 3) for other in (1, 2, 3, 5, 20, 56, 300, 10_000)]
    thin = [
        random.integers(0, 256, (*size, 3), np.uint8) for one in thin for size in (one, one[::-1]) for _ in range(4)
    ]
    slopes, mirrors = [], []
    for height, width in sizes:
        across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
        greys = (across, down, (across + down) / 2, 255 - across, across / 4, down / 4, (across + 3 * down) / 4)
        slopes.extend(grey.astype(np.uint8)[..., None].repeat(3, 2) for grey in greys)
        for _ in range(20):
            quarter = random.integers(0, 256, (8, 8, 3), np.uint8)
            half = np.concatenate([quarter, quarter[::-1]])
            whole = np.concatenate([half, half[:, ::-1]], axis=1)
            mirrors.append(whole.repeat(-(-height // 16), 0).repeat(-(-width // 16), 1))
    return {
        "flat pictures": flat,
        "pictures of 1 to 3 rows or columns": thin,
        "slopes": slopes,
        "mosaics mirrored both ways": mirrors,
    }


def _parity(title: str, pictures: Sequence[np.ndarray], contenders: Mapping[str, tuple[Hash, Hash]]) -> None:
    print(f"\n{len(pictures):,} {title}: pictures that differ from the peer, bits that differ in all")
    for kind, (ours, theirs) in contenders.items():
        apart = [(ours(p) ^ int(theirs(p))).bit_count() for p in pictures]
        print(f"  {kind:18} {sum(map(bool, apart)):5} {sum(apart):6}")


def _cpu_ms(work: Callable[[np.ndarray], Any], pictures: Sequence[np.ndarray]) -> float:
    """CPU milliseconds a picture, the best of three rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for picture in pictures:
            work(picture)
        best = min(best, time.process_time() - started)
    return best / len(pictures) * 1_000


def _speed(pictures: Sequence[np.ndarray], contenders: Mapping[str, tuple[Hash, Hash]]) -> None:
    together = {"all six together": PictureHashes(tuple(KINDS)), "the usual three": PictureHashes()}
    for side, count in ((0, len(pictures)), (512, 100), (1_024, 30)):
        some, title = list(pictures[:count]), "as they are, at most 256 px"
        if side:
            some = [np.asarray(Image.fromarray(p).resize((side, side * 3 // 4))) for p in some]
            title = f"{side} x {side * 3 // 4}"
        print(f"\n{title}: CPU ms, pictures a CPU second")
        for kind, (ours, theirs) in contenders.items():
            if kind == "pdq_quality":
                continue
            mine, peer = _cpu_ms(ours, some), _cpu_ms(theirs, some)
            print(f"  {kind:18} {mine:6.2f} {1e3 / mine:7.0f}   peer {peer:6.2f} {1e3 / peer:7.0f} {peer / mine:6.1f}x")
        for name, scorer in (*together.items(), ("pixel_hash", PictureHashes(("pixel_hash",)))):
            mine = _cpu_ms(scorer.prepare, some)
            print(f"  {name:18} {mine:6.2f} {1e3 / mine:7.0f}")


def _print_found(title: str, found: Sequence[Found]) -> None:
    print(f"\n{title}\n  {'':34} precision recall    F1")
    for one in found:
        print(f"  {one.name:34} {one.precision:9.3f} {one.recall:6.3f} {one.f1:5.3f}")


HUGE = """
import time
import numpy as np
from curate.dedup.picture_hashes import PictureHashes
def peak_mb():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) / 1024
small = np.zeros((100, 100, 3), np.uint8)
pixels = np.empty((10_000, 10_000, 3), np.uint8)
for row in range(0, 10_000, 10):
    pixels[row : row + 10] = np.random.default_rng(row).integers(0, 256, (10_000, 3), np.uint8)
for kind in ("dhash", "phash", "phash_imagededup", "pdq", "pixel_hash"):
    prepare = PictureHashes((kind,)).prepare
    prepare(small)
    before, started = peak_mb(), time.process_time()
    prepare(pixels)
    print(f"  {kind:18} {time.process_time() - started:5.2f} s   peak higher by {peak_mb() - before:4.0f} MB")
"""


def _huge() -> None:
    print("\n10,000 x 10,000, 286 MB of pixels")
    print(subprocess.run([sys.executable, "-c", HUGE], capture_output=True, text=True, check=True).stdout, end="")


if __name__ == "__main__":
    main()
