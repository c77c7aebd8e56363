"""The verdict on each kind of row, and what a config may say."""

import math

import pyarrow as pa
import pytest

from curate.config import build, build_filters
from curate.errors import ConfigError
from curate.plan import Job, check
from curate.signals import signal_steps
from filters.soft_cap import SoftCap


def test_reasons_of_rows():
    rule = SoftCap("score", count=5)
    rows = pa.table(
        {
            "score": pa.array([0.1, 0.1, 0.1, 0.1, None, math.nan, math.inf], from_pandas=False),
            "multiplicity": pa.array([1, 15, 0, None, 0, 0, 0], pa.uint16()),
        }
    )
    unknown = "draw_score_unknown"
    assert rule.judge(rows).to_pylist() == [None, None, "not_drawn", None, unknown, unknown, "not_drawn"]
    assert rule.judge(rows.slice(0, 0)).to_pylist() == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 5}, r'needs score = "a column of numbers"'),
        ({"score": "s"}, "needs one of count and fraction"),
        ({"score": "s", "count": 5, "fraction": 0.5}, "needs one of count and fraction"),
        ({"score": "s", "count": -1}, "count = -1 is out of range"),
        ({"score": "s", "fraction": -0.1}, "fraction = -0.1 is out of range"),
        ({"score": "s", "count": 5, "max": 0}, "max = 0 is out of range"),
        ({"score": "s", "count": 5, "max": 65_536}, "max = 65536 is out of range"),
        ({"score": "s", "count": 5, "penalty": -0.1}, "penalty = -0.1 is out of range"),
        ({"score": "s", "count": 5, "temperature": 0.0}, "temperature = 0.0 is out of range"),
        ({"score": "s", "count": 5, "batch": -1}, "batch = -1 is out of range"),
    ],
)
def test_what_a_config_may_not_say(settings, words):
    with pytest.raises(ConfigError, match=words):
        build(SoftCap, settings, "filters.soft_cap")


@pytest.mark.parametrize("settings", [{"count": 0}, {"fraction": 2.0}, {"count": 5, "max": 65_535, "penalty": 0}])
def test_what_it_may_say(settings):
    rule = build(SoftCap, {"score": "s", **settings}, "filters.soft_cap")
    (step,) = rule.steps(())
    assert rule.columns == ("s", "multiplicity")
    assert step.writes == ("multiplicity",)
    assert step.most == rule.max


def test_two_filters_that_write_a_multiplicity_do_not_stand_side_by_side(tmp_path):
    (tmp_path / "words.txt").write_text("dog\n")
    rules = build_filters(
        {
            "soft_cap": {"score": "s", "count": 5},
            "metaclip_balance": {"metadata": str(tmp_path / "words.txt"), "cap": 2, "among": "all"},
        }
    )
    given = {"s", "caption", "url", "sha256"}
    steps = signal_steps(rules, {}, given)
    with pytest.raises(ConfigError, match="both write column 'multiplicity'"):
        check(Job(tuple(steps), lambda storage: iter(()), source_columns=tuple(given)))


def test_among_what_is_drawn():
    (earlier,), (everything,) = (SoftCap("s", count=5, among=among).steps(()) for among in ("earlier", "all"))
    assert (earlier.rules, everything.rules) == ((), None)
