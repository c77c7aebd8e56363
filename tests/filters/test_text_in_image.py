"""The scorer writes boxes and their area; the filter holds the area to a bound."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageFont

from curate.errors import ConfigError
from curate.filter import Batch
from curate.models.text_boxes import open_detector
from filters.text_in_image import FindText, TextInImage


def slide(words):
    image = Image.new("RGB", (256, 160), (250, 250, 250))
    ImageDraw.Draw(image).text((20, 60), words, fill=(10, 10, 60), font=ImageFont.load_default(22))
    return np.asarray(image)


def written(pictures):
    """The columns of the scorer, as a run makes them: `prepare` on each picture, then one batch."""
    scorer = TextInImage(max_area_ratio=0.5).scorer()
    views = [None if pixels is None else scorer.prepare(pixels) for pixels in pictures]
    answer = scorer.score(Batch(pa.table({"key": pa.nulls(len(views))}), views))
    assert {name: column.type for name, column in answer.items()} == dict(scorer.writes)
    return [answer[name].to_pylist() for name in scorer.writes]


def test_boxes_and_area_of_pictures_with_text_without_and_of_none():
    (text, blank, dot, missing), ratios = written([slide("LESSON ONE"), slide(""), np.zeros((1, 1, 3), np.uint8), None])
    found = open_detector("classical").boxes(slide("LESSON ONE"))
    assert text == found.tolist()
    assert 0.02 < ratios[0] < 0.3
    assert (blank, dot, missing) == ([], [], None)
    assert ratios[1:] == [0, 0, None]


@pytest.mark.parametrize(
    ("ratio", "reason"),
    [
        (0.0, None),
        (0.2, None),
        (0.2001, "too_much_text"),
        (1.0, "too_much_text"),
        (None, "text_in_image_unknown"),
        (float("nan"), "text_in_image_unknown"),
    ],
)
def test_the_bound_is_included(reasons, ratio, reason):
    assert reasons(TextInImage(max_area_ratio=0.2), text_area_ratio=[ratio]) == [reason]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_area_ratio": 1.1}, "max_area_ratio = 1.1"),
        ({"max_area_ratio": -0.1}, "max_area_ratio = -0.1"),
        ({"max_area_ratio": 0.1, "detector": "fast"}, "'fast'"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        TextInImage(**settings)


def test_another_detector_is_another_fingerprint(tmp_path):
    scorer = FindText()
    assert scorer.identity() == FindText("classical").identity()
    assert scorer.identity()["detector"] == scorer.provenance()["text_detector_fingerprint"]
    with pytest.raises(ConfigError, match=r"none\.onnx"):
        FindText(f"onnx:{tmp_path / 'none.onnx'}").require()
