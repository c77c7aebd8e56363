"""SemDeDup as a filter: both sides of its bound, by each rule; what another bound runs again."""

import numpy as np
import pyarrow as pa
import pytest
from scored_shards import SAMPLE, Given, ScoredBy, by_row, embedded, handles, pack, pairs, run_steps, unit_rows

from curate.config import build_filters
from curate.errors import ConfigError
from curate.select import Select
from curate.signals import signal_steps
from filters.semantic_duplicate import SemanticDuplicate

IMAGE = "clip_image_embedding"
NEAR, UNKNOWN = "semantic_duplicate", "semantic_similarity_unknown"
BOUND = np.float32(0.95)


@pytest.mark.parametrize(("mode", "column"), [("paper", "semantic_similarity"), ("greedy", "semantic_kept_similarity")])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0.0, None),
        (BOUND, None),
        (np.nextafter(BOUND, np.float32(0)), None),
        (np.nextafter(BOUND, np.float32(1)), NEAR),
        (1.0, NEAR),
        (None, None),
        (float("nan"), UNKNOWN),
    ],
)
def test_the_bound_is_included(mode, column, value, reason):
    rule = SemanticDuplicate(0.95, mode=mode)
    assert rule.columns == (column,)
    table = pa.table({column: pa.array([value], pa.float32(), from_pandas=False)})
    assert rule.judge(table).to_pylist() == [reason]


def test_of_a_component_the_first_is_kept():
    table = pa.table(
        {
            "semantic_cluster_size": pa.array([2, 2, 1, 0, None], pa.int64()),
            "semantic_duplicate_of": pa.array([None, "000000000", None, None, None], pa.string()),
        }
    )
    rule = SemanticDuplicate(mode="components")
    assert rule.columns == tuple(table.column_names)
    assert rule.judge(table).to_pylist() == [None, NEAR, None, UNKNOWN, None]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max": 1.5}, "max = 1.5 is out of range"),
        ({"max": -0.1}, "max = -0.1 is out of range"),
        ({"mode": "greedy", "max": 1.0}, "limit = 1.0 is out of range"),
        ({"mode": "strict"}, "strict"),
        ({"keep": "best"}, "needs one"),
        ({"model": "../x"}, "x"),
    ],
)
def test_settings_that_make_no_sense(settings, words):
    with pytest.raises(ConfigError, match=words):
        build_filters({"semantic_duplicate": settings})


def run(tmp_path, settings):
    rows = unit_rows(40, 8)
    rows[20:] = rows[:20] + 0.05 * unit_rows(20, 8, 1)
    table = pairs(40, **{IMAGE: embedded(rows, missing=[3])})
    if not (tmp_path / "given").exists():
        pack(tmp_path / "given", table, [15, 25])
    given = str(tmp_path / "given")
    rules = build_filters({"semantic_duplicate": {"cells": 2, **settings}})
    steps = [
        Given(given),
        ScoredBy(given, (IMAGE,)),
        *signal_steps(rules, {}, {*SAMPLE, IMAGE}),
        Select(tuple(rules.items())),
    ]
    outcome = run_steps(tmp_path / "run", 2, steps)
    reasons = by_row(handles(tmp_path / "run", 2), ["drop_reason"])
    return outcome, [reasons[uid][0] for uid in table["uid"].to_pylist()]


@pytest.mark.parametrize("mode", ["paper", "greedy", "components"])
def test_one_of_each_two_is_dropped(tmp_path, mode):
    _, reasons = run(tmp_path, {"mode": mode, "max": 0.99, "keep": "closest"})
    assert reasons[3] == UNKNOWN
    assert reasons[23] is None
    assert all(sorted(map(str, (reasons[n], reasons[n + 20]))) == ["None", NEAR] for n in range(20) if n != 3)


def test_another_bound_compares_nothing_again_by_the_papers_rule(tmp_path):
    seconds = []
    for settings in ({"max": 0.99}, {"max": 0.5}, {"max": 0.5, "mode": "greedy"}, {"max": 0.4, "mode": "greedy"}):
        outcome, reasons = run(tmp_path, settings)
        seconds.append((reasons.count(NEAR), len(list((tmp_path / "run").glob("commits/semantic_*/*.json")))))
        assert outcome is not None
    drops, commits = zip(*seconds, strict=True)
    assert drops[0] < drops[1] > drops[2]
    assert commits[0] == commits[1] == 1
    assert commits[2] == 2
