"""Drops pictures that are mostly a face, and finds the faces of all, so that an export can blur them.

`weights` is the path of UltraFace, `version-RFB-320.onnx` of Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB (MIT,
1.2 MB). data-juicer keeps pictures whose largest face takes at most .4 of the area. 8 ms a picture on one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.config import require_range
from curate.filter import Batch, Filter, Pixels, Scorer, Verdict, above, check_bounds, verdict
from curate.gauge import Gauge
from curate.manifest import fingerprint
from curate.models.model_files import digest_of

BOXES = pa.list_(pa.list_(pa.float32()))


@dataclass(frozen=True)
class FindFaces(Scorer):
    """The faces of each picture; null without a picture, and an empty list where there is none.

    `face_boxes`: [x0, y0, x1, y1] in 0 to 1 of the stored picture's width and height, the surest first, as
    `curate.fetch.faces.blur` takes them. `face_area_ratio`: the largest box by the area of the picture, 0 without one.
    `min_score`: how sure the detector must be; its authors take .7.
    """

    weights: str
    min_score: float = 0.7

    name: ClassVar[str] = "faces"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("image",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {
        "face_boxes": BOXES,
        "face_count": pa.int32(),
        "face_area_ratio": pa.float32(),
    }

    def identity(self) -> Any:
        settings = {"weights": self._digest, "min_score": self.min_score}
        return {"scorer": self.name, "version": self.version, "settings": settings}

    def provenance(self) -> Mapping[str, str]:
        about = {"model": Path(self.weights).name, "model_digest": self._digest}
        return {**about, "model_fingerprint": fingerprint(self.identity())}

    def require(self) -> None:
        from curate.models.faces import find_faces

        find_faces(self.weights, self._digest, [self.prepare(np.zeros((8, 8, 3), np.uint8))], self.min_score)

    @property
    def _digest(self) -> str:
        return digest_of(self.weights, "[filters.faces] weights")

    def prepare(self, pixels: Pixels) -> Pixels:
        from curate.models.faces import shrink

        return shrink(pixels)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        from curate.models.faces import find_faces

        views = [view for view in batch.pixels if view is not None]
        faces = iter(find_faces(self.weights, self._digest, views, self.min_score))
        found = [None if view is None else next(faces) for view in batch.pixels]
        areas = [
            None
            if boxes is None
            else max(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).tolist(), default=0)
            for boxes in found
        ]
        return {
            "face_boxes": pa.array([None if boxes is None else boxes.tolist() for boxes in found], BOXES),
            "face_count": pa.array([None if boxes is None else len(boxes) for boxes in found], pa.int32()),
            "face_area_ratio": pa.array(areas, pa.float32()),
        }


@dataclass(frozen=True)
class Faces(Filter):
    """Keeps pictures whose largest face takes at most `max_area_ratio` of the area, with at most `max_count` faces if
    given, both included. One in which nobody looked for faces is dropped, with or without a bound: none of its faces
    could be blurred."""

    version: ClassVar[int] = 2

    weights: str = ""
    max_area_ratio: float | None = 0.4
    max_count: int | None = None
    min_score: float = 0.7

    reads: ClassVar[tuple[str, ...]] = ("face_area_ratio",)
    reasons: ClassVar[Mapping[str, str]] = {
        "faces_unknown": "whether the picture has faces could not be told",
        "face_too_large": "a face takes most of the picture",
        "too_many_faces": "the picture has too many faces",
    }

    def __post_init__(self) -> None:
        check_bounds(None, self.max_area_ratio, most=1, name="{}_area_ratio")
        check_bounds(None, self.max_count, name="{}_count")
        require_range("min_score", self.min_score, 0, 1)
        if not self.weights:
            raise ValueError(
                "needs a value for 'weights': the path of the face detector, version-RFB-320.onnx of "
                "Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB on GitHub, in models/onnx"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        bounds = {"face_area_ratio": self.max_area_ratio, "face_count": self.max_count}
        return tuple(name for name, bound in bounds.items() if bound is not None) or self.reads

    def scorer(self) -> Scorer:
        return FindFaces(self.weights, self.min_score)

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        area = Gauge(
            "face_area_ratio",
            ("face_area_ratio",),
            max=self.max_area_ratio,
            too_high="face_too_large",
            max_setting="max_area_ratio",
        )
        count = Gauge(
            "face_count", ("face_count",), max=self.max_count, too_high="too_many_faces", max_setting="max_count"
        )
        return tuple(gauge for gauge in (area, count) if gauge.max is not None)

    def judge(self, columns: pa.Table) -> Verdict:
        rules = [("faces_unknown", columns[self.columns[0]].is_null(nan_is_null=True))]
        if self.max_area_ratio is not None:
            rules.append(("face_too_large", above(columns["face_area_ratio"], self.max_area_ratio)))
        if self.max_count is not None:
            rules.append(("too_many_faces", above(columns["face_count"], self.max_count)))
        return verdict(len(columns), *rules)
