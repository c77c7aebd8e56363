"""What the rule of regions counts on a page: for every node what its subtree holds, and where text stands together.

Counts of subtrees are differences of running sums, so that numpy makes all of them at once: a node's subtree is a
slice. Python itself only sees the text nodes. A page of 1,740 nodes takes 0.8 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.document.regions_marks import Marks
from curate.document.tree import TEXT, Tree

__all__ = ["COUNTS", "Counts", "Kind", "Measures", "Run", "children", "measure", "outermost"]

Bits = npt.NDArray[np.int32]


class Kind:
    """Bits of what an element is to the rule."""

    (
        TEXT,
        PARAGRAPH,
        IMAGE,
        ITEM,
        INPUT,
        HEADING,
        LIST,
        LINK,
        BLOCK,
        DENSE,
        INLINE,
        LEAF,
        UNIT,
        BREAK,
        JUDGED,
        SHELTER,
    ) = (1 << bit for bit in range(16))


_GROUPS: dict[int, str] = {
    Kind.TEXT: TEXT,
    Kind.PARAGRAPH: "p",
    Kind.IMAGE: "img",
    Kind.ITEM: "li",
    Kind.INPUT: "input",
    Kind.HEADING: "h1 h2 h3 h4 h5 h6",
    Kind.LIST: "ul ol",
    Kind.LINK: "a",
    Kind.BLOCK: "blockquote dl div ol p pre table ul",
    Kind.DENSE: "span li td blockquote dl div img ol p pre table ul",
    Kind.INLINE: "a abbr audio b bdo button cite code data del dfn em embed font i img input ins kbd label mark math "
    "meter noscript object output progress q ruby samp script select small span strong sub sup textarea time var wbr "
    f"br {TEXT}",
    Kind.LEAF: f"img input button select textarea object embed audio {TEXT}",
    Kind.UNIT: "p td pre section h2 h3 h4 h5 h6",
    Kind.BREAK: "br",
    Kind.JUDGED: "form fieldset table ul div h1 h2 button select textarea object embed",
    Kind.SHELTER: "figure code table",
}


class _Codes(dict[str, int]):
    def __missing__(self, tag: str) -> int:
        return 0


def _codes() -> _Codes:
    codes = _Codes()
    for bit, tags in _GROUPS.items():
        for tag in tags.split():
            codes[tag] = codes[tag] | bit
    return codes


_CODES = _codes()
_TEXT, _BREAK, _INLINE, _LEAF = Kind.TEXT, Kind.BREAK, Kind.INLINE, Kind.LEAF
_OTHER_COMMAS = "\u060c\ufe50\ufe10\ufe11\u2e41\u2e34\u2e32\uff0c"
WITHIN_PAGE = 0.3
"""What a character counts in a link to another place of the same page: notes and contents are no navigation."""


class Counts(NamedTuple):
    """What a subtree holds. Characters: all, in links, in headings, in lists. `dense`: elements of a layout (div, li,
    td, span ...) with text. `paragraphs`: p, and runs of text or pictures that stand in a div. The others: elements.
    """

    chars: float
    commas: float
    links: float
    headings: float
    listed: float
    dense: float
    paragraphs: float
    images: float
    items: float
    inputs: float
    videos: float
    blocks: float


COUNTS = Counts._fields
_LINKS, _LISTED, _DENSE, _PARAGRAPHS, _VIDEOS = map(
    COUNTS.index, ("links", "listed", "dense", "paragraphs", "videos")
)  # fmt: skip
_BITS = (
    Kind.LINK, Kind.HEADING, Kind.LIST, Kind.DENSE, Kind.PARAGRAPH, Kind.IMAGE, Kind.ITEM, Kind.INPUT, 0, Kind.BLOCK,
)  # fmt: skip


class Run(NamedTuple):
    """Text that stands together: `first` is its first node, `block` the nearest element around it that is no part of a
    line, then its characters and commas."""

    first: int
    block: int
    chars: int
    commas: int


@dataclass(frozen=True, slots=True)
class Measures:
    """`bits`: int32, a node's kinds, 0 where it is not counted. `totals`: float64, a row per field of Counts, a column
    per node: what its subtree holds, itself included. `densities`: for each node the share of its text that is in
    links, 0 to 1. `around`: the nearest element, the node itself included, that is no part of a line. `runs`: in
    document order."""

    bits: Bits
    totals: npt.NDArray[np.float64]
    densities: list[float]
    around: list[int]
    runs: list[Run]

    def total(self, name: str) -> list[float]:
        """One row of `totals`."""
        row: list[float] = self.totals[COUNTS.index(name)].tolist()
        return row

    def counts(self, node: int) -> Counts:
        """What one subtree holds."""
        return Counts(*self.totals[:, node].tolist())

    def nodes(self, kind: int) -> list[int]:
        """The counted nodes of a kind, in document order."""
        found: list[int] = np.flatnonzero(self.bits & kind).tolist()
        return found


def outermost(nodes: Iterable[int], ends: list[int]) -> Iterator[int]:
    """Of nodes in document order, those that are in none of the others."""
    edge = 0
    for node in nodes:
        if node >= edge:
            edge = ends[node]
            yield node


def children(tree: Tree, node: int) -> Iterator[int]:
    """A node's children, texts too."""
    child, end = node + 1, tree.ends[node]
    while child < end:
        yield child
        child = tree.ends[child]


def measure(tree: Tree, marks: Marks, left_out: Iterable[int]) -> Measures:
    """Count everything but what is unseen or hidden, and the subtrees of `left_out`."""
    kinds = list(map(_CODES.__getitem__, tree.tags))
    bits = np.array(kinds, np.int32)
    inside = np.ones(len(kinds), np.bool_)
    for node in outermost(sorted({*marks.unseen, *marks.hidden, *left_out}), tree.ends):
        inside[node : tree.ends[node]] = False
    bits[~inside] = 0
    borders = inside & ((bits & Kind.INLINE) == 0)
    events = np.flatnonzero(((bits & (Kind.LEAF | Kind.BREAK)) > 0) | borders)
    around = _around(tree.parents, kinds)
    texts, runs = _read_texts(tree, kinds, around, events.tolist())
    totals = _totals(tree, bits, texts, marks.videos, runs)
    densities = totals[_LINKS] / np.maximum(totals[0], 1)
    return Measures(bits, totals, densities.tolist(), around, runs)


def _read_texts(
    tree: Tree, kinds: list[int], around: list[int], events: list[int]
) -> tuple[list[list[int]], list[Run]]:
    """The nodes that have text, their characters and their commas; and the runs. What ends a run: an element that is no
    part of a line, and two line breaks, which old pages use for a paragraph."""
    nodes: list[int] = []
    chars: list[int] = []
    commas: list[int] = []
    runs: list[Run] = []
    texts = tree.texts
    first, block, length, found, breaks = -1, -1, 0, 0, 0
    for node in events:
        kind, size, count = kinds[node], 0, 0
        if kind & _TEXT:
            text = texts[node].strip()
            if not text:
                continue
            size = len(" ".join(text.split())) if "\n" in text or "  " in text else len(text)
            count = text.count(",") if text.isascii() else _commas(text)
            nodes.append(node)
            chars.append(size)
            commas.append(count)
        breaks = breaks + 1 if kind & _BREAK else 0
        if first >= 0 and (around[node] != block or not kind & _INLINE or breaks == 2):
            runs.append(Run(first, block, length, found))
            first = -1
        if kind & _LEAF:
            if first < 0:
                first, block, length, found = node, around[node], 0, 0
            length += size
            found += count
    if first >= 0:
        runs.append(Run(first, block, length, found))
    return [nodes, chars, commas], runs


def _around(parents: list[int], kinds: list[int]) -> list[int]:
    """For each node the nearest element that is no part of a line: itself, or one above it."""
    around = list(range(len(parents)))
    for node, kind in enumerate(kinds):
        if kind & _INLINE:
            around[node] = around[parents[node]]
    return around


def _commas(text: str) -> int:
    return text.count(",") + sum(map(text.count, _OTHER_COMMAS))


def _totals(
    tree: Tree, bits: Bits, texts: list[list[int]], videos: list[int], runs: list[Run]
) -> npt.NDArray[np.float64]:
    """Sums over subtrees. What is counted of characters by element needs the characters' sums first."""
    ends = np.array(tree.ends)
    own = np.zeros((len(COUNTS), len(bits)))
    own[:2, texts[0]] = texts[1:]
    first = _sums(own[:2], ends)
    for row, bit in enumerate(_BITS, 2):
        own[row] = (bits & bit) > 0
    for node in np.flatnonzero(bits & Kind.LINK).tolist():
        if (tree.attributes[node].get("href") or "").startswith("#"):
            own[_LINKS, node] = WITHIN_PAGE
    own[_LINKS : _LISTED + 1] *= first[0]
    own[_DENSE] *= first[0] > 0
    own[_VIDEOS, videos] = 1
    for run in runs:
        if tree.tags[run.block] == "div":
            own[_PARAGRAPHS, run.first] += 1
            own[_DENSE, run.first] += run.chars > 0
    return np.concatenate([first, _sums(own[2:], ends)])


def _sums(own: npt.NDArray[np.float64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    running = np.zeros((own.shape[0], own.shape[1] + 1))
    np.cumsum(own, axis=1, out=running[:, 1:])
    return running[:, ends] - running[:, :-1]
