"""A condition in SQL as a filter: NULL is not kept, and what it names is what it reads."""

import pyarrow as pa
import pytest

from curate.config import build_filters
from curate.errors import ConfigError
from curate.source.own_columns import OwnColumns
from filters.condition import SqlCondition

UNMET, WITHHELD = "condition_not_met", "withheld_at_its_source"


def test_null_is_not_kept(reasons):
    rule = SqlCondition("score >= 0.5")
    assert rule.columns == ("score",)
    assert rule.steps(()) == ()
    assert reasons(rule, score=[0.5, 0.49, None, float("nan")]) == [None, UNMET, UNMET, None]


def test_columns_of_several_types(reasons):
    rule = SqlCondition("caption ilike '%dog%' or original_width between 100 and 200")
    found = reasons(rule, caption=["A Dog", None, "cat", "cat"], original_width=[None, 100, 201, 200])
    assert found == [None, None, UNMET, None]


def test_lists_of_reasons_and_vectors():
    kinds = pa.list_(pa.dictionary(pa.int16(), pa.string()))
    table = pa.table({"drop_reasons": pa.array([["blurred"], [], None], kinds)})
    rule = SqlCondition("not list_contains(drop_reasons, 'blurred')")
    assert rule.judge(table).to_pylist() == [UNMET, None, UNMET]


def test_columns_of_the_source_come_under_names_of_their_own(tmp_path):
    rule = SqlCondition("keep or score > 1", data_set=str(tmp_path))
    assert rule.columns == ("source_keep", "source_score", "withheld_at_source")
    assert rule.steps(()) == (OwnColumns(str(tmp_path), ("keep", "score")),)
    table = pa.table([[True, True, False, None], [0.0, 0.0, 1.0, 2.0], [True, None, False, False]], names=rule.columns)
    assert rule.judge(table).to_pylist() == [WITHHELD, None, UNMET, None]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("score >", "no condition"),
        ("", "empty"),
        ("1 = 1", "names no column"),
        ("read_text('/etc/passwd') = caption", "read_text"),
        ("score in (select 1)", "a query"),
    ],
)
def test_what_is_refused_is_told_before_a_run(sql, words):
    with pytest.raises(ConfigError, match=rf"\[filters.condition\].*{words}"):
        build_filters({"condition": {"sql": sql}})


def test_a_condition_that_fails_on_a_value_is_told_in_words():
    with pytest.raises(ConfigError, match=r"caption.*TRY_CAST") as told:
        SqlCondition("caption::int > 1").judge(pa.table({"caption": ["1", "a\n'secret'\nb"]}))
    assert "secret" not in str(told.value)
