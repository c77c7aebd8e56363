"""Overlapping boxes are taken out by the textbook's rule, and faces are found where eyes see them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ConfigError
from curate.fetch.image import decode
from curate.models import faces
from curate.models.faces import find_faces, shrink, suppress

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WEIGHTS = DATA / "models" / "ultraface" / "models" / "onnx" / "version-RFB-320.onnx"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason="the model of shared/data is not here")
BLANK = np.zeros((240, 320, 3), np.uint8)
COLOR = (255, 127, 63)
COLORED = np.full((240, 320, 3), COLOR, np.uint8)


def overlap(one, other):
    """Intersection over union of two boxes."""
    width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)) - width * height
    return width * height / union if union > 0 else 0.0


boxes = st.lists(st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(0, 5)] * 2, st.integers(0, 20)), max_size=30)


@given(boxes)
def test_suppress_keeps_the_surest_of_those_that_overlap(drawn):
    places = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in drawn], np.float32).reshape(-1, 4)
    scores = np.array([score for *_, score in drawn], np.float32)
    expected: list[int] = []
    for place in sorted(range(len(drawn)), key=lambda n: (-scores[n], n)):
        if all(overlap(places[place].tolist(), places[kept].tolist()) <= 0.3 for kept in expected):
            expected.append(place)
    assert suppress(places, scores).tolist() == expected


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        ([0, 0, 10, 10], [0]),  # the same
        ([0, 0, 10, 3], [0, 1]),  # 30 of 100: 0.3 stays
        ([0, 0, 10, 3.1], [0]),
        ([20, 20, 30, 30], [0, 1]),
    ],
)
def test_how_much_overlap_is_allowed(second, kept):
    places = np.array([[0, 0, 10, 10], second], np.float32)
    assert suppress(places, np.array([0.9, 0.8], np.float32)).tolist() == kept


def test_many_candidates_are_bounded():
    places = np.array([[n, 0, n + 0.5, 1] for n in range(5_000)], np.float32)
    kept = suppress(places, np.linspace(0, 1, 5_000, dtype=np.float32))
    assert kept.tolist() == list(range(4_999, 4_799, -1))


@needs_weights
@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("introduction-anthropology/ANTHRO_Figure_01_07_011", [[0.34, 0.13, 0.61, 0.44]]),
        ("introduction-anthropology/ANTHRO_Figure_01_01_003", [[0.32, 0.04, 0.52, 0.48], [0.56, 0.04, 0.76, 0.46]]),
        ("life-liberty-and-pursuit-happiness/BRI_APUSH_04_03_JMadison", [[0.45, 0.3, 0.58, 0.44]]),
    ],
)
def test_faces_are_where_eyes_see_them_in_a_picture_and_its_mirror_image(name, seen):
    pixels = decode((DATA / "pairs" / "openstax" / f"{name}.jpg").read_bytes())
    views = [shrink(pixels), shrink(np.ascontiguousarray(pixels[:, ::-1])), BLANK]
    found, mirrored, none = find_faces(str(WEIGHTS), "digest", views, 0.7)
    for box in seen:
        assert max(overlap(box, other) for other in found.tolist()) > 0.75
        flipped = [1 - box[2], box[1], 1 - box[0], box[3]]
        assert max(overlap(flipped, other) for other in mirrored.tolist()) > 0.65
    assert found.dtype == np.float32
    assert none.shape == (0, 4)


@needs_weights
def test_a_lower_score_finds_more_and_boxes_are_inside():
    paths = sorted((DATA / "pairs" / "openstax").rglob("*.jpg"))[::60]
    views = [shrink(decode(path.read_bytes())) for path in paths]
    sure, unsure = (find_faces(str(WEIGHTS), "digest", views, score) for score in (0.95, 0.3))
    assert 0 < sum(map(len, sure)) < sum(map(len, unsure))
    assert all(len(few) <= len(many) for few, many in zip(sure, unsure, strict=True))
    every = np.concatenate(unsure)
    assert (every >= 0).all()
    assert (every <= 1).all()
    assert (every[:, 2:] > every[:, :2]).all()


class Double:
    """A network that gives these scores and boxes, for red, green and blue around 127."""

    def __init__(self, scores, boxes):
        self.answer = np.array([[(1 - s, s) for s in scores]], np.float32), np.array([boxes], np.float32)

    def setInput(self, blob):
        assert blob.shape == (1, 3, 240, 320)
        assert blob[0, :, 0, 0].tolist() == [(value - 127) / 128 for value in COLOR]

    def forward(self, names):
        assert names == ["scores", "boxes"]
        return self.answer


def test_boxes_are_cut_at_the_border_and_odd_ones_left_out(monkeypatch):
    boxes = [
        [-0.2, 0.1, 0.4, 0.5],
        [0.5, 0.5, np.nan, 1],
        [0.6, 0.6, 0.6, 0.9],
        [1.1, 0, 1.3, 0.2],
        [0.7, 0.7, 0.9, 1.2],
    ]
    monkeypatch.setattr(faces, "_loaded", lambda *_: Double([0.7, 0.9, 0.9, 0.9, 0.69], boxes))
    (found,) = find_faces("w", "d", [COLORED], 0.7)
    assert found.round(3).tolist() == [pytest.approx([0, 0.1, 0.4, 0.5])]
    monkeypatch.setattr(faces, "_loaded", lambda *_: Double([0.7, 0.9, 0.9, 0.9, np.nan], boxes))
    assert len(find_faces("w", "d", [COLORED], 0.0)[0]) == 1
    monkeypatch.setattr(faces, "_loaded", lambda *_: Double([0.7], [[0, 0, 1]]))
    with pytest.raises(ConfigError, match=r"boxes \(1, 1, 3\)"):
        find_faces("w", "d", [COLORED], 0.7)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    path = tmp_path / "w.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(ConfigError, match=r"w\.onnx is no ONNX network that OpenCV can read"):
        find_faces(str(path), "a", [BLANK], 0.7)
    with open(path, "wb") as file:
        file.truncate(faces.MOST_BYTES + 1)
    with pytest.raises(ConfigError, match=r"w\.onnx has more than"):
        find_faces(str(path), "b", [BLANK], 0.7)
