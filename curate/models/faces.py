"""Finds faces with UltraFace (RFB-320, 1.2 MB, MIT) through OpenCV, for blurring them and for leaving out portraits.

A picture becomes 320 x 240 px whatever its shape, so a face of less than some 10 px of those is not found, and one
call costs the same for every picture: 8 ms on one core. It is the small and fast end of face detectors, which is what a
first pass over millions wants; for the same columns by a better one, import them. The file is `version-RFB-320.onnx` of
Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB; the network has a score and a box for each of 4,420 places, and the
overlapping ones are taken out here. Of 24 photos of a textbook with something found, 4 had a find that is no face (a
bee, a stone, a broom, a dog): good enough to blur by, to be looked at before dropping by. OpenCV's wheels know no GPU,
so it stays on the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.filter import Pixels

__all__ = ["find_faces", "shrink", "suppress"]

WIDTH_PX, HEIGHT_PX = 320, 240
MEAN, SCALE = 127.0, 1 / 128
MOST_OVERLAP = 0.3
MOST_CANDIDATES = 200
MOST_BYTES = 64 << 20

Floats = npt.NDArray[np.float32]


def shrink(pixels: Pixels) -> Pixels:
    """A picture as the detector takes it: 240 x 320 x 3, by bilinear interpolation as its authors do."""
    small: Pixels = cv2.resize(pixels, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    return small


def find_faces(weights: str, digest: str, views: Sequence[Pixels], min_score: float) -> list[Floats]:
    """For each picture that `shrink` made its faces, float32 (faces, 4), the surest first: [x0, y0, x1, y1] in 0 to 1
    of width and height, with a score of at least `min_score`. The network of the file `weights` is kept for as long as
    its `digest` is asked for. Raises ConfigError for a file that is no such network."""
    network = _loaded(weights, digest)
    return [_faces(network, view, min_score) for view in views]


def suppress(boxes: Floats, scores: Floats) -> npt.NDArray[np.int64]:
    """Places of the boxes that stay, the surest first: a box that shares more than 0.3 of its union with a surer one
    that stays is taken out. Boxes (n, 4), scores (n,). Of more than 200 the surest are looked at."""
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[_overlaps(boxes[best], boxes[order]) <= MOST_OVERLAP]
    return np.array(kept, np.int64)


def _overlaps(box: Floats, others: Floats) -> Floats:
    """Intersection over union of a box with others; 0 where both are empty."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - shared
    overlaps: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps


def _faces(network: Any, view: Pixels, min_score: float) -> Floats:
    """One picture at a time, because OpenCV 4 cannot take several through this network."""
    network.setInput(cv2.dnn.blobFromImage(view, SCALE, (WIDTH_PX, HEIGHT_PX), (MEAN,) * 3))
    try:
        scores, boxes = network.forward(["scores", "boxes"])
    except cv2.error as error:
        raise ConfigError(f"the face detector's network cannot be run: {_first(error)}") from error
    if scores.shape[2:] != (2,) or boxes.shape[2:] != (4,) or scores.shape[1] != boxes.shape[1]:
        raise ConfigError(
            f"the face detector gives scores {scores.shape} and boxes {boxes.shape}, not (1, n, 2), (1, n, 4)"
        )
    sure = scores[0, :, 1] >= min_score
    found: Floats = boxes[0][sure].astype(np.float32)
    found = np.clip(found[suppress(found, scores[0, sure, 1])], 0, 1)
    visible = (found[:, 2:] > found[:, :2]).all(axis=1)
    return found[visible]


@lru_cache(maxsize=2)
def _loaded(weights: str, digest: str) -> Any:
    try:
        if os.path.getsize(weights) > MOST_BYTES:
            raise ConfigError(f"{weights} has more than {MOST_BYTES} bytes and is no UltraFace")
        network = cv2.dnn.readNetFromONNX(weights)
        names = set(network.getUnconnectedOutLayersNames())
    except cv2.error as error:
        raise ConfigError(f"{weights} is no ONNX network that OpenCV can read: {_first(error)}") from error
    if names != {"scores", "boxes"}:
        raise ConfigError(f"{weights} gives {', '.join(sorted(names))}, and UltraFace gives scores and boxes")
    return network


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
