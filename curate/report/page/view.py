"""What the templates show, made of facts: funnels by filter, shares of overlaps, drawn histograms, costs added up.

Templates loop and print; whatever has to be computed or told in a sentence is here, so that it can be tested without a
page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from curate.report.facts import Captions, Copies, Cost, Facts, Histogram, Overlap, Tile, Unit
from curate.report.page.plots import Plot, drawable, plot
from curate.report.page.sliders import Answers, answers, filter_table, with_unit
from curate.report.page.words import number, told

__all__ = ["CaptionsView", "Glance", "HistogramView", "Stage", "UnitView", "View", "glances", "script_json", "view"]

FILTERS = 30
"""Of an overlap's table, those that drop most."""
GLANCES = 8
"""Kept and dropped samples that the overview shows, of each at most."""
LEVELS = 9
"""Shades of an overlap's table, from none to all."""


@dataclass(frozen=True)
class Stage:
    """One filter of a funnel: rows that came in, that it dropped, that went on."""

    name: str
    came_in: int
    dropped: int
    kept: int


@dataclass(frozen=True)
class HistogramView:
    """A histogram as it is shown; `plot` and `answers` are None where there is nothing to draw, and `words` say why."""

    id: str
    told: Histogram
    words: str
    plot: Plot | None
    answers: Answers | None


@dataclass(frozen=True)
class OverlapView:
    """`rows`: (filter, rows it drops, rows only it drops, per filter: rows that both drop, and the shade 0 to 9)."""

    filters: tuple[str, ...]
    rows: tuple[tuple[str, int, int, tuple[tuple[int, int], ...]], ...]
    idle: tuple[str, ...]
    left_out: int


@dataclass(frozen=True)
class UnitView:
    """A unit and what was made of it. `id` begins the addresses of its sections."""

    id: str
    told: Unit
    stages: tuple[Stage, ...]
    overlap: OverlapView | None
    histograms: tuple[HistogramView, ...]


@dataclass(frozen=True)
class CaptionsView:
    """A view of captions with its two histograms."""

    told: Captions
    lengths: tuple[HistogramView, ...]


@dataclass(frozen=True)
class Chapter:
    """A line of the contents, and those below it. `id`: the address of its heading."""

    id: str
    words: str
    sections: tuple[Chapter, ...] = ()


@dataclass(frozen=True)
class View:
    """All of a report but its galleries, which may be thinned after. `fetched`: rows that came, of all."""

    chapters: tuple[Chapter, ...]
    units: tuple[UnitView, ...]
    captions: tuple[CaptionsView, ...]
    seconds: float
    written_bytes: int
    price: float | None
    fetched: tuple[int, int]
    answers: Markup


def view(facts: Facts) -> View:
    """Draw and add up. `answers` is the JSON that the page's script reads."""
    units = tuple(_unit(unit, place, facts.config) for place, unit in enumerate(facts.units))
    captions = tuple(CaptionsView(one, tuple(_lengths(one, place))) for place, one in enumerate(facts.captions))
    moving = [one.answers for unit in units for one in unit.histograms if one.answers and one.answers.sliders]
    prices = [one.price for one in facts.costs if one.price is not None]
    return View(
        tuple(_chapters(facts, units)),
        units,
        captions,
        sum(one.seconds for one in facts.costs),
        sum(one.written_bytes for one in facts.costs),
        sum(prices) if prices else None,
        _fetched(facts),
        script_json([one.as_json() for one in moving]),
    )


@dataclass(frozen=True)
class Glance:
    """A picture of the overview. `address`: of the gallery it is in; `words`: why it is there."""

    address: str
    tile: Tile
    words: str


def glances(facts: Facts) -> tuple[Glance, ...]:
    """Some pictures to begin with, of the first unit that has any: kept ones, then one of each of the first reasons."""
    for place, unit in enumerate(facts.units):
        kept: list[Glance] = []
        dropped: list[Glance] = []
        for gallery_place, gallery in enumerate(unit.galleries):
            address = f"unit{place + 1}-g{gallery_place + 1}"
            tiles = [tile for tile in gallery.tiles if tile.picture]
            if gallery.kind == "kept":
                kept += [Glance(address, tile, "kept") for tile in tiles[:GLANCES]]
            if gallery.kind == "dropped":
                dropped += [Glance(address, tile, gallery.title) for tile in tiles[:1]]
        if kept or dropped:
            return (*kept[:GLANCES], *dropped[:GLANCES])
    return ()


def script_json(value: Any) -> Markup:
    """JSON that may stand in a `script` element: nothing in it can end the element, or a line of JavaScript."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for letter in "<>&'":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704 (escaped above)


def sizes(copies: Copies) -> Iterator[tuple[str, int]]:
    """How many clusters have so many rows; the last line says so where it holds larger ones as well."""
    exact = sum(rows * clusters for rows, clusters in copies.sizes) == copies.rows
    for place, (rows, clusters) in enumerate(copies.sizes):
        open_end = place == len(copies.sizes) - 1 and not exact
        yield f"{number(rows)}{' or more' if open_end else ''}", clusters


def rate(cost: Cost) -> float | None:
    """Rows a second of one worker; None where no time was taken."""
    return cost.rows / cost.seconds if cost.seconds > 0 else None


def _chapters(facts: Facts, units: Sequence[UnitView]) -> Iterator[Chapter]:
    """The contents, in the order of the page."""
    yield Chapter("overview", "Overview")
    for unit in units:
        own = unit.told
        sections = (
            ("funnel", "Funnel", True),
            ("overlap", "Overlap of filters", unit.overlap),
            ("histograms", "Histograms", unit.histograms),
            ("values", "Values", own.counted),
            ("galleries", "Galleries", own.galleries),
        )
        below = tuple(Chapter(f"{unit.id}-{name}", words) for name, words, there in sections if there)
        yield Chapter(unit.id, own.name.capitalize(), below)
    chapters = (
        ("documents", "Documents to read", facts.shown),
        ("downloads", "Downloads", facts.downloads),
        ("copies", "Copies", facts.copies),
        ("captions", "Captions", facts.captions),
        ("withheld", "Withheld pictures", facts.withheld),
        ("costs", "Time and costs", facts.costs),
        ("config", "Config and versions", facts.config or facts.about),
    )
    yield from (Chapter(name, words) for name, words, there in chapters if there)


def _fetched(facts: Facts) -> tuple[int, int]:
    statuses = facts.downloads.statuses if facts.downloads else ()
    return sum(rows for kind, _, rows in statuses if kind.endswith("success")), sum(rows for _, _, rows in statuses)


def _unit(unit: Unit, place: int, config: Mapping[str, Any]) -> UnitView:
    name = f"unit{place + 1}"
    stages = []
    for stage, group in groupby(unit.funnel, key=lambda row: row.stage):
        rows = list(group)
        stages.append(Stage(stage, rows[0].came_in, sum(row.dropped for row in rows), rows[-1].kept))
    histograms = tuple(
        _histogram(one, f"{name}-h{n + 1}", unit.name, filter_table(config, unit.name, one.filter))
        for n, one in enumerate(unit.histograms)
    )
    drawn_first = tuple(sorted(histograms, key=lambda one: one.plot is None))
    return UnitView(name, unit, tuple(stages), _overlap(unit.overlap), drawn_first)


def _histogram(told_one: Histogram, name: str, unit: str, table: str) -> HistogramView:
    if not drawable(told_one):
        return HistogramView(name, told_one, "", None, None)
    if not told_one.filter and sum(map(bool, told_one.rows)) == 1:
        return HistogramView(name, told_one, _one_bin(told_one, unit), None, None)
    words = sentence(told_one, unit)
    drawn = plot(told_one, name, told(words))
    return HistogramView(name, told_one, words, drawn, answers(told_one, drawn, table))


def _one_bin(histogram: Histogram, unit: str) -> str:
    """What is said instead of a drawing of one bar."""
    place = next(place for place, rows in enumerate(histogram.rows) if rows)
    low, high = histogram.edges[place : place + 2]
    if len(histogram.rows) > 1 and all(edge == int(edge) for edge in histogram.edges):
        high -= 1  # of a single bin, both edges are in it
    ends = " to ".join(dict.fromkeys(with_unit(edge, histogram.name) for edge in (low, high)))
    return (
        f"All {number(histogram.rows[place])} {unit} that have a number: {ends}; {number(histogram.left[place])} kept."
    )


def sentence(histogram: Histogram, unit: str) -> str:
    """What a histogram shows, for who does not see it."""
    edges, rows = histogram.edges, histogram.rows
    most = max(range(len(rows)), key=rows.__getitem__)
    low, high, first, last = (
        with_unit(edge, histogram.name) for edge in (edges[most], edges[most + 1], edges[0], edges[-1])
    )
    bounds = [
        f"{setting or bound} = {with_unit(value, histogram.name)}"
        for bound, setting, value in (
            ("min", histogram.min_setting, histogram.min),
            ("max", histogram.max_setting, histogram.max),
        )
        if value is not None
    ]
    held = f" Bounds: {', '.join(bounds)}." if bounds else ""
    return (
        f"Histogram of {histogram.name}: {number(sum(rows))} {unit} from {first} to {last}, "
        f"most of them ({number(rows[most])}) between {low} and {high}.{held}"
    )


def _lengths(captions: Captions, place: int) -> Iterator[HistogramView]:
    for name, one in (("web", captions.web_words), ("synthetic", captions.synthetic_words)):
        if one is not None:
            yield _histogram(one, f"captions{place + 1}-{name}", "texts", "")


def _overlap(overlap: Overlap | None) -> OverlapView | None:
    """The filters that drop anything, at most 30; a shade is the share of the row's filter that the other drops too."""
    if overlap is None or not overlap.filters:
        return None
    own = [overlap.both[place][place] for place in range(len(overlap.filters))]
    busy = [place for place, count in enumerate(own) if count]
    chosen = sorted(sorted(busy, key=lambda place: -own[place])[:FILTERS])
    shades = {i: _shades(overlap.both[i], own[i], chosen) for i in chosen}
    rows = tuple((overlap.filters[i], own[i], overlap.alone[i], shades[i]) for i in chosen)
    idle = tuple(name for name, count in zip(overlap.filters, own, strict=True) if not count)
    return OverlapView(tuple(overlap.filters[i] for i in chosen), rows, idle[:100], len(busy) - len(chosen))


def _shades(both: Sequence[int], own: int, chosen: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple((both[j], min(LEVELS, -(-LEVELS * both[j] // own))) for j in chosen)
