"""Histograms as SVG that follow the page's colours and its sliders.

matplotlib draws bars, axes and ticks; what it writes is then made fit for a page that forbids inline styles: colours
become classes (so that a dark page has dark plots), identifiers get the plot's own prefix, dates and metadata go. Only
numbers are drawn, never a name: texts of strangers stay in the page, where they are escaped. The same histogram gives
the same bytes. One plot is some 7 kB and 25 ms.

What stays between the bounds is the same bars once more in the accent's colour, seen through a clipping rectangle; a
slider moves the rectangle and nothing is drawn again.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

from curate.document.render import plain
from curate.report.facts import Histogram
from curate.report.page.words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

__all__ = ["Plot", "bound_edges", "drawable", "plot"]

WIDTH, HEIGHT = 420.0, 176.0
"""Of a plot, in its own units; the page scales it."""
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 8.0, 26.0
"""The margins around the bars."""
MOST_BINS = 512
"""That are drawn; a page has room for no more."""
FURTHEST = 1e300
"""From 0, of an edge that is drawn."""
PAINT = {"#aa0001": "gone", "#aa0002": "alone", "#aa0003": "kept", "#aa0004": "grid", "#aa0005": "ink"}
"""The colours that are drawn with, and the classes that they become."""
GONE, ALONE, KEPT, GRID, INK = PAINT
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
_NAMES = re.compile(r"url\(#([\w-]+)\)")


@dataclass(frozen=True)
class Plot:
    """A drawn histogram. `name` begins its identifiers; `svg` is the element; `x`: where each edge lies, in the
    drawing's units; `at`: the edges that the bounds are at, (0, n) without bounds."""

    name: str
    svg: Markup
    x: tuple[float, ...]
    at: tuple[int, int]


def drawable(histogram: Histogram) -> bool:
    """Whether the histogram has bins to draw: finite edges that grow, as many counts as bins, not too many."""
    edges = histogram.edges
    grows = (
        1 < len(edges) <= MOST_BINS + 1
        and all(abs(edge) < FURTHEST for edge in edges)
        and all(a <= b for a, b in pairwise(edges))
    )
    return grows and len(histogram.rows) == len(histogram.left) == len(edges) - 1


def bound_edges(histogram: Histogram) -> tuple[int, int]:
    """The places i and j of the edges that the bounds are at: bins i up to, and without, j are inside."""
    edges, last = histogram.edges, len(histogram.edges) - 1
    low = 0 if histogram.min is None else min(bisect_left(edges, histogram.min), last)
    high = last if histogram.max is None else min(bisect_right(edges, histogram.max), last)
    return low, high


def plot(histogram: Histogram, name: str, words: str) -> Plot:
    """Draw a histogram that is `drawable`. `name` begins all identifiers in it; `words` say what it shows."""
    edges, log = _drawn_edges(histogram)
    svg, axes = _draw(histogram, edges, log)
    to_pixels = axes.transData.transform([(edge, 0) for edge in edges])[:, 0]
    x = tuple(round(min(max(float(place), LEFT), WIDTH - RIGHT), 1) for place in to_pixels)
    at = bound_edges(histogram)
    root = _cleaned(ElementTree.fromstring(svg), name)  # noqa: S314 (what matplotlib has just written)
    root.set("aria-label", plain(words))
    _add_bounds(root, histogram, name, (x[at[0]], x[at[1]]))
    ElementTree.register_namespace("", SVG.strip("{}"))
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    return Plot(name, Markup(text), x, at)  # noqa: S704 (no text of anybody is in it)


def _drawn_edges(histogram: Histogram) -> tuple[list[float], bool]:
    """Where the edges are drawn: one at 0 has no place on an axis of factors and is put a factor below the next; bins
    without a width get one."""
    edges = [float(edge) for edge in histogram.edges]
    log = histogram.log and len(edges) > 2 and edges[1] > 0 and edges[-1] > edges[1]
    if log and edges[0] <= 0:
        edges[0] = edges[1] * edges[1] / edges[2] if edges[2] > edges[1] else edges[1] / 2
    if edges[0] == edges[-1]:
        half = max(0.5, abs(edges[0]) / 2)
        step = 2 * half / (len(edges) - 1)
        edges = [edges[0] - half + step * place for place in range(len(edges))]
    return edges, log


def _draw(histogram: Histogram, edges: Sequence[float], log: bool) -> tuple[bytes, Axes]:
    from matplotlib import rc_context, rcdefaults
    from matplotlib.figure import Figure

    with rc_context():
        rcdefaults()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "curate", "path.simplify": False}):
            figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)
            figure.patch.set_visible(False)
            box = (LEFT / WIDTH, BOTTOM / HEIGHT, 1 - (LEFT + RIGHT) / WIDTH, 1 - (TOP + BOTTOM) / HEIGHT)
            axes = figure.add_axes(box)
            for counts, colour in ((histogram.rows, GONE), (histogram.left, ALONE), (histogram.left, KEPT)):
                axes.stairs(counts, edges, fill=True, color=colour, linewidth=0, gid=PAINT[colour])
            _dress(axes, edges, max(histogram.rows), log)
            written = io.BytesIO()
            figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Type": None})
    return written.getvalue(), axes


def _dress(axes: Axes, edges: Sequence[float], most: int, log: bool) -> None:
    """Axes without a frame: a line below, counts on grid lines, some numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    if log:
        axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, max(most, 1) * 1.04)
    axes.patch.set_visible(False)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.xaxis.set_major_locator(_places(edges, log))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: _tick(value, value if log else edges[-1])))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: _tick(value, most)))
    axes.tick_params(axis="both", which="both", length=0, labelcolor=INK, labelsize=11)
    axes.tick_params(axis="x", which="both", pad=7)


def _places(edges: Sequence[float], log: bool) -> Locator:
    """Where numbers stand below the bars: at whole ones where all edges are."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if not log:
        return MaxNLocator(5, integer=all(edge == int(edge) for edge in edges))
    ratio = edges[-1] / edges[0]
    subs = (1.0,) if ratio > 30 else (1.0, 2.0, 5.0) if ratio > 5 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    return LogLocator(numticks=8, subs=subs)


def _tick(value: float, most: float) -> str:
    """A number short enough for an axis that reaches to `most`."""
    for least, step, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(most) >= least and value:
            return f"{number(round(value / step, 3))}{unit}"
    return number(value)


def _cleaned(root: ElementTree.Element, name: str) -> ElementTree.Element:
    """matplotlib's drawing without styles and metadata, its identifiers beginning with `name`."""
    for parent in root.iter():
        for child in [c for c in parent if c.tag.removeprefix(SVG) in ("style", "metadata")]:
            parent.remove(child)
        _cleaned_attributes(parent, name)
        parent.tail = None
        parent.text = parent.text if parent.tag == f"{SVG}text" else None
    root.attrib |= {"class": "plot", "role": "img"}
    return root


def _cleaned_attributes(element: ElementTree.Element, name: str) -> None:
    for attribute in ("width", "height", "version", "transform") if element.tag != f"{SVG}rect" else ():
        element.attrib.pop(attribute, None)
    classes = []
    for key, value in _styles(element.attrib.pop("style", "")):
        if value in PAINT:
            classes.append(f"{'f' if key == 'fill' else 's'}-{PAINT[value]}")
        elif not key.startswith("font"):
            element.set(key, value)
    if element.get("id") in PAINT.values():
        classes.append(f"bars-{element.attrib['id']}")
    if classes:
        element.set("class", " ".join(classes))
    for key, value in list(element.attrib.items()):
        if key == HREF:
            del element.attrib[key]
            element.set("href", f"#{name}-{value.removeprefix('#')}")
        else:
            element.set(key, f"{name}-{value}" if key == "id" else _NAMES.sub(rf"url(#{name}-\1)", value))


def _styles(style: str) -> Iterator[tuple[str, str]]:
    for declaration in style.split(";"):
        key, colon, value = declaration.partition(":")
        if colon:
            yield key.strip(), value.strip()


def _add_bounds(root: ElementTree.Element, histogram: Histogram, name: str, at: tuple[float, float]) -> None:
    """The rectangle through which the kept bars are seen, and a line at each bound."""
    height = HEIGHT - TOP - BOTTOM
    place = {"y": f"{TOP:g}", "height": f"{height:g}"}
    clip = ElementTree.SubElement(root, f"{SVG}clipPath", {"id": f"{name}-inside"})
    inside = {"class": "inside", "x": f"{at[0]:g}", "width": f"{max(0.0, at[1] - at[0]):g}"}
    ElementTree.SubElement(clip, f"{SVG}rect", {**inside, **place})
    for group in root.iter(f"{SVG}g"):
        if group.get("id") == f"{name}-kept":
            group.set("clip-path", f"url(#{name}-inside)")
    for bound, x in zip(("min", "max"), at, strict=True):
        if getattr(histogram, bound) is not None:
            ends: dict[str, Any] = {"x1": f"{x:g}", "x2": f"{x:g}", "y1": "2", "y2": f"{HEIGHT - BOTTOM:g}"}
            ElementTree.SubElement(root, f"{SVG}line", {"class": "bound", **ends})
            ElementTree.SubElement(root, f"{SVG}line", {"class": f"now {bound}", **ends})
