"""What does not belong inside the content: forms, lists of links, players, share buttons, boxes of other stories.

A form, table, list or div is judged by what is left in it after its inner ones were judged: the rules are those of
Readability, which names them conditional cleaning. Nodes are visited from the last to the first; what was cut inside
one is kept on a stack and subtracted, so the whole is linear.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from curate.document.regions_measure import COUNTS, Marks, Measures
from curate.document.tree import TEXT, Tree

__all__ = ["Cut", "clean"]

CONDITIONAL = frozenset(("form", "fieldset", "table", "ul", "div", "section"))
ALWAYS = {"button": "form", "select": "form", "textarea": "form", "object": "player", "embed": "player"}
ENOUGH_COMMAS = 10
SHARE_CHARS = 500
SHORT_CHARS, LONG_CHARS = 25, 80
FEW_LINKS, MANY_LINKS = 0.2, 0.5
"""Highest share of text in links: of a part that nothing speaks for, and of one with a class name for content."""
MOSTLY = 0.9
DATA_ROWS, DATA_COLUMNS, DATA_CELLS = 10, 4, 10
_AD_WORDS = frozenset(
    ("ad", "advertising", "advertisement", "pub", "publicité", "werb", "werbung", "广告", "реклама", "anuncio")
)
_LOADING_WORDS = frozenset(("loading", "正在加载", "загрузка", "chargement", "cargando"))
_DATA_PARTS = frozenset(("col", "colgroup", "tfoot", "thead", "th", "caption"))


class Cut(NamedTuple):
    """A subtree that is taken out of the content, and why."""

    node: int
    region: str
    reason: str


class _Counts(NamedTuple):
    chars: float
    commas: float
    links: float
    paragraphs: float
    images: float
    items: float
    inputs: float
    headings: float
    listed: float
    dense: float
    videos: float
    blocks: float


assert _Counts._fields == COUNTS


def clean(tree: Tree, measures: Measures, marks: Marks, slices: list[tuple[int, int]], use_weights: bool) -> list[Cut]:
    """What to cut from the content, in no particular order."""
    weights = marks.weights if use_weights else {}
    shares = frozenset(marks.shares)
    inside = bytearray(len(tree))
    for start, end in slices:
        inside[start:end] = b"\1" * (end - start)
    nodes = [node for node in _judged(tree, measures, shares, weights) if inside[node]]
    rows = measures.totals[:, nodes].T.tolist()
    shelter = _Shelter(tree, measures)
    cuts: list[Cut] = []
    stack: list[tuple[int, list[float]]] = []
    for node, row in zip(reversed(nodes), reversed(rows), strict=True):
        gone = [0.0] * len(row)
        while stack and stack[-1][0] < tree.ends[node]:
            gone = [a + b for a, b in zip(gone, stack.pop()[1], strict=True)]
        left = _Counts(*(a - b for a, b in zip(row, gone, strict=True)))
        if tree.tags[node] in ("form", "fieldset"):
            left = _Counts(*row)
        reason = _verdict(tree, node, left, weights.get(node, 0), shelter, node in shares)
        if reason is not None:
            cuts.append(Cut(node, *reason))
        stack.append((node, gone if reason is None else row))
    return cuts


def _judged(tree: Tree, measures: Measures, shares: frozenset[int], weights: dict[int, int]) -> Iterator[int]:
    blocks, densities = measures.total("blocks"), measures.densities
    for node, tag in enumerate(tree.tags):
        if measures.left_out[node]:
            continue
        if tag == "div" and blocks[node] == 1 and densities[node] < 0.25 and node not in shares:
            continue
        if tag in CONDITIONAL or tag in ALWAYS or node in shares or (tag in ("h1", "h2") and weights.get(node, 0) < 0):
            yield node


class _Shelter:
    """What is never cut: tables of data with all that is in them, code, and what holds such a table."""

    def __init__(self, tree: Tree, measures: Measures) -> None:
        size = len(tree)
        self.sheltered, self.in_figure = bytearray(size), bytearray(size)
        holds = [0] * (size + 1)
        for node, tag in enumerate(tree.tags):
            end = tree.ends[node]
            if tag == "figure":
                self.in_figure[node:end] = b"\1" * (end - node)
            elif tag == "code" or (tag == "table" and _is_data(tree, node)):
                self.sheltered[node:end] = b"\1" * (end - node)
                holds[node] = tag == "table"
        self.running = np.cumsum(holds).tolist()
        self.ends = tree.ends

    def covers(self, node: int) -> bool:
        """Whether the node is in something sheltered, or holds a table of data."""
        return bool(self.sheltered[node]) or self.running[self.ends[node] - 1] > (self.running[node - 1] if node else 0)


def _is_data(tree: Tree, node: int) -> bool:
    """Whether a table holds data and not the layout of a page."""
    attributes = tree.attributes[node]
    if attributes.get("role") == "presentation" or attributes.get("datatable") == "0":
        return False
    if attributes.get("summary"):
        return True
    inside = tree.tags[node + 1 : tree.ends[node]]
    if not _DATA_PARTS.isdisjoint(inside):
        return True
    if "table" in inside:
        return False
    rows = inside.count("tr")
    columns = inside.count("td") / rows if rows else 0
    if rows <= 1 or columns <= 1:
        return False
    return rows >= DATA_ROWS or columns > DATA_COLUMNS or rows * columns > DATA_CELLS


def _verdict(
    tree: Tree, node: int, left: _Counts, weight: int, shelter: _Shelter, shares: bool
) -> tuple[str, str] | None:
    """Region and reason of a part that is to be cut, None if it stays."""
    tag = tree.tags[node]
    if tag in ALWAYS:
        return "form", ALWAYS[tag]
    if shares and left.chars < SHARE_CHARS:
        return "share", "share_buttons"
    if tag in ("h1", "h2"):
        return "boilerplate", "unlikely_heading"
    if tag not in CONDITIONAL or tag == "section" or shelter.covers(node):
        return None
    if weight < 0:
        return "boilerplate", "unlikely_name"
    if left.commas >= ENOUGH_COMMAS or left.videos:
        return None
    if left.chars < SHORT_CHARS and _says_nothing(tree, node):
        return "advertisement", "advertisement"
    is_list = tag == "ul" or (left.chars > 0 and left.listed / left.chars > MOSTLY)
    reason = _why(tag, left, weight, is_list, bool(shelter.in_figure[node]))
    if reason and is_list and left.images and left.images == left.items and _is_gallery(tree, node):
        return None
    return ("form" if tag in ("form", "fieldset") else "boilerplate", reason) if reason else None


def _why(tag: str, left: _Counts, weight: int, is_list: bool, in_figure: bool) -> str | None:
    """The rules for a part with few commas."""
    density = left.links / left.chars if left.chars else 0.0
    headings = left.headings / left.chars if left.chars else 0.0
    if not in_figure and left.images > 1 and left.paragraphs / left.images < 0.5:
        return "more_images_than_text"
    if not is_list and left.items - 100 > left.paragraphs:
        return "link_list"
    if left.inputs > left.paragraphs // 3:
        return "form"
    if (
        not is_list and not in_figure and headings < MOSTLY and left.chars < SHORT_CHARS
        and (left.images == 0 or left.images > 2) and density > 0
    ):  # fmt: skip
        return "link_list"
    if (not is_list and weight < 25 and density > FEW_LINKS) or (weight >= 25 and density > MANY_LINKS):
        return "link_list"
    return "low_text_density" if left.images == 0 and left.chars < LONG_CHARS and left.dense <= (tag != "form") else None


def _is_gallery(tree: Tree, node: int) -> bool:
    """A list with one picture in each item."""
    return "img" in tree.tags[node : tree.ends[node]]


def _says_nothing(tree: Tree, node: int) -> bool:
    parts = (
        text for tag, text in zip(tree.tags[node : tree.ends[node]], tree.texts[node:], strict=False) if tag == TEXT
    )
    words = " ".join("".join(parts).split()).lower().rstrip(".… ")
    return words in _AD_WORDS or words in _LOADING_WORDS
