"""The seam behind which text in pictures is found: `open_detector(spec).boxes(pixels)`, whoever does the finding.

`classical` needs no model, takes 5 ms of a core for a picture of 256 px, and finds lines of print. `onnx:FILE` is a
network of your own, for handwriting, curved and tiny text. Both answer with boxes in parts of the picture, so that what
is stored fits the picture at any size.
"""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np
import numpy.typing as npt

from curate.filter import Pixels
from curate.manifest import fingerprint
from curate.models.model_files import digest_of

__all__ = ["CLASSICAL", "Boxes", "TextDetector", "area_ratio", "check_detector", "open_detector"]

Boxes = npt.NDArray[np.float32]
"""(n, 4): [x0, y0, x1, y1] in 0..1 of width and height, x0 <= x1 and y0 <= y1."""

CLASSICAL = "classical"
CLASSICAL_VERSION = 1
"""Raised when the same picture gets other boxes."""
DB_SIZE, MOST_SIDE_PX = (736, 736), 4_096


class TextDetector(Protocol):
    """Finds text. Safe to use from several threads at once."""

    @property
    def fingerprint(self) -> str:
        """What its boxes depend on: method, version, the digest of a model's file."""

    def boxes(self, pixels: Pixels) -> Boxes:
        """Where text stands in a picture of any size, uint8 height x width x 3; none where there is none."""


def open_detector(spec: str) -> TextDetector:
    """`classical`; or `onnx:FILE`, a DB network (`curate.models.text_boxes_db`), with `@WIDTHxHEIGHT` behind it where
    its input is not 736 x 736. The same file is loaded once per process.

    Raises ValueError for another spec, ConfigError for a file that cannot be read or is no such network.
    """
    path, size = _parsed(spec)
    if not path:
        return ClassicalDetector()
    from curate.models.text_boxes_db import open_db

    return open_db(path, size, digest_of(path, "detector"))


def check_detector(spec: str) -> None:
    """Raise ValueError unless `spec` is one that `open_detector` knows; no file is touched."""
    _parsed(spec)


def area_ratio(boxes: Boxes) -> float:
    """The share of the picture that lies in at least one box, 0 to 1, exact; 0 without boxes.

    Between neighbouring edges of boxes nothing changes, so the cells of the grid of all edges are counted.
    """
    if not len(boxes):
        return 0.0
    xs, ys = (np.unique(boxes[:, side]).astype(np.float64) for side in ([0, 2], [1, 3]))
    left, right = np.searchsorted(xs, boxes[:, 0]), np.searchsorted(xs, boxes[:, 2])
    top, bottom = np.searchsorted(ys, boxes[:, 1]), np.searchsorted(ys, boxes[:, 3])
    step = np.zeros((len(ys), len(xs)), np.int64)
    for rows, columns, change in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(step, (rows, columns), change)
    covered = step.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
    return min(float(np.diff(ys) @ covered @ np.diff(xs)), 1.0)


class ClassicalDetector:
    """Lines of printed text without a model (`curate.models.text_boxes_classical`)."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(["text_boxes", CLASSICAL, CLASSICAL_VERSION])

    def boxes(self, pixels: Pixels) -> Boxes:
        from curate.models.text_boxes_classical import find_lines

        return find_lines(pixels)


def _parsed(spec: str) -> tuple[str, tuple[int, int]]:
    """The path of a network and its input's width and height; no path for the classical one."""
    if spec == CLASSICAL:
        return "", DB_SIZE
    found = re.fullmatch(r"onnx:(.+?)(?:@(\d{1,5})x(\d{1,5}))?", spec)
    if not found:
        raise ValueError(f'detector = {spec!r} is not known; write "classical", "onnx:FILE" or "onnx:FILE@640x640"')
    size = (int(found[2]), int(found[3])) if found[2] else DB_SIZE
    if any(side % 32 or not 32 <= side <= MOST_SIDE_PX for side in size):
        raise ValueError(f"detector = {spec!r}: width and height are multiples of 32, from 32 to {MOST_SIDE_PX:,}")
    return found[1], size
