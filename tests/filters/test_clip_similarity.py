"""Bounds on the cosine of picture and caption, of whichever model."""

import math

import pyarrow as pa
import pytest

from curate.config import build_filters
from curate.errors import ConfigError
from curate.rank import Rank
from filters.clip_similarity import ClipSimilarity

LOW, HIGH, UNKNOWN, OTHERS = (
    "similarity_too_low",
    "similarity_too_high",
    "similarity_unknown",
    "similarity_not_among_best",
)


@pytest.mark.parametrize("bound", [0.28, 0.3, 0.281, 0.243])
def test_published_thresholds_are_included(reasons, bound):
    around = pa.array([bound - 1e-6, bound, bound + 1e-6], pa.float32()).to_pylist()
    assert reasons(ClipSimilarity(min=bound), clip_similarity=around) == [LOW, None, None]
    assert reasons(ClipSimilarity(max=bound), clip_similarity=around) == [None, None, HIGH]


def test_what_could_not_be_compared_is_never_good(reasons):
    values = [None, math.nan, -1.0, 1.0]
    assert reasons(ClipSimilarity(min=-1), clip_similarity=values) == [UNKNOWN, UNKNOWN, None, None]
    assert reasons(ClipSimilarity(max=1), clip_similarity=values) == [UNKNOWN, UNKNOWN, None, None]
    places = {"clip_similarity_rank": [None, None, 1, 0], "clip_similarity_above": [None, None, 1, 0]}
    for share in (0.5, 1.0):
        found = reasons(ClipSimilarity(fraction=share), clip_similarity=values, clip_similarity_total=[2] * 4, **places)
        assert found == [UNKNOWN, UNKNOWN, OTHERS if share < 1 else None, None]


def test_columns_are_those_of_the_model_that_is_named():
    assert ClipSimilarity(min=0.3).columns == ("clip_similarity",)
    assert ClipSimilarity(min=0.3, model="l14").columns == ("l14_similarity",)
    best = ClipSimilarity(count=3, model="l14", among="earlier")
    assert best.columns == (
        "l14_similarity",
        "l14_similarity_left_rank",
        "l14_similarity_left_above",
        "l14_similarity_left_total",
    )
    assert best.steps(()) == (Rank("l14_similarity", ()),)


@pytest.mark.parametrize("model", ["", "L14", "1b", "vit-l", "../x", "a" * 32])
def test_a_model_that_cannot_head_a_column(model):
    with pytest.raises(ConfigError, match=r"\[filters.clip_similarity\] model = "):
        build_filters({"clip_similarity": {"min": 0.3, "model": model}})
