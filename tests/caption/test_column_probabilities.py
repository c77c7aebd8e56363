"""Every text with its probability; what is missing gives its own to the others."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from caption_tables import caption_table, plain

from curate.caption.rules.column_probabilities import ColumnProbabilities
from curate.errors import ConfigError, ShardError
from curate.models.caption_settings import CaptionerSettings
from curate.models.settings import ModelSettings

VECLIP = ColumnProbabilities({"caption": 0.2, "synthetic": 0.8})


def choose(rule: ColumnProbabilities, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    return plain(rule.choose(caption_table(rows).select(dict.fromkeys(("key", *rule.reads)))))


def texts(row: dict[str, Any]) -> dict[str, float]:
    return dict(zip(row["texts"], row["weights"], strict=True))


def test_probabilities_are_shared_and_given_to_what_is_there() -> None:
    found = choose(
        VECLIP,
        {"caption": "web", "synthetic_captions": ["a"]},
        {"caption": "web", "synthetic_captions": ["a", "b"]},
        {"caption": None, "synthetic_captions": ["a"]},
        {"caption": " ", "synthetic_captions": ["a", "b", "c"]},
        {"caption": "web", "synthetic_captions": None},
        {"caption": "web", "synthetic_captions": ["bad", "a"], "synthetic_faults": ["refusal", None]},
        {"caption": None, "synthetic_captions": [None, ""]},
    )
    third = 0.33333
    assert [texts(row) for row in found] == [
        {"a": 0.8, "web": 0.2},
        {"a": 0.4, "b": 0.4, "web": 0.2},
        {"a": 1},
        {"a": third, "b": third, "c": third},
        {"web": 1},
        {"a": 0.8, "web": 0.2},
        {},
    ]
    assert [row["texts"][:1] for row in found] == [["a"], ["a"], ["a"], ["a"], ["web"], ["a"], []]
    assert found[0]["origins"] == ["synthetic", "web"]
    assert found[0]["scores"] == [None, None]
    assert found[3]["why_web"] == "no_text"
    assert found[5]["why"] == {"synthetic": ["refusal", None]}


def test_a_text_that_is_there_twice_has_both_probabilities() -> None:
    rule = ColumnProbabilities({"caption": 0.1, "synthetic": 0.5}, {"rewritten": 0.4})
    same = {"caption": "same", "rewritten": "same", "synthetic_captions": ["a", "b", "a"]}
    (found,) = choose(rule, same)
    assert texts(found) == {"same": 0.5, "a": 0.33333, "b": 0.16667}
    assert found["origins"] == ["web", "synthetic", "synthetic"]
    assert found["why"] == {"synthetic": [None, None, "repeated_text"]}


def test_other_columns_of_text_and_of_lists() -> None:
    """LaCLIP: one of five with equal probability; and numbers that only their proportion counts of."""
    rule = ColumnProbabilities({"caption": 3, "other": 3}, {"rewritten": 3, "rewrites": 6})
    row = {"caption": "web", "other_captions": ["o"], "rewritten": "r", "rewrites": ["x", None, "y"]}
    found = choose(rule, row, {"caption": None, "rewrites": [], "rewritten": None, "other_captions": []})
    assert texts(found[0]) == {"web": 0.2, "o": 0.2, "r": 0.2, "x": 0.2, "y": 0.2}
    assert found[0]["origins"] == ["web", "other", "rewrites", "rewrites", "rewritten"]
    assert set(found[0]["why"]) == {"other"}
    assert found[1]["texts"] == []


def test_the_order_of_keys_changes_nothing() -> None:
    rows = [{"caption": "web", "synthetic_captions": ["a"], "rewritten": "r", "rewrites": ["x"]}]
    one = ColumnProbabilities({"caption": 1, "synthetic": 1}, {"rewritten": 1, "rewrites": 1})
    other = ColumnProbabilities({"synthetic": 1, "caption": 1}, {"rewrites": 1, "rewritten": 1})
    assert choose(one, *rows) == choose(other, *rows)
    assert one.reads == other.reads
    assert one.identity() == other.identity()


def test_only_what_is_named_is_read() -> None:
    assert VECLIP.reads == ("caption", "synthetic_captions", "synthetic_faults")
    assert ColumnProbabilities(columns={"rewritten": 1}).reads == ("rewritten",)
    (found,) = choose(ColumnProbabilities(columns={"rewritten": 1}), {"rewritten": "r"})
    assert (found["texts"], found["why_web"], found["why"]) == (["r"], None, {})


def test_settings_that_cannot_be() -> None:
    for make, words in (
        (lambda: ColumnProbabilities(), "draws from nothing"),
        (lambda: ColumnProbabilities({"caption": 0.0}), "probability of 'caption' = 0.0 is out of range"),
        (lambda: ColumnProbabilities(columns={"caption": 0.5}), "put it into probabilities"),
        (lambda: ColumnProbabilities({"caption": 0.5}, {"web": 0.5}), "columns has 'web', which is what other texts"),
        (lambda: ColumnProbabilities({"made": 0.5}, {"made": 0.5}), "columns has 'made', which is what other texts"),
        (lambda: ColumnProbabilities({"web": 0.5}), "'web' is what captions of the web are called"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    VECLIP.require({"synthetic": CaptionerSettings()})
    for models in ({}, {"synthetic": ModelSettings()}):
        with pytest.raises(ConfigError, match=r"captioner = 'synthetic'"):
            VECLIP.require(models)


def test_a_column_that_is_no_text_is_told() -> None:
    table = pa.table({"key": ["a"], "rewritten": pa.array([[[1]]])})
    with pytest.raises(ShardError, match="rewritten is a column of list"):
        ColumnProbabilities(columns={"rewritten": 1}).choose(table)
