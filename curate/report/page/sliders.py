"""What a slider under a histogram needs to answer in the page: counts per bin, and the setting each edge stands for.

A slider stands on an edge, never between two, so its answer is exact: what is inside is a sum of bins. The line of TOML
is exact too. A lower bound is the edge itself. An upper bound is included in what it keeps while an edge is not, so it
is the largest number below the edge: the config's own bound where the edge is just above it, the whole number before
where all edges are whole (words, pixels, bytes), else the next smaller number that a float can say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from curate.document.render import plain
from curate.report.facts import Histogram
from curate.report.page.plots import Plot
from curate.report.page.toml import toml_key
from curate.report.page.words import number, size

__all__ = ["Answers", "Slider", "answers", "filter_table", "with_unit"]

_UNIT = re.compile(r"_(px|bytes|s)$")


@dataclass(frozen=True)
class Slider:
    """One bound. `at`: the edge it is at by the config; `settings` and `words`: per edge (n + 1) what to write, and how
    to tell it."""

    bound: str
    setting: str
    at: int
    settings: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """All that page.js reads of one histogram. `left` (n) and `always`: rows that stay whatever the bounds are; `rows`:
    all; `x` (n + 1): where the edges are drawn; `table`: the filter's in the config."""

    id: str
    rows: int
    left: tuple[int, ...]
    always: int
    x: tuple[float, ...]
    table: str
    sliders: tuple[Slider, ...]

    @property
    def kept(self) -> int:
        """Rows that stay with the bounds as they are."""
        at = {one.bound: one.at for one in self.sliders}
        return sum(self.left[at.get("min", 0) : at.get("max", len(self.left))]) + self.always

    def as_json(self) -> dict[str, Any]:
        """For the page's script."""
        return asdict(self)


def answers(histogram: Histogram, plot: Plot, table: str) -> Answers:
    """What moves under a histogram; without sliders where nothing bounds it."""
    bounds = zip(("min", "max"), plot.at, strict=True)
    named = [(bound, getattr(histogram, f"{bound}_setting"), at) for bound, at in bounds]
    sliders = tuple(
        _slider(histogram, bound, setting, at)
        for bound, setting, at in named
        if setting and getattr(histogram, bound) is not None
    )
    rows = sum(histogram.rows) + histogram.without
    return Answers(plot.name, rows, histogram.left, histogram.without_kept, plot.x, table, sliders)


def filter_table(config: Mapping[str, Any], unit: str, name: str) -> str:
    """The config's table of a filter, such as `filters.blur` or `document_filters.text_words`: where it stands there,
    else where it would."""
    of_documents = "document_filters"
    places = [
        key for key, own in config.items() if key.endswith("filters") and isinstance(own, Mapping) and name in own
    ]
    right = [key for key in places if (key == of_documents) == (unit == "documents")]
    table = right[0] if right else of_documents if unit == "documents" else "filters"
    return plain(f"{toml_key(table)}.{toml_key(name)}")


def with_unit(value: float, name: str) -> str:
    """A number of the column `name`, with the unit that its last part says."""
    unit = _UNIT.search(name)
    if unit is None or not math.isfinite(value):
        return number(value)
    return f"{number(value)} {unit[1]}" if unit[1] != "bytes" else size(value)


def _slider(histogram: Histogram, bound: str, setting: str, at: int) -> Slider:
    own: float = getattr(histogram, bound)
    whole = all(edge == int(edge) or math.nextafter(edge, -math.inf) == histogram.max for edge in histogram.edges)
    make = _least if bound == "min" else _most
    values = [own if place == at else make(histogram.edges, place, whole) for place in range(len(histogram.edges))]
    settings = tuple(str(int(v)) if whole and v == int(v) else repr(float(v)) for v in values)
    shown = [own if place == at else edge for place, edge in enumerate(histogram.edges)]
    below = "" if whole or bound == "min" else "below "
    told = values if whole else shown
    words = tuple(
        f"{below if place != at else ''}{with_unit(value, histogram.name)}" for place, value in enumerate(told)
    )
    return Slider(bound, setting, at, settings, words)


def _least(edges: tuple[float, ...], place: int, whole: bool) -> float:
    """The smallest number that is kept when the lower bound is at an edge; above all at the last one."""
    if place < len(edges) - 1:
        return edges[place]
    return edges[place] + 1 if whole else math.nextafter(edges[place], math.inf)


def _most(edges: tuple[float, ...], place: int, whole: bool) -> float:
    """The largest number that is kept when the upper bound is at an edge; the last edge is in the last bin."""
    if place == len(edges) - 1:
        return edges[place]
    return math.ceil(edges[place]) - 1 if whole else math.nextafter(edges[place], -math.inf)
