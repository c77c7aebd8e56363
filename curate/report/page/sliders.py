"""What a slider under a histogram needs to answer in the page: counts per bin, and the setting each edge stands for.

A slider stands on an edge, never between two, so its answer is exact: what is inside is a sum of bins. The line of TOML
is exact too. A lower bound is the edge itself. An upper bound is included in what it keeps while an edge is not, so it
is the largest number below the edge: the config's own bound where the edge is just above it, the whole number before
where all edges are whole (words, pixels, bytes), else the next smaller number that a float of the column can say, for
filters compare in its precision. The outermost bins hold all that lies further out, so at the outer end the bound is
the outermost number that there is, for leaving a setting out may mean its default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from curate.document.render import plain
from curate.report.facts import Histogram
from curate.report.page.plots import Plot
from curate.report.page.words import number, size, told
from curate.toml_text import toml_key

__all__ = ["Answers", "Slider", "answers", "filter_table", "with_unit"]

NAME = 80
"""Letters of a filter's or a setting's name that are shown."""

FLOATS: Mapping[int, type[np.floating[Any]]] = {16: np.float16, 32: np.float32}
_UNIT = re.compile(r"_(px|bytes|s)$")


@dataclass(frozen=True)
class Slider:
    """One bound. `at`: the edge it is at by the config; `settings` and `words`: per edge (n + 1) what to write, empty
    where that is not known, and how to tell it. It moves from `first` to `last`: never to where all is dropped, for
    beyond the outermost edge nobody has counted."""

    bound: str
    setting: str
    at: int
    first: int
    last: int
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
    named = [(bound, plain(told(getattr(histogram, f"{bound}_setting"), NAME)), at) for bound, at in bounds]
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
    return plain(f"{toml_key(table)}.{toml_key(told(name, NAME))}")


def with_unit(value: float, name: str) -> str:
    """A number of the column `name`, with the unit that its last part says."""
    unit = _UNIT.search(name)
    if unit is None or not math.isfinite(value):
        return number(value)
    return f"{number(value)} {unit[1]}" if unit[1] != "bytes" else size(value)


def _slider(histogram: Histogram, bound: str, name: str, at: int) -> Slider:
    own: float = getattr(histogram, bound)
    edges = histogram.edges
    whole = all(edge == int(edge) for edge in edges)
    open_end = 0 if bound == "min" else len(edges) - 1
    settings, words = [], []
    for place, edge in enumerate(edges):
        value = own if place == at else edge if bound == "min" else _just_below(edge, whole, histogram.bits)
        below = "below " if bound == "max" and place != at and not whole else ""
        shown = edge if below else value
        if place == open_end and place != at:
            setting, said = _outermost(histogram, bound, own, whole)
        else:
            setting, said = _setting(value, whole), f"{below}{with_unit(shown, histogram.name)}"
        settings.append(setting)
        words.append(said)
    first, last = (0, max(at, len(edges) - 2)) if bound == "min" else (min(at, 1), len(edges) - 1)
    return Slider(bound, name, at, first, last, tuple(settings), tuple(words))


def _outermost(histogram: Histogram, bound: str, own: float, whole: bool) -> tuple[str, str]:
    """The setting that drops nothing, no stricter than any other on its way there; none where it is not known."""
    if bound == "min" and histogram.least is not None:
        return _setting(min(histogram.least, own, histogram.edges[1]), whole), "drops none"
    if bound == "max" and histogram.most is not None:
        inside = _just_below(histogram.edges[-2], whole, histogram.bits)
        return _setting(max(histogram.most, own, inside), whole), "drops none"
    return "", "no bound"


def _just_below(edge: float, whole: bool, bits: int) -> float:
    """The largest number that is in the bins below an edge, of floats of so many bits."""
    if whole:
        return edge - 1
    of = FLOATS.get(bits, np.float64)
    with np.errstate(over="ignore"):
        return float(np.nextafter(of(edge), of(-np.inf)))


def _setting(value: float, whole: bool) -> str:
    """A number as TOML has it; whole where the setting is."""
    return str(int(value)) if isinstance(value, int) or (whole and value == int(value)) else repr(float(value))
