"""Gauges say what their filters do: a report's answer to "what if the bound moved" is the filter's own."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import TYPES
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_all_filters import NAMES, NEEDS

from curate.config import build
from curate.document.select import OfKind
from curate.filter import Filter, Labelled
from curate.gauge import Gauge, measured
from curate.registry import filter_class

EVERY_BOUND = {
    "caption_words": {"min": 3, "max": 6},
    "caption_chars": {"min": 3, "max": 6},
    "faces": {"max_area_ratio": 0.4, "max_count": 2},
    "image_size": {"min_side_px": 2, "max_side_px": 6, "min_bytes": 2, "max_bytes": 6},
    "language": {"min_probability": 0.5, "min_other_probability": 0.3},
    "text_language": {"min_probability": 0.5},
    "nsfw_picture": {"max_sexy": 0.5},
    "paragraph_frequency": {"max_documents": 2, "max_count": 4},
    "slot_rendered_size": {"min_px": 2, "max_px": 6},
    "semantic_duplicate": {"max": 0.5},
    "text_special_characters": {"digits": True},
    "text_words": {"min": 2, "max": 6},
    "clip_similarity": {"min": 0.3, "max": 0.8},
}
WITHOUT = {  # bounds of two numbers at once, or of what a step over all shards made: which rows stay cannot be told
    "cap",
    "caption_choice",
    "cluster_balance",
    "evaluation_overlap",
    "frequency_sampling",
    "soft_cap",
    "line_frequency",
    "paragraph_lengths",
    "text_punctuation",
    "words_per_image",
}
TYPES = {**TYPES, "semantic_similarity": pa.float32()}


def rule_of(name: str) -> Filter:
    return build(filter_class(name), {**NEEDS.get(name, {}), **EVERY_BOUND.get(name, {})}, name)


GAUGED = [name for name in NAMES if rule_of(name).gauges]


def values(kind: pa.DataType) -> st.SearchStrategy:
    if pa.types.is_floating(kind):
        known = st.floats(0, 1, width=32) | st.integers(0, 8).map(lambda n: n / 8) | st.just(float("nan"))
    elif pa.types.is_integer(kind):
        known = st.integers(0, 8)
    elif pa.types.is_boolean(kind):
        known = st.booleans()
    else:
        known = st.sampled_from(["en", "de", "und"])
    return known | st.none()


def kind_of(column: str) -> pa.DataType:
    return TYPES.get(column, pa.float32())


def tables(columns: tuple[str, ...]) -> st.SearchStrategy:
    rows = st.lists(st.tuples(*(values(kind_of(c)) for c in columns)), min_size=1, max_size=8)
    return rows.map(
        lambda drawn: pa.table({c: pa.array([row[i] for row in drawn], kind_of(c)) for i, c in enumerate(columns)})
    )


def inside(gauge: Gauge, columns: pa.Table, *, without: bool = False) -> list[bool]:
    """Which rows have a number that is inside (not-a-number is not); `without`: or have none."""
    found = measured(gauge, columns)
    kind = found.type if pa.types.is_floating(found.type) else pa.float64()
    low, high = (None if bound is None else pa.scalar(bound, kind).as_py() for bound in (gauge.min, gauge.max))
    return [
        without if v is None else v == v and (low is None or v >= low) and (high is None or v <= high)
        for v in found.to_pylist()
    ]


@pytest.mark.parametrize("name", GAUGED)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_moved_bound_keeps_what_the_gauge_says(name: str, data: st.DataObject) -> None:
    rule = rule_of(name)
    columns = data.draw(tables(rule.columns))
    place = data.draw(st.integers(0, len(rule.gauges) - 1))
    gauge = rule.gauges[place]
    setting = data.draw(
        st.sampled_from([s for s in (gauge.min_setting, gauge.max_setting) if _bound(gauge, s) is not None])
    )
    bound = data.draw(_moved(gauge, setting, whole=isinstance(_bound(gauge, setting), int)))
    try:
        moved = replace(rule, **{setting: bound})
    except ValueError:
        assume(False)
    before, after = rule.judge(columns).to_pylist(), moved.judge(columns).to_pylist()
    known = pc.is_valid(measured(gauge, columns)).to_pylist()
    siblings = [inside(g, columns, without=True) for i, g in enumerate(rule.gauges) if i != place]
    others = [all(fine) for fine in zip(*siblings, [True] * len(columns), strict=True)]
    now = inside(moved.gauges[place], columns)
    for row, reason in enumerate(before):
        number = known[row] and not np.isnan(float(measured(gauge, columns)[row].as_py()))
        if number and others[row] and reason in (None, gauge.too_low, gauge.too_high):
            assert (after[row] is None) == now[row], (row, columns.slice(row, 1).to_pylist(), reason, after[row])
        elif not number:
            assert (after[row] is None) == (reason is None)


def _bound(gauge: Gauge, setting: str) -> float | None:
    return {gauge.min_setting: gauge.min, gauge.max_setting: gauge.max}.get(setting) if setting else None


def _moved(gauge: Gauge, setting: str, whole: bool) -> st.SearchStrategy:
    """A bound that keeps min at most max, and is one that filters take."""
    low, high = (1, 8) if gauge.name == "elongation" else (0, 8 if whole else max(1, _bound(gauge, setting)))
    if setting == gauge.min_setting and gauge.max is not None:
        high = min(high, gauge.max)
    if setting == gauge.max_setting and gauge.min is not None:
        low = max(low, gauge.min)
    return st.integers(low, int(high)) if whole else st.floats(low, high)


@pytest.mark.parametrize("name", GAUGED)
def test_gauges_name_settings_reasons_and_columns_that_there_are(name: str) -> None:
    rule = rule_of(name)
    for gauge in rule.gauges:
        assert set(gauge.columns) <= set(rule.columns)
        for bound, setting, reason in (
            (gauge.min, gauge.min_setting, gauge.too_low),
            (gauge.max, gauge.max_setting, gauge.too_high),
        ):
            if bound is not None:
                assert getattr(rule, setting) == bound
                assert reason in rule.reasons


def test_every_filter_with_a_bound_on_one_number_has_a_gauge() -> None:
    bounded = {n for n in NAMES if {"min", "max"} & {f.partition("_")[0] for f in filter_class(n).__dataclass_fields__}}
    copies = {n for n in bounded if n.endswith("duplicate") and n not in GAUGED}
    assert bounded - set(GAUGED) - copies == WITHOUT


@pytest.mark.parametrize(("mode", "gauges"), [("paper", 1), ("greedy", 0), ("components", 0)])
def test_a_bound_that_has_gone_into_the_column_has_no_gauge(mode: str, gauges: int) -> None:
    assert len(build(filter_class("semantic_duplicate"), {"mode": mode}, "semantic_duplicate").gauges) == gauges


def test_labels_and_kinds_are_in_the_gauge() -> None:
    rule = rule_of("caption_words")
    (labelled,) = Labelled(rule, "long").gauges
    assert (labelled.too_low, labelled.too_high) == ("too_few_words_long", "too_many_words_long")
    assert OfKind("text", rule).gauges[0].kind == "text"
    (one_bound,) = Labelled(rule_of("blur"), "b").gauges
    assert (one_bound.too_low, one_bound.too_high) == ("blurred_b", "")
