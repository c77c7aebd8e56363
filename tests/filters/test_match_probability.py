"""Bounds on the probability that a caption describes its picture."""

import math

import pyarrow as pa
import pytest

from curate.config import build_filters
from curate.errors import ConfigError
from curate.rank import Rank
from filters.match_probability import MatchProbability

LOW, HIGH, UNKNOWN, OTHERS = "caption_does_not_match", "match_too_sure", "match_unknown", "match_not_among_best"


def test_bounds_are_included_and_what_is_unknown_is_never_good(reasons):
    values = pa.array([0.499999, 0.5, 0.9, 0.900001, None, math.nan, 0, 1], pa.float32()).to_pylist()
    found = reasons(MatchProbability(min=0.5, max=0.9), matcher_probability=values)
    assert found == [LOW, None, None, HIGH, UNKNOWN, UNKNOWN, LOW, HIGH]
    assert reasons(MatchProbability(min=0), matcher_probability=values)[4:] == [UNKNOWN, UNKNOWN, None, None]


def test_the_best_by_number(reasons):
    places = {"matcher_probability_rank": [2, 0, 1, None], "matcher_probability_above": [1, 0, 1, None]}
    values = {"matcher_probability": [0.5, 0.9, 0.5, None], "matcher_probability_total": [3] * 4, **places}
    assert reasons(MatchProbability(count=2), **values) == [OTHERS, None, None, UNKNOWN]
    assert reasons(MatchProbability(count=1, ties="datacomp"), **values) == [None, None, None, UNKNOWN]


def test_columns_are_those_of_the_model_that_is_named():
    rule = MatchProbability(fraction=0.3, model="itm")
    assert rule.columns == (
        "itm_probability",
        "itm_probability_rank",
        "itm_probability_above",
        "itm_probability_total",
    )
    assert rule.steps(()) == (Rank("itm_probability"),)
    with pytest.raises(ConfigError, match=r"\[filters.match_probability\] model = 'ITM'"):
        build_filters({"match_probability": {"min": 0.5, "model": "ITM"}})
