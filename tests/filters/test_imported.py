"""Bounds on a score that somebody else computed, and which steps bring it in."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.config import build_filters
from curate.errors import ConfigError, SourceError
from curate.imported import Import
from curate.rank import Rank
from curate.signals import signal_steps
from curate.stage import Runtime
from filters.imported import Imported

LOW, HIGH = "imported_score_too_low", "imported_score_too_high"
UNKNOWN, OTHERS = "imported_score_unknown", "imported_score_not_among_best"


@pytest.fixture
def scores(tmp_path):
    pq.write_table(pa.table({"uid": ["0" * 32], "hype": [0.5], "clip score": [1]}), tmp_path / "scores.parquet")
    return str(tmp_path)


def test_bounds_are_included_and_no_score_is_never_good(reasons):
    values = [0.29, 0.3, 0.6, 0.61, None, math.nan]
    found = reasons(Imported(column="score", min=0.3, max=0.6), score=values)
    assert found == [LOW, None, None, HIGH, UNKNOWN, UNKNOWN]
    assert reasons(Imported(column="score", max=0.6), score=[-1.0, None]) == [None, UNKNOWN]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int32(), [0, 1]),
        (pa.float16(), [0.25, 0.5]),
        (pa.bool_(), [False, True]),
        (pa.float64(), [0.49, 0.5]),
        (pa.decimal128(3, 2), [0, 1]),
    ],
)
def test_a_column_of_the_source_may_be_of_any_number(kind, values):
    judged = Imported(column="similarity", min=0.5).judge(pa.table({"similarity": pa.array(values, kind)}))
    assert judged.to_pylist() == [LOW, None]


def test_a_column_of_the_source_that_is_text_is_refused():
    with pytest.raises(ConfigError, match=r"'similarity' is a column of string.*source.types"):
        Imported(column="similarity", min=0.5).judge(pa.table({"similarity": ["0.5"]}))


def test_the_best_by_rank():
    rule = Imported(column="score", fraction=0.5)
    assert rule.columns == ("score", "score_rank", "score_above", "score_total")
    columns = {
        "score": [0.1, 0.9, None],
        "score_rank": [1, 0, None],
        "score_above": [1, 0, None],
        "score_total": [2] * 3,
    }
    assert rule.judge(pa.table(columns)).to_pylist() == [OTHERS, None, UNKNOWN]
    assert rule.steps(()) == (Rank("score"),)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min": 0}, "needs a value for 'column'"),
        ({"column": "score"}, "no bound"),
        ({"column": "score", "min": 2, "max": 1}, "nothing would be kept"),
        ({"column": "score", "min": 0, "by": "hash"}, "by = 'hash'"),
        ({"column": "score", "min": 0, "name": "s"}, "leave `name` out"),
        ({"column": "uid", "min": 0, "path": "x"}, "is the id_column too"),
        ({"column": "clip score", "min": 0, "path": "x"}, "another `name`"),
        ({"column": "../score", "min": 0, "path": "x"}, "another `name`"),
        ({"column": "clip score", "count": 1}, "rename it in the source"),
        *(
            ({"column": taken, "id_column": "id", "min": 0, "path": "x"}, "is there already; say another `name`")
            for taken in ("width", "key", "keep", "uid", "image")
        ),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ConfigError, match=words):
        build_filters({"imported": settings})


def test_files_are_imported_before_they_are_judged(scores):
    table = {
        "imported-hype": {"path": scores, "column": "hype", "fraction": 0.5},
        "imported-clip": {"path": scores, "column": "clip score", "name": "clip_b32", "min": 0.3, "by": "pair"},
        "imported-laion": {"column": "similarity", "min": 0.28},
        "imported-again": {"path": scores, "column": "hype", "min": 0.1},
    }
    rules = build_filters(table)
    steps = signal_steps(rules, {}, {"url", "caption", "uid", "similarity"})
    hype, clip = Import(scores, "hype", "hype"), Import(scores, "clip score", "clip_b32", by="pair")
    assert set(steps) == {hype, clip, Rank("hype")}
    assert steps.index(hype) < steps.index(Rank("hype"))
    assert rules["imported-laion"].columns == ("similarity",)
    assert f"{LOW}_hype" in rules["imported-hype"].reasons


def test_a_path_without_such_scores_is_refused_before_anything_runs(scores):
    for settings in ({"path": scores, "column": "hyp"}, {"path": f"{scores}/nothing", "column": "hype"}):
        (step,) = signal_steps(build_filters({"imported": {**settings, "min": 0}}), {}, {"uid"})
        with pytest.raises(SourceError):
            step.require(Runtime())
