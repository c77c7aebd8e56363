"""Edges that people move thresholds to: round, few, with the bounds among them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from count_sets import Made, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.report.counting.edges import MOST_BINS, edges_of, just_above
from curate.report.counting.layout import layout_of
from curate.report.counting.reading import Troubles
from curate.report.counting.units import count_unit
from filters.imported import Imported

DICE = np.random.default_rng(0)
NORMAL = DICE.normal(0.27, 0.06, 5_000)
AREAS = DICE.lognormal(6, 2, 5_000)
WORDS = np.round(DICE.lognormal(2.2, 0.8, 5_000))


@pytest.mark.parametrize(
    ("name", "sample", "whole", "low", "high", "log"),
    [
        ("clip_similarity", NORMAL, False, 0.22, None, False),
        ("nsfw_probability", DICE.beta(0.2, 9, 5_000), False, None, 0.8, False),
        ("laplacian_variance", AREAS, False, 30.0, None, True),
        ("laplacian_variance", np.concatenate([AREAS, np.zeros(100)]), False, 30.0, None, True),
        ("laplacian_variance", np.concatenate([AREAS, np.zeros(900)]), False, 30.0, None, False),
        ("laplacian_variance", AREAS, False, 0.0, None, False),
        ("original_bytes", np.round(AREAS) + 1, True, None, 10**6, True),
        ("caption_words", WORDS, True, 3, 60, False),
        ("caption_chars", WORDS * 6, True, 10, None, True),
        ("aspect_ratio", np.exp(DICE.normal(0, 0.3, 999)), False, None, None, True),
        ("width", DICE.uniform(100, 256, 999), True, 150, None, False),
        ("laplacian_variance", AREAS, False, None, 0.0, False),
        ("laplacian_variance", np.concatenate([AREAS, [1e-300] * 9]), False, None, None, False),
        ("a_score", np.full(9, 7.0), False, None, None, False),
        ("a_score", np.zeros(0), False, None, None, False),
        ("a_score", np.zeros(0), False, 0.5, 0.5, False),
        ("a_score", np.array([-1e300, 1e300]), False, 0.0, None, False),
        ("a_score", np.array([-1.7e308, 1.7e308]), False, 0.0, None, False),
        ("a_score", np.array([5e-324, 1.0]), False, None, None, False),
    ],
)
def test_edges(name: str, sample: np.ndarray, whole: bool, low: float | None, high: float | None, log: bool) -> None:
    edges = edges_of(name, sample, whole, low, high)
    assert edges.log == log
    assert all(map(math.isfinite, edges.values))
    assert all(a < b for a, b in pairwise(edges.values))
    assert 1 <= len(edges.values) - 1 <= MOST_BINS * (1 + whole) + 4
    for bound in (low, just_above(high, whole) if high is not None else None):
        if bound is not None:
            assert bound in edges.values[1:-1]


def test_edges_are_round_numbers() -> None:
    assert edges_of("a_score", NORMAL, False, None, None).values[:3] == (0.08, 0.09, 0.1)
    assert edges_of("a_px", np.arange(1000.0), True, None, None).values[:3] == (0, 10, 20)
    assert {1000, 1250, 1600, 2000} <= {*edges_of("a_variance", AREAS, False, None, None).values}


def test_an_edge_close_to_a_bound_gives_way() -> None:
    told = edges_of("a_score", NORMAL, False, 0.2201, None).values
    assert 0.2201 in told
    assert 0.22 not in told
    whole = edges_of("a_words", np.arange(30.0), True, 3, 9).values
    assert {3, 9, 10} <= {*whole}


def test_bins_of_whole_numbers_do_not_shrink() -> None:
    told = edges_of("caption_chars", np.round(AREAS) + 1, True, None, None)
    widths = np.diff(told.values)
    assert told.log
    assert (np.diff(widths[:-1]) >= 0).all()
    assert all(edge == int(edge) for edge in told.values)


def test_outliers_do_not_press_the_others_together() -> None:
    told = edges_of("a_score", np.concatenate([NORMAL, [1e9]]), False, None, None).values
    assert told[-1] < 1


BOUND = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-100, 100))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), max_size=20), st.booleans(), BOUND, BOUND)
def test_any_bounds_have_a_bin_on_either_side(sample: list[float], whole: bool, low: float, high: float) -> None:
    if low is not None and high is not None:
        low, high = sorted((low, high))
    values = np.round(sample) if whole else np.array(sample)
    told = edges_of("a_count", values.astype(np.float64), whole, low, high).values
    assert all(a < b for a, b in pairwise(told))
    assert len(told) <= MOST_BINS * (1 + whole) + 5
    assert low is None or low in told[1:-1]
    assert high is None or just_above(high, whole) in told[1:-1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bounds", [{"min": 1e300}, {"max": 1e300}, {"min": -1e300, "max": 0.5}])
@pytest.mark.parametrize("kind", [pa.float16(), pa.float32()])
def test_a_bound_beyond_what_a_column_holds_is_counted_like_any_other(bounds, kind):
    made, rules = Made(), (("imported", Imported(column="score", **bounds)),)
    made.shards([pairs(3, score=pa.array([0.25, 0.5, 0.75], pa.float32()).cast(kind))])
    record = made.decide(rules, 1)
    counts = count_unit(layout_of(made.storage, Troubles()).samples, "", record.filters("samples"), Troubles())
    (told,) = (own for own in counts.histograms(Troubles()) if own.filter)
    assert (sum(told.rows), sum(told.left)) == (3, 3)
