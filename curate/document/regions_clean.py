"""What does not belong inside the content: forms, lists of links, players, share buttons, boxes of other stories.

A form, table, list or div is judged by what is left in it after its inner ones were judged; these are the rules that
Readability calls conditional cleaning. Nodes are visited from the last to the first; what was cut inside one is kept
on a stack and subtracted, so the whole is linear.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curate.document.regions_main import FEW_LINKS as FEW_LINKS_IN_TEXT
from curate.document.regions_main import LEAST_SHARE, LONG_PARAGRAPH, Slice
from curate.document.regions_marks import Marks
from curate.document.regions_measure import Counts, Kind, Measures, children, outermost
from curate.document.tree import TEXT, Tree

__all__ = ["Cut", "clean"]

_ALWAYS = {
    "button": ("form", "form"), "select": ("form", "form"), "textarea": ("form", "form"),
    "object": ("boilerplate", "player"), "embed": ("boilerplate", "player"),
}  # fmt: skip
_WHOLE = frozenset(("form", "fieldset"))
"""Judged with the controls that are cut from them."""
ENOUGH_COMMAS = 10
SHARE_CHARS = 500
SHORT_CHARS = 25
FEW_LINKS, MANY_LINKS = 0.2, 0.5
"""Highest share of text in links: of a part that nothing speaks for, and of one with a class name for content."""
MOSTLY = 0.9
LEAST_PARAGRAPHS_PER_IMAGE = 0.5
FREE_ITEMS = 100
DATA_ROWS, DATA_COLUMNS, DATA_CELLS = 10, 4, 10
LARGEST_TABLE_NODES = 5_000
"""Of a larger table the first nodes say what it is."""
MOST_FILLER_NODES = 50
_DATA_PARTS = frozenset(("col", "colgroup", "tfoot", "thead", "th", "caption"))
_FILLERS = frozenset((
    "ad", "advertising", "advertisement", "pub", "publicité", "werb", "werbung", "广告", "реклама", "anuncio",
    "loading", "正在加载", "загрузка", "chargement", "cargando",
))  # fmt: skip


class Cut(NamedTuple):
    """A subtree that is taken out of the content, and why."""

    node: int
    region: str
    reason: str


def clean(tree: Tree, measures: Measures, marks: Marks, slices: list[Slice]) -> list[Cut]:
    """What to cut from the slices of content, from the last to the first; a cut may lie within another."""
    inside = np.zeros(len(tree), np.bool_)
    for start, end in slices:
        inside[start:end] = True
    shares = frozenset(marks.shares)
    judged = [*measures.nodes(Kind.JUDGED), *(node for node in shares if measures.bits[node])]
    nodes = sorted(node for node in set(judged) if inside[node])
    most_chars = LEAST_SHARE * sum(measures.totals[0, start] for start, _ in slices)
    judge = _Judge(tree, measures, marks.weights, shares, most_chars)
    cuts: list[Cut] = []
    stack: list[tuple[int, list[float]]] = []
    for node, row in zip(reversed(nodes), reversed(measures.totals[:, nodes].T.tolist()), strict=True):
        gone = [0.0] * len(row)
        while stack and stack[-1][0] < tree.ends[node]:
            gone = [a + b for a, b in zip(gone, stack.pop()[1], strict=True)]
        left = row if tree.tags[node] in _WHOLE else [a - b for a, b in zip(row, gone, strict=True)]
        found = judge.verdict(node, Counts(*left))
        if found is not None:
            cuts.append(Cut(node, *found))
        stack.append((node, gone if found is None else row))
    return cuts


class _Judge:
    """The rules for one part. What lies in code or in a table of data, and what holds such a table, is never cut; what
    has more than `most_chars` is not cut for its name."""

    def __init__(
        self, tree: Tree, measures: Measures, weights: dict[int, int], shares: frozenset[int], most_chars: float
    ) -> None:
        self.tree, self.densities, self.weights, self.shares = tree, measures.densities, weights, shares
        self.most_chars = most_chars
        shelter = measures.nodes(Kind.SHELTER)
        tables = [node for node in shelter if tree.tags[node] == "table" and _is_data(tree, node)]
        self.in_figure = _spread(tree, [node for node in shelter if tree.tags[node] == "figure"])
        self.sheltered = _spread(tree, sorted([node for node in shelter if tree.tags[node] == "code"] + tables))
        self.tables = np.array(tables)

    def verdict(self, node: int, left: Counts) -> tuple[str, str] | None:
        """Region and reason of a part that is to be cut, None if it stays. `left`: what it still holds."""
        tag, weight = self.tree.tags[node], self.weights.get(node, 0)
        if tag in _ALWAYS:
            return _ALWAYS[tag]
        if node in self.shares and left.chars < SHARE_CHARS:
            return "share", "share_buttons"
        if tag in ("h1", "h2") or self._is_paragraph(node, tag, left):
            return ("boilerplate", "unlikely_heading") if tag != "div" and weight < 0 else None
        if tag not in ("form", "fieldset", "table", "ul", "div") or self._is_sheltered(node):
            return None
        if weight < 0 and left.chars <= self.most_chars:
            return "boilerplate", "unlikely_name"
        if left.commas >= ENOUGH_COMMAS or left.videos:
            return None
        if 0 < left.chars < SHORT_CHARS and _is_filler(self.tree, node):
            return "advertisement", "advertisement"
        reason = self._why(node, left, weight)
        return ("form" if tag in _WHOLE else "boilerplate", reason) if reason else None

    def _is_paragraph(self, node: int, tag: str, left: Counts) -> bool:
        """A div of plain text is a paragraph: it is kept as one."""
        return tag == "div" and left.blocks == 1 and self.densities[node] < FEW_LINKS_IN_TEXT

    def _is_sheltered(self, node: int) -> bool:
        low, high = np.searchsorted(self.tables, (node, self.tree.ends[node]))
        return bool(self.sheltered[node]) or bool(high > low)

    def _why(self, node: int, left: Counts, weight: int) -> str | None:
        """The rules for a part with few commas."""
        chars = max(left.chars, 1)
        density, tag = left.links / chars, self.tree.tags[node]
        is_list = tag == "ul" or left.listed / chars > MOSTLY
        figure = bool(self.in_figure[node])
        if not figure and left.images > 1 and left.paragraphs / left.images < LEAST_PARAGRAPHS_PER_IMAGE:
            return None if is_list and left.images == left.items and self._is_gallery(node) else "more_images_than_text"
        if left.inputs > left.paragraphs // 3:
            return "form"
        is_label = left.chars < SHORT_CHARS and left.headings / chars < MOSTLY and not 1 <= left.images <= 2
        if not is_list and (
            left.items - FREE_ITEMS > left.paragraphs
            or (is_label and density > 0 and not figure)
            or (weight < 25 and density > FEW_LINKS)
        ):
            return "link_list"
        if weight >= 25 and density > MANY_LINKS:
            return "link_list"
        bare = left.images == 0 and left.dense <= (tag not in _WHOLE)
        return "low_text_density" if bare and left.chars < LONG_PARAGRAPH else None

    def _is_gallery(self, node: int) -> bool:
        """A list whose items hold one element each."""
        tree = self.tree
        items = (child for child in children(tree, node) if tree.tags[child] != TEXT)
        return all(sum(tree.tags[part] != TEXT for part in children(tree, item)) <= 1 for item in items)


def _spread(tree: Tree, nodes: list[int]) -> bytearray:
    """1 for every node in one of the subtrees."""
    covered = bytearray(len(tree))
    for node in outermost(nodes, tree.ends):
        covered[node : tree.ends[node]] = b"\1" * (tree.ends[node] - node)
    return covered


def _is_data(tree: Tree, node: int) -> bool:
    """Whether a table holds data and not the layout of a page."""
    attributes = tree.attributes[node]
    if attributes.get("role") == "presentation" or attributes.get("datatable") == "0":
        return False
    inside = tree.tags[node + 1 : min(tree.ends[node], node + LARGEST_TABLE_NODES)]
    if attributes.get("summary") or not _DATA_PARTS.isdisjoint(inside):
        return True
    rows, cells = inside.count("tr"), inside.count("td")
    if "table" in inside or rows <= 1 or cells <= rows:
        return False
    return rows >= DATA_ROWS or cells / rows > DATA_COLUMNS or cells > DATA_CELLS


def _is_filler(tree: Tree, node: int) -> bool:
    """Whether all that a part says is that an advertisement stands there, or that something is loading."""
    if tree.ends[node] - node > MOST_FILLER_NODES:
        return False
    words = " ".join("".join(tree.texts[node : tree.ends[node]]).split()).lower()
    return words.rstrip(".… ") in _FILLERS
