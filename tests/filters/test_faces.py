"""Faces become boxes that the blur takes, a count and a share of the picture; bounds are included."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ConfigError
from curate.fetch.faces import blur
from curate.fetch.image import decode
from curate.filter import Batch
from curate.models import faces as model
from filters.faces import BOXES, Faces

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WEIGHTS = DATA / "models" / "ultraface" / "models" / "onnx" / "version-RFB-320.onnx"


@pytest.mark.parametrize(
    ("ratio", "reason"),
    [(0.4, None), (0.401, "face_too_large"), (0.0, None), (None, "faces_unknown"), (math.nan, "faces_unknown")],
)
def test_the_share_is_bounded(reasons, ratio, reason):
    assert reasons(Faces("w"), face_area_ratio=[ratio]) == [reason]


def test_the_count_is_bounded_where_asked_for(reasons):
    rule = Faces("w", max_count=2)
    found = reasons(rule, face_area_ratio=[0.1, 0.1, None], face_count=[2, 3, None])
    assert found == [None, "too_many_faces", "faces_unknown"]
    count_alone = Faces("w", max_area_ratio=None, max_count=0)
    assert reasons(count_alone, face_count=[0, 1, None]) == [None, "too_many_faces", "faces_unknown"]


def test_without_bounds_only_that_is_dropped_which_nobody_looked_at(reasons):
    assert reasons(Faces("w", max_area_ratio=None), face_area_ratio=[0.9, None]) == [None, "faces_unknown"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB"),
        ({"weights": "w", "max_area_ratio": 1.1}, "max_area_ratio = 1.1"),
        ({"weights": "w", "max_count": -1}, "max_count = -1"),
        ({"weights": "w", "min_score": 2}, "min_score = 2"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        Faces(**settings)


def test_columns_of_pictures_with_without_and_none(monkeypatch, tmp_path):
    found = [np.array([[0, 0, 0.5, 0.25], [0.5, 0.5, 1, 1]], np.float32), np.empty((0, 4), np.float32)]
    monkeypatch.setattr(model, "find_faces", lambda weights, digest, views, min_score: found[: len(views)])
    (tmp_path / "w.onnx").write_bytes(b"weights")
    scorer = Faces(str(tmp_path / "w.onnx")).scorer()
    view = scorer.prepare(np.zeros((9, 9, 3), np.uint8))
    assert view.shape == (240, 320, 3)
    answer = scorer.score(Batch(pa.table({"key": pa.nulls(3)}), [view, None, view]))
    assert {name: values.type for name, values in answer.items()} == dict(scorer.writes)
    assert answer["face_boxes"].to_pylist() == [[[0, 0, 0.5, 0.25], [0.5, 0.5, 1, 1]], None, []]
    assert answer["face_count"].to_pylist() == [2, None, 0]
    assert answer["face_area_ratio"].to_pylist() == [0.25, None, 0]
    nobody = scorer.score(Batch(pa.table({"key": pa.nulls(1)}), [None]))
    assert nobody["face_boxes"].type == BOXES
    assert nobody["face_boxes"].to_pylist() == [None]


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the model of shared/data is not here")
def test_a_portrait_is_found_and_its_boxes_blur_the_face():
    path = DATA / "pairs" / "openstax" / "introduction-anthropology" / "ANTHRO_Figure_06_05_015.jpg"
    pixels = decode(path.read_bytes())
    scorer = Faces(str(WEIGHTS)).scorer()
    scorer.require()
    answer = scorer.score(Batch(pa.table({"key": pa.nulls(1)}), [scorer.prepare(pixels)]))
    assert answer["face_count"].to_pylist() == [1]
    assert 0.2 < answer["face_area_ratio"][0].as_py() < 0.3
    blurred = blur(pixels, answer["face_boxes"].to_pylist()[0]).astype(int)
    change = np.abs(blurred - pixels).mean(axis=2)
    assert change[80:150, 80:150].mean() > 5
    assert change[220:].mean() < 0.5


def test_the_weights_and_the_score_are_part_of_what_it_is(tmp_path):
    path = tmp_path / "w.onnx"
    path.write_bytes(b"weights")
    before = Faces(str(path)).scorer().identity()
    assert Faces(str(path), max_count=3).scorer().identity() == before
    assert Faces(str(path), min_score=0.5).scorer().identity() != before
    path.write_bytes(b"other weights")
    assert Faces(str(path)).scorer().identity() != before
    with pytest.raises(ConfigError, match=r"w\.onnx is no ONNX network"):
        Faces(str(path)).scorer().require()
    path.unlink()
    with pytest.raises(ConfigError, match=r"\[filters.faces\] weights = .*w.onnx' cannot be read"):
        Faces(str(path)).scorer().require()
