"""What would stay if a bound moved: at the present bounds what is kept, at others what a filter would keep."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from count_sets import Held, Made, left, pairs
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from curate.filter import Filter, Labelled, Rules
from curate.report.counting.layout import layout_of
from curate.report.counting.reading import Troubles
from curate.report.counting.units import Counts, count_unit
from curate.report.facts import Histogram
from curate.report.page.plots import plot
from curate.report.page.sliders import answers
from curate.select import decide
from filters.aspect_ratio import AspectRatio
from filters.caption_repetition import CaptionRepetition
from filters.caption_words import CaptionWords
from filters.image_size import ImageSize
from filters.imported import Imported

SIDES = [(100, 300), (99, 300), (300, 100), (2000, 2000), (2001, 50), (0, 0), (0, 4), (None, 7), (640, 480), (200, 200)]
WIDTHS, HEIGHTS = (pa.array(own, pa.int32()) for own in zip(*SIDES, strict=True))
BYTES = pa.array([1, 10, 11, 500, 5, 900, None, 100, 12, 10], pa.int64())
SCORES = pa.array([0.3, 0.29999, 0.30001, math.nan, None, 0.9, 0.1, 0.3, 0.6, 0.61], pa.float32())
WORDS = pa.array([0, 1, 2, 3, 4, 60, 61, None, 5, 5], pa.int32())
RATIOS = pa.array([0, 0.6, 0.61, 0.2, 0.7, 0.1, None, 0.6, 1, 0.5], pa.float32())
ROWS = pairs(
    len(SIDES),
    original_width=WIDTHS,
    original_height=HEIGHTS,
    original_bytes=BYTES,
    score=SCORES,
    caption_words=WORDS,
    repeated_words_ratio=RATIOS,
    repeated_characters_ratio=RATIOS,
)


def counted(tables: Sequence[pa.Table], rules: Rules) -> Counts:
    made, troubles = Made(), Troubles()
    made.shards(tables)
    record = made.decide(rules, len(tables))
    counts = count_unit(layout_of(made.storage, Troubles()).samples, "", record.filters("samples"), troubles)
    assert troubles.told() == ()
    return counts


def bounded(counts: Counts) -> list[Histogram]:
    return [own for own in counts.histograms(Troubles()) if own.filter]


def kept(tables: Sequence[pa.Table], rules: Rules) -> int:
    return sum(pc.sum(decide(table, rules)["keep"]).as_py() or 0 for table in tables)


@pytest.mark.parametrize(
    "rules",
    [
        (("image_size", ImageSize(min_side_px=100, max_side_px=2000, min_bytes=10, max_bytes=500)),),
        (("image_size", ImageSize(min_side_px=100)), ("aspect_ratio", AspectRatio(max=3.0))),
        (("caption_words", CaptionWords(min=2, max=60)), ("aspect_ratio", AspectRatio(max=2.9))),
        (("caption_repetition", CaptionRepetition()), ("caption_words", CaptionWords(min=1))),
        (("imported", Imported(column="score", min=0.3)), ("image_size", ImageSize(max_bytes=500))),
        (
            ("imported-low", Labelled(Imported(column="score", min=0.3), "low")),
            ("imported-high", Labelled(Imported(column="score", max=0.6), "high")),
        ),
    ],
)
def test_at_the_present_bounds_it_is_what_is_kept(rules: Rules) -> None:
    tables = [ROWS.slice(0, 6), ROWS.slice(6)]
    counts = counted(tables, rules)
    expected = kept(tables, rules)
    histograms = bounded(counts)
    assert counts.kept == expected
    assert len(histograms) == sum(len(rule.gauges) for _, rule in rules)
    for own in histograms:
        assert left(own) == expected, own.name
        assert sum(own.rows) + own.without == len(ROWS)
        assert all(a <= b for a, b in zip(own.left, own.rows, strict=True))


VALUES = {
    pa.int32(): st.integers(-5, 12),
    pa.float64(): st.one_of(st.floats(-5, 12), st.sampled_from([math.nan, math.inf, -math.inf, 2.5])),
    pa.float32(): st.one_of(st.floats(-5, 12, width=32), st.sampled_from([math.nan, 2.5, 0.1, 0.3])),
    pa.float16(): st.one_of(st.floats(-5, 12, width=16), st.sampled_from([math.nan, 2.5, 0.1, 0.3])),
}
BOUND = st.one_of(st.none(), st.integers(-6, 13), st.floats(-6, 13), st.sampled_from([2.5, 0.1, 0.3]))


@st.composite
def columns(draw: st.DrawFn) -> tuple[list[pa.Table], Rules]:
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3))
    tables = []
    for _ in range(draw(st.integers(1, 2))):
        rows = draw(st.integers(0, 12))
        lists = {
            f"c{place}_score": pa.array(
                [None if one is None else kind.to_pandas_dtype()(one) for one in values], kind, from_pandas=False
            )
            for place, kind in enumerate(kinds)
            for values in [draw(st.lists(st.one_of(st.none(), VALUES[kind]), min_size=rows, max_size=rows))]
        }
        tables.append(pa.table(lists))
    rules: list[tuple[str, Filter]] = []
    for place in range(len(kinds)):
        low, high = draw(BOUND), draw(BOUND)
        if low is not None and high is not None:
            low, high = sorted((low, high))
        unknown = draw(st.sampled_from([None, f"c{place}_unknown"]))
        rules.append((f"held{place}", Held(f"c{place}_score", low, high, unknown)))
    return tables, tuple(rules)


ZEROS = [pa.table({"c0_score": pa.array([np.float16(0), np.float16(0)], pa.float16())})]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(columns())
@example((ZEROS, (("held0", Held("c0_score", None, 0, None)),)))
def test_exactly_on_any_columns(drawn: tuple[list[pa.Table], Rules]) -> None:
    tables, rules = drawn
    counts = counted(tables, rules)
    expected = kept(tables, rules)
    for own in counts.histograms(Troubles()):
        assert left(own) == expected
        assert sum(own.rows) + own.without == sum(map(len, tables))
        assert len(own.rows) == 1 or all(a < b for a, b in zip(own.edges, own.edges[1:], strict=False))


@pytest.mark.parametrize("kind", [pa.int32(), pa.float64(), pa.float32(), pa.float16()], ids=str)
@pytest.mark.parametrize("ends", [(4, 16), (None, 16), (4, None), (-5, 30)])
def test_what_a_slider_writes_keeps_what_it_says(kind: pa.DataType, ends: tuple[int | None, int | None]) -> None:
    """Numbers lie on edges, and some far beyond the outermost ones; or all are inside the bounds."""
    dice, part = np.random.default_rng(3), 1 if pa.types.is_integer(kind) else 10
    numbers = np.append(dice.integers(0, 21, 1_200), [] if ends == (-5, 30) else [-90, 900]) / part
    values = pa.array(numbers.astype(kind.to_pandas_dtype()))
    table = pairs(len(values), a_score=values, b_score=pa.array(dice.random(len(values))))
    low, high = (end if end is None else end / part if part > 1 else end for end in ends)
    rule, other = Held("a_score", low, high), ("other", Held("b_score", 0.3))
    (own,) = (h for h in bounded(counted([table], (("held", rule), other))) if h.name == "a_score")
    told = answers(own, plot(own, "h", "words"), "filters.held")
    at = {"min": 0, "max": len(own.left)} | {slider.bound: slider.at for slider in told.sliders}
    others = pc.is_null(other[1].judge(table))
    assert len(told.sliders) == 2 - ends.count(None)
    for slider in told.sliders:
        written = [float(own) for own in slider.settings]
        assert written == sorted(written)
        for place in range(slider.first, slider.last + 1):
            bounds = {"min": low, "max": high} | tomllib.loads(f"{slider.bound} = {slider.settings[place]}")
            places = at | {slider.bound: place}
            says = sum(told.left[places["min"] : places["max"]]) + told.always
            if None in bounds.values() or bounds["min"] <= bounds["max"]:
                moved = pc.is_null(Held("a_score", bounds["min"], bounds["max"]).judge(table))
                assert says == pc.sum(pc.and_(moved, others)).as_py(), bounds
            else:
                assert says == 0


@pytest.mark.parametrize("high", [3, 3.0, 2.5, 100, None])
@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.float32()], ids=str)
def test_every_row_is_in_its_bin(kind: pa.DataType, high: float | None) -> None:
    values = np.random.default_rng(1).lognormal(1, 1, 800).astype(kind.to_pandas_dtype())
    table = pairs(800, n_variance=pa.array(values, kind))
    (own,) = (h for h in counted([table], (("held", Held("n_variance", 1, high)),)).histograms(Troubles()) if h.min)
    inside = np.clip(values.astype(np.float64), own.edges[0], own.edges[-1])
    assert own.rows == tuple(np.histogram(inside, own.edges)[0].tolist())


def test_another_number_of_the_same_filter_keeps_a_row_away() -> None:
    """The first row is small in sides and in bytes, but one reason a filter is all that is told."""
    rows = pairs(
        2,
        original_width=pa.array([50, 50], pa.int32()),
        original_height=pa.array([50, 50], pa.int32()),
        original_bytes=pa.array([5, 500], pa.int64()),
    )
    sides, size = bounded(counted([rows], (("image_size", ImageSize(min_side_px=100, min_bytes=10)),)))
    assert left(sides, low=0) == 1
    assert left(size, low=0) == 0


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (3, None, "1 kept rows are outside"),
        (1, None, "1 dropped rows are inside"),
        (None, 3, "1 kept rows are outside and 1 dropped rows are inside"),
    ],
)
def test_bounds_that_rows_were_not_judged_by_are_not_drawn(low: float | None, high: float | None, words: str) -> None:
    made, troubles = Made(), Troubles()
    made.shards([pairs(5, a_score=pa.array([1.0, 2, 3, 4, None]))])
    made.decide((("held", Held("a_score", 2, unknown="a_score_unknown")),), 1)
    record = Made().decide((("held", Held("a_score", low, high, unknown="a_score_unknown")),), 0)
    counts = count_unit(layout_of(made.storage, Troubles()).samples, "", record.filters("samples"), troubles)
    own = next(h for h in counts.histograms(troubles) if h.name == "a_score")
    assert (own.filter, own.min, sum(own.left)) == ("", None, 3)
    assert troubles.told()[0].startswith(f"{words} the bounds of held on a_score that run.json has")


def test_without_a_filter_the_kept_rows_are_left() -> None:
    table = pairs(6, a_score=pa.array([1.0, 2, 3, 4, None, math.nan]), b_score=pa.array([1.0, 0, 1, 0, 1, 0]))
    (own,) = (
        h for h in counted([table], (("held", Held("b_score", 1)),)).histograms(Troubles()) if h.name == "a_score"
    )
    assert (own.filter, sum(own.rows), sum(own.left), own.without, own.without_kept) == ("", 4, 2, 2, 1)


def test_outliers_are_counted_in_the_outermost_bins() -> None:
    values = [*range(5000), 10**9, -(10**9)]
    (own,) = (
        h
        for h in counted([pa.table({"n_count": pa.array(values, pa.int64())})], ()).histograms(Troubles())
        if h.name == "n_count"
    )
    assert sum(own.rows) == 5002
    assert own.edges[-1] < 10_000
    assert own.edges[0] > -1_000


def test_a_gauge_of_one_kind_of_parts_leaves_the_others_without() -> None:
    made = Made()
    kinds = pa.array(["text", "image", "image", "text"])
    made.shards([pa.table({"kind": kinds, "a_score": pa.array([1.0, 1, 9, 9])})])
    record = made.decide((("held", Held("a_score", 5)),), 1)
    (told,) = record.filters("samples")
    told = replace(told, gauges=tuple(replace(gauge, kind="image") for gauge in told.gauges))
    counts = count_unit(layout_of(made.storage, Troubles()).samples, "", (told,), Troubles())
    (own,) = (h for h in counts.histograms(Troubles()) if h.filter)
    assert (sum(own.rows), own.without, own.without_kept, left(own)) == (2, 2, 1, 2)


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        (pa.array([1.0] * 9 + [None]), (1.0, 1.0)),
        (pa.array([7] * 10, pa.int32()), (7.0, 7.0)),
        (pa.array([0.5] * 1_999 + [90.0]), (0.5, 90.0)),
    ],
)
def test_numbers_that_lie_in_one_bin_are_told_as_they_are(values: pa.Array, edges: tuple[float, float]) -> None:
    rows = len(values) - values.null_count
    found = counted([pairs(len(values), odd_score=values)], ()).histograms(Troubles())
    (told,) = [own for own in found if own.name == "odd_score"]
    assert (told.edges, told.rows, told.left) == (edges, (rows,), (rows,))
