"""Thresholds are numpy's quantiles and DataComp's; precision, recall and AUC are those of a count by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_shards import BROKEN, ToyPair, toy_pairs, write_shard, write_tiny_clip

from curate.models.clip import open_clip_model
from curate.models.settings import ModelSettings
from curate.train.calibration import CalibrateSettings, auc, calibrate, fits, score_pairs, separation
from curate.train.pairs import PairSource, open_pairs

NAN = float("nan")
scores = st.lists(st.integers(-50, 50).map(lambda n: n / 64), min_size=1, max_size=60)
fractions = st.floats(0.01, 1)
unhurried = settings(deadline=None)


def row(values, fraction, right=None):
    (found,) = calibrate(np.array(values, np.float32), [fraction], right).to_pylist()
    return found


@unhurried
@given(scores, fractions)
def test_thresholds_are_numpys_and_datacomps(values, fraction):
    found = row(values, fraction)
    n, wanted = len(values), int(len(values) * fraction)
    if wanted:
        assert found["threshold"] == np.quantile(np.array(values, np.float32), (n - wanted) / n, method="higher")
        assert found["rows"] == sum(value >= found["threshold"] for value in values) >= wanted
        assert sum(value > found["threshold"] for value in values) < wanted
    else:
        assert (found["threshold"], found["rows"]) == (None, 0)
    if wanted < n:
        assert found["datacomp_threshold"] == -np.sort(-np.array(values))[wanted]
        assert found["datacomp_rows"] == sum(value >= found["datacomp_threshold"] for value in values)
    else:
        assert (found["datacomp_threshold"], found["datacomp_rows"]) == (None, 0)


@pytest.mark.parametrize(
    ("values", "fraction", "threshold", "rows", "datacomp", "datacomp_rows"),
    [
        (range(10), 0.3, 7, 3, 6, 4),
        (range(10), 0.05, None, 0, 9, 1),
        (range(10), 1.0, 0, 10, None, 0),
        ([5, 5, 5, 5, 1, 1, 1, 1, 1, 1], 0.3, 5, 4, 5, 4),
        ([5, 5, 5, 1, 1, 1, 1, 1, 1, 1], 0.3, 5, 3, 1, 10),
        ([NAN, 3, NAN, 1, NAN, 2], 0.34, 3, 1, 2, 2),
        ([NAN, NAN], 0.5, None, 0, None, 0),
        ([0.1, 0.2, 0.3], 0.34, 0.3, 1, 0.2, 2),
    ],
)
def test_at_the_bounds(values, fraction, threshold, rows, datacomp, datacomp_rows):
    found = row(list(values), fraction)
    bounds = [found["threshold"], found["datacomp_threshold"]]
    assert bounds == [None if bound is None else float(np.float32(bound)) for bound in (threshold, datacomp)]
    assert (found["rows"], found["datacomp_rows"]) == (rows, datacomp_rows)


def test_the_error_of_a_fraction_is_that_of_a_sample():
    assert row(np.arange(100_000), 0.15)["fraction_error"] == pytest.approx(0.00113, abs=1e-5)


@unhurried
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=40), fractions)
def test_precision_and_recall_are_a_count_by_hand(rows, fraction):
    values, right = zip(*rows, strict=True)
    found = row(values, fraction, np.array(right))
    kept = [good for value, good in rows if found["threshold"] is not None and value >= found["threshold"]]
    assert found["precision"] == (sum(kept) / len(kept) if kept else None)
    assert found["recall"] == (sum(kept) / sum(right) if any(right) else None)


@unhurried
@given(st.lists(st.integers(0, 6), min_size=1), st.lists(st.integers(0, 6), min_size=1))
def test_auc_is_a_count_of_pairs(ours, theirs):
    wins = np.mean([(a > b) + (a == b) / 2 for a in ours for b in theirs])
    assert auc(np.array(ours, np.float32), np.array(theirs, np.float32)) == pytest.approx(wins)


def test_what_has_no_score_counts_for_no_auc():
    assert auc(np.array([1, NAN], np.float32), np.array([0.5, NAN, NAN], np.float32)) == 1
    assert auc(np.array([NAN], np.float32), np.array([0.5], np.float32)) is None


def test_which_toy_rows_fit():
    labels = [
        "clean",
        "cmyk",
        "exact_copy",
        "other_scene",
        "wrong_attribute",
        "boilerplate",
        "blurred",
        None,
        "unheard",
    ]
    assert fits(labels).tolist() == [True, True, True, False, False, False, False, True, True]
    values = np.array([0.9, 0.8, 0.7, 0.1, 0.75, 0.2, 0.2, 0.6, 0.6], np.float32)
    assert separation(values, labels) == {"other_scene": 1.0, "wrong_attribute": pytest.approx(2 / 5)}
    assert separation(values[:3], labels[:3]) == {"other_scene": None, "wrong_attribute": None}


def test_scores_are_those_of_a_run_at_their_places(tmp_path):
    model = ModelSettings(weights=write_tiny_clip(tmp_path / "clip"), device="cpu", precision="fp32")
    pairs = toy_pairs(9)
    pairs[4] = ToyPair(BROKEN, "a red star")
    found = open_pairs(PairSource((write_shard(tmp_path / "a", "00000", pairs),)))
    rows = [8, 4, 0, 3]
    values = score_pairs(found, rows, model, threads=2)
    assert np.isnan(values).tolist() == [False, True, False, False]
    clip = open_clip_model(model)
    for place, number in ((0, 8), (2, 0), (3, 3)):
        picture = clip.pictures([clip.prepare(found.decoded(number))])
        assert values[place] == pytest.approx(float((picture * clip.texts([pairs[number].caption])).sum()), abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"shards": ()}, "names no folder"), ({"fractions": ()}, "asks for no threshold"),
     ({"fractions": (0.1, 0.0)}, "fractions = 0.0 is out of range"), ({"fractions": (1.5,)}, "fractions = 1.5"),
     ({"rows": -1}, "rows = -1 is out of range")],
)  # fmt: skip
def test_settings_say_what_is_wrong(wrong, words):
    with pytest.raises(ValueError, match=words):
        CalibrateSettings(**{"shards": ("pool",), **wrong})
