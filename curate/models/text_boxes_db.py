"""Text boxes by a network of DB's kind (1911.08947): a picture in, a map of the probability that a pixel is text out.

OpenCV runs the network, so nothing heavier is needed. Its own reader of the map (TextDetectionModel_DB) wants two
dimensions; of the four that an export has OpenCV 4.11 makes no boxes and 5.0 an error, so the map is read here, and
both give the same. DB's numbers are kept: a pixel is text from .3 on, a region from a mean of .5 on, and it is grown by
its area times 2 over its girth, because DB learns shrunken regions. The picture is squashed to the input's size, and
DB's mean colour is taken out. Of a region only the upright box about it is told.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.filter import Pixels
from curate.manifest import fingerprint
from curate.models.text_boxes import Boxes

__all__ = ["DbDetector", "open_db"]

MEAN = (122.67891434, 116.66876762, 104.00698793)
"""Off blue, green and red, in this order, as DB's code has it."""
PIXEL_IS_TEXT, REGION_IS_TEXT, GROWTH, LEAST_SIDE_PX, MOST_BOXES = 0.3, 0.5, 2.0, 3, 300

ProbabilityMap = npt.NDArray[np.float32]


@lru_cache(maxsize=2)
def open_db(path: str, size: tuple[int, int], digest: str) -> DbDetector:
    """The detector, loaded once per process and file; `size` is its input's width and height. Raises ConfigError."""
    return DbDetector(path, size, digest)


class DbDetector:
    """One network. A thread takes an idle copy of it, or loads another: OpenCV's are not for two threads at once."""

    def __init__(self, path: str, size: tuple[int, int], digest: str) -> None:
        self._path, self._size, self._digest = path, size, digest
        self._idle: list[cv2.dnn.Net] = []
        try:
            shape = self._answer(np.zeros((size[1], size[0], 3), np.uint8)).shape
        except cv2.error as error:
            raise ConfigError(f"detector: OpenCV cannot run {path}: {str(error).strip().splitlines()[-1]}") from None
        if shape[-2:] != size[::-1] or np.prod(shape[:-2]) != 1:
            raise ConfigError(
                f"detector: {path} answers with shape {shape}, and not with one map of {size[0]} x {size[1]} px; "
                "it is no DB text detector, or another size belongs behind its @"
            )

    @property
    def fingerprint(self) -> str:
        return fingerprint(["text_boxes", "db", 1, self._digest, *self._size])

    def boxes(self, pixels: Pixels) -> Boxes:
        """As `TextDetector.boxes`, at most MOST_BOXES, the largest region first."""
        squashed = cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA)
        return boxes_of_map(self._answer(squashed).reshape(self._size[::-1]))

    def _answer(self, squashed: Pixels) -> ProbabilityMap:
        net = self._idle.pop() if self._idle else cv2.dnn.readNetFromONNX(self._path)
        net.setInput(cv2.dnn.blobFromImage(cv2.cvtColor(squashed, cv2.COLOR_RGB2BGR), 1 / 255, mean=MEAN))
        answer = np.array(net.forward(), np.float32)
        self._idle.append(net)
        return answer


def boxes_of_map(probability: ProbabilityMap) -> Boxes:
    """Boxes about the regions of a map (height, width). Not-a-number is no text."""
    height, width = probability.shape
    mask = (probability > PIXEL_IS_TEXT).astype(np.uint8)
    _, labels, regions, _ = cv2.connectedComponentsWithStats(mask)
    x, y, w, h, area = regions.T.astype(np.float64)
    mean = np.bincount(labels.ravel(), np.where(mask, probability, 0).ravel(), len(area)) / np.maximum(area, 1)
    fit = (mean >= REGION_IS_TEXT) & (np.minimum(w, h) >= LEAST_SIDE_PX)
    kept = np.flatnonzero(fit)
    kept = kept[np.argsort(-area[kept], kind="stable")[:MOST_BOXES]]
    x, y, w, h, area = (values[kept] for values in (x, y, w, h, area))
    length = np.hypot(w, h)
    margin = GROWTH * area / (2 * (length + area / length))
    boxes = np.stack([x - margin, y - margin, x + w + margin, y + h + margin], 1) / [width, height, width, height]
    return np.clip(boxes, 0, 1).astype(np.float32)
