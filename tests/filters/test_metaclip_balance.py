"""The verdict on each kind of row, what a config may say, and captions through to decisions."""

import numpy as np
import pyarrow as pa
import pytest
from scored_shards import by_row, handles, pack, pairs, run_barrier

from curate.balance.matching import MatchConcepts
from curate.config import build, build_filters
from curate.errors import ConfigError
from curate.filter import Batch
from curate.signals import signal_steps
from filters.metaclip_balance import MetaclipBalance


@pytest.fixture
def words(tmp_path):
    (tmp_path / "words.txt").write_text("dog\ncat\nhot dog\n")
    return str(tmp_path / "words.txt")


def test_reasons_of_rows():
    rule = MetaclipBalance("words.txt", cap=5)
    rows = pa.table(
        {
            "keep_probability": pa.array([1.0, 0.5, 0.5, 0.0, None]),
            "multiplicity": pa.array([1, 1, 0, 0, None], pa.uint16()),
        }
    )
    expected = [None, None, "frequent_concepts_sampled_out", "no_concept", None]
    assert rule.judge(rows).to_pylist() == expected
    assert rule.judge(rows.slice(0, 0)).to_pylist() == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cap": 5}, r'needs metadata = "a file of concepts"'),
        ({"metadata": "w"}, "needs one of cap, count and fraction"),
        ({"metadata": "w", "cap": 5, "count": 5}, "needs one of"),
        ({"metadata": "w", "cap": 0.9}, "cap = 0.9 is out of range"),
        ({"metadata": "w", "cap": float("nan")}, "cap = nan is out of range"),
        ({"metadata": "w", "count": -1}, "count = -1 is out of range"),
        ({"metadata": "w", "fraction": 1.1}, "fraction = 1.1 is out of range"),
        ({"metadata": "w", "cap": 5, "seed": -1}, "seed = -1 is out of range"),
        ({"metadata": "w", "cap": 5, "among": "some"}, "among = 'some'"),
    ],
)
def test_what_a_config_may_not_say(settings, words):
    with pytest.raises(ConfigError, match=words):
        build(MetaclipBalance, settings, "filters.metaclip_balance")


@pytest.mark.parametrize("settings", [{"cap": 1}, {"count": 0}, {"fraction": 0.0}, {"fraction": 1}])
def test_what_it_may_say(settings):
    build(MetaclipBalance, {"metadata": "w", **settings}, "filters.metaclip_balance")


def test_steps_and_their_order(words):
    rules = build_filters({"caption_chars": {}, "metaclip_balance": {"metadata": words, "cap": 2}})
    steps = signal_steps(rules, {}, {"caption", "url"})
    labels = [step.label for step in steps]
    assert labels[-1] == "metaclip_balance"
    assert "score_concepts" in labels
    assert set(rules["caption_chars"].columns) <= set(steps[-1].reads)
    alone = build_filters({"caption_chars": {}, "metaclip_balance": {"metadata": words, "cap": 2, "among": "all"}})
    assert not set(rules["caption_chars"].columns) & set(signal_steps(alone, {}, {"caption"})[-1].reads)


def test_captions_to_decisions(tmp_path, words):
    captions = ["a dog"] * 40 + ["a cat"] * 2 + ["hot dog stand", "", None, "a horse"]
    rows = pairs(len(captions))
    rows = rows.set_column(rows.column_names.index("caption"), "caption", pa.array(captions, pa.string()))
    concepts = MatchConcepts(words).score(Batch(rows.select(["caption"])))["concepts"]
    shards = pack(tmp_path, rows.append_column("concepts", concepts), [30, len(captions) - 30])
    rule = MetaclipBalance(words, cap=2)
    (barrier,) = rule.steps(())
    run_barrier(barrier, shards, tmp_path)
    judged = [rule.judge(s.columns(rule.columns)).to_pylist() for s in handles(tmp_path, 2)]
    reasons = [reason for part in judged for reason in part]
    assert reasons[40:] == [None, None, None, "no_concept", "no_concept", "no_concept"]
    assert set(reasons[:40]) == {None, "frequent_concepts_sampled_out"}
    chance = [p for p, _ in by_row(shards, rule.columns).values()]
    np.testing.assert_allclose(chance, [2 / 41] * 40 + [1.0] * 3 + [0.0] * 3)
    assert 0 < reasons[:40].count(None) < 10
