"""Bounds on the probability that a model affirms the caption."""

import math

import pyarrow as pa
import pytest

from curate.errors import ConfigError
from curate.models.settings import build_models
from filters.vqa_score import VqaScore

LOW, UNKNOWN = "caption_denied", "caption_not_asked_about"


def test_bounds_are_included_and_what_is_unknown_is_never_good():
    values = pa.array([0.499999, 0.5, 0.9, 0.900001, None, math.nan], pa.float32()).to_pylist()
    high = "caption_affirmed_too_surely"
    found = VqaScore(min=0.5, max=0.9).judge(pa.table({"vqa_probability": pa.array(values, pa.float32())}))
    assert found.to_pylist() == [LOW, None, None, high, UNKNOWN, UNKNOWN]


def test_the_model_must_be_one_that_is_asked():
    asked = build_models({"vqa": {"kind": "matcher", "weights": "x/y", "head": "vqa"}})
    assert VqaScore(min=0.5).scorers(asked) == ()
    with pytest.raises(ConfigError, match=r'matches by its own head; write head = "vqa"'):
        VqaScore(min=0.5).scorers(build_models({"vqa": {"kind": "matcher"}}))
    with pytest.raises(ConfigError, match=r"the config has no \[models.vqa\]"):
        VqaScore(min=0.5).scorers({})
