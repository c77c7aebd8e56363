"""Without the text in it, a picture of its own caption has nothing left to fit; other pictures keep their score."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from curate.config import read_toml
from curate.filter import Batch
from curate.models.masked_scores import ScoreMasked
from curate.models.pair_scores import ScorePairs
from curate.models.settings import ModelSettings
from curate.models.text_boxes import open_detector
from curate.rank import Rank
from curate.toyweb.caption import describe
from curate.toyweb.render import render
from curate.toyweb.scene import Group, Scene
from filters.masked_similarity import MaskedSimilarity

SCENE = Scene(Group(2, "red", "circle"), Group(1, "blue", "square"), "above")
SETTINGS = ModelSettings(precision="fp32")
ROOT = Path(__file__).resolve().parents[2]


def pictures() -> list[np.ndarray | None]:
    plain = render(SCENE, (256, 256), 3)
    written = plain.copy()
    for line in range(5):
        cv2.putText(written, "RED CIRCLES AND", (8, 40 + 45 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2)
    return [plain, written, None, plain]


def scores(scorer) -> list[float | None]:
    views = [None if pixels is None else scorer.prepare(pixels) for pixels in pictures()]
    captions = pa.table({"caption": [describe(SCENE)] * 3 + [None]})
    (column,) = [c for n, c in scorer.score(Batch(captions, views)).items() if n.endswith("similarity")]
    return column.to_pylist()


def test_what_is_masked_is_compared_again():
    before, after = scores(ScorePairs("clip", SETTINGS)), scores(ScoreMasked("clip", SETTINGS))
    plain, written = pictures()[:2]
    assert len(open_detector("classical").boxes(plain)) == 0
    assert len(open_detector("classical").boxes(written)) > 0
    assert after[0] == pytest.approx(before[0], abs=1e-6)
    assert abs(after[1] - before[1]) > 1e-3
    assert before[2:] == after[2:] == [None, None]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0.281, None),
        (0.2809, "masked_similarity_too_low"),
        (None, "masked_similarity_unknown"),
        (float("nan"), "masked_similarity_unknown"),
    ],
)
def test_the_bound_is_included(reasons, value, reason):
    assert reasons(MaskedSimilarity(min=0.281), clip_masked_similarity=[value]) == [reason]


def test_the_detector_is_part_of_what_a_score_depends_on(monkeypatch):
    one = ScoreMasked("clip", SETTINGS)
    assert one.identity() == ScoreMasked("clip", SETTINGS).identity()
    monkeypatch.setattr("curate.models.text_boxes.CLASSICAL_VERSION", 99)
    assert one.identity()["detector"] != one.identity()["model"]
    assert ScoreMasked("clip", ModelSettings(precision="bf16")).identity() != one.identity()


def test_the_preset_keeps_half_of_what_is_left():
    table = read_toml(ROOT / "configs" / "tmars.toml")["filters"]["masked_similarity"]
    rule = MaskedSimilarity(**table)
    (rank,) = rule.steps((("clip_similarity", MaskedSimilarity(min=0)),))
    assert isinstance(rank, Rank)
    assert (rule.fraction, rank.of_the_left, rank.rules is not None) == (0.5, True, True)
    (scorer,) = rule.scorers({"b32": SETTINGS})
    assert scorer.writes.keys() == {"b32_masked_similarity"}
