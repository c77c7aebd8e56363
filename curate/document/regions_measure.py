"""What the rule of regions counts on a page: marks on single nodes, and for every node what its subtree holds.

Counts of subtrees are differences of running sums, so that numpy makes all of them at once: a node's subtree is a
slice. Python itself only sees the text nodes and the elements with attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.document.regions_words import ROLES, words_of
from curate.document.tree import TEXT, Tree

__all__ = ["COUNTS", "Kind", "Mark", "Marks", "Measures", "Run", "measure", "read_marks"]


class Kind:
    """Bits of what an element is to the rule."""

    TEXT, PARAGRAPH, IMAGE, ITEM, INPUT, HEADING, LIST, EMBED, LINK, BLOCK, DENSE, INLINE, LEAF, UNIT, BREAK = (
        1 << bit for bit in range(15)
    )


_K = Kind
_GROUPS: dict[int, str] = {
    _K.TEXT: TEXT,
    _K.PARAGRAPH: "p",
    _K.IMAGE: "img",
    _K.ITEM: "li",
    _K.INPUT: "input",
    _K.HEADING: "h1 h2 h3 h4 h5 h6",
    _K.LIST: "ul ol",
    _K.EMBED: "object embed iframe",
    _K.LINK: "a",
    _K.BLOCK: "blockquote dl div ol p pre table ul",
    _K.DENSE: "span li td blockquote dl div img ol p pre table ul",
    _K.INLINE: "a abbr audio b bdo button cite code data del dfn em embed font i img input ins kbd label mark "
    "math meter noscript object output progress q ruby samp script select small span strong sub sup textarea time "
    f"var wbr {TEXT}",
    _K.LEAF: f"img input button select textarea object embed audio {TEXT}",
    _K.UNIT: "p td pre section h2 h3 h4 h5 h6",
    _K.BREAK: "br",
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
_UNSEEN = frozenset(("script", "style", "template", "head", "noscript", "iframe"))
_PARTS = {"nav": "navigation", "footer": "footer", "aside": "aside", "dialog": "cookie_notice"}
_TOP = frozenset(("html", "body"))
_NEVER_BESIDE = frozenset(("html", "body", "a", "main", "article"))
_VIDEO_HOSTS = ("youtube", "vimeo", "dailymotion", "bilibili", "player.twitch", "archive.org/embed", "v.qq.com")
_OTHER_COMMAS = "\u060c\ufe50\ufe10\ufe11\u2e41\u2e34\u2e32\uff0c"
COUNTS = (
    "chars", "commas", "links", "paragraphs", "images", "items", "inputs", "headings", "listed", "dense", "videos",
    "blocks",
)  # fmt: skip
"""Rows of `Measures.totals`. Characters: all, in links (a link within the page counts a third), in headings, in lists.
`dense`: elements of a layout (div, li, td, span ...) that hold text. The others count elements."""
_COUNTED_BITS = (
    _K.LINK, _K.PARAGRAPH, _K.IMAGE, _K.ITEM, _K.INPUT, _K.HEADING, _K.LIST, _K.DENSE, 0, _K.BLOCK,
)  # fmt: skip
WITHIN_PAGE = 0.3


class Mark(NamedTuple):
    """A node that says what it is. `sure`: by its element, role or attributes, not by the words of its class or id."""

    node: int
    region: str
    sure: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """What elements say of themselves, in document order. `unseen`: not shown by any browser; `hidden`: by attribute or
    inline style; `beside`: parts of a page that are no content. `weights`: by node, words for or against content.
    `shares`: rows of share buttons. `videos`: embedded players of the large hosts."""

    unseen: list[int] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)
    beside: list[Mark] = field(default_factory=list)
    weights: dict[int, int] = field(default_factory=dict)
    shares: list[int] = field(default_factory=list)
    videos: list[int] = field(default_factory=list)


def read_marks(tree: Tree) -> Marks:
    """One pass over all elements."""
    marks = Marks()
    for node, (tag, attributes) in enumerate(zip(tree.tags, tree.attributes, strict=True)):
        if tag == TEXT:
            continue
        if tag in _UNSEEN:
            marks.unseen.append(node)
        if attributes:
            _read_attributes(tree, node, attributes, marks)
        elif tag in _PARTS:
            marks.beside.append(Mark(node, _PARTS[tag], True))
    return marks


def _read_attributes(tree: Tree, node: int, attributes: Mapping[str, str | None], marks: Marks) -> None:
    tag = tree.tags[node]
    name, identity, get = attributes.get("class"), attributes.get("id"), attributes.get
    if tag not in _TOP and _is_hidden(attributes, name or ""):
        marks.hidden.append(node)
        return
    if _CODES[tag] & Kind.EMBED and any(
        host in (value or "") for value in attributes.values() for host in _VIDEO_HOSTS
    ):
        marks.videos.append(node)
    region = _PARTS.get(tag) or ROLES.get(get("role") or "")
    sure = region is not None
    if name or identity:
        first, second = words_of(name or ""), words_of(identity or "")
        weight = first.weight + second.weight
        if weight:
            marks.weights[node] = weight
        if first.share or second.share:
            marks.shares.append(node)
        if not sure and not (first.excused or second.excused) and tag not in _NEVER_BESIDE:
            region = first.beside or second.beside
    if region is not None and (sure or not _in_table_or_code(tree, node)):
        marks.beside.append(Mark(node, region, sure))


def _is_hidden(attributes: Mapping[str, str | None], name: str) -> bool:
    if "hidden" in attributes:
        return True
    if attributes.get("aria-hidden") == "true" and "fallback-image" not in name:
        return True
    style = attributes.get("style")
    if not style or ("none" not in style and "hidden" not in style):
        return False
    plain = "".join(style.lower().split())
    return "display:none" in plain or "visibility:hidden" in plain


def _in_table_or_code(tree: Tree, node: int) -> bool:
    """Whether one of the four elements above is a table or code: names in there speak of columns and tokens."""
    for _ in range(4):
        node = tree.parents[node]
        if node < 0:
            return False
        if tree.tags[node] in ("table", "code"):
            return True
    return False


class Run(NamedTuple):
    """Text that stands together in one line of thought: `block` is the nearest element around it that is no part of a
    line, `first` its first node, `chars` and `commas` its length."""

    first: int
    block: int
    chars: int
    commas: int


@dataclass(frozen=True, slots=True)
class Measures:
    """`kinds`: a node's bits. `left_out`: 1 for a node that is not counted. `totals`: float64, a row per name of
    COUNTS, a column per node: what its subtree holds, itself included. `runs`: in document order."""

    kinds: list[int]
    left_out: bytearray
    totals: npt.NDArray[np.float64]
    runs: list[Run]

    @property
    def densities(self) -> list[float]:
        """For each node the share of its text that is in links, 0 to 1."""
        chars, links = self.totals[COUNTS.index("chars")], self.totals[COUNTS.index("links")]
        shares: list[float] = (links / np.maximum(chars, 1)).tolist()
        return shares

    def total(self, name: str) -> list[float]:
        """One row of `totals`."""
        row: list[float] = self.totals[COUNTS.index(name)].tolist()
        return row


def outermost(nodes: Iterable[int], ends: list[int]) -> Iterator[int]:
    """Of nodes in document order, those that are in none of the others."""
    edge = 0
    for node in nodes:
        if node >= edge:
            edge = ends[node]
            yield node


def measure(tree: Tree, marks: Marks, left_out: Iterable[int]) -> Measures:
    """Count everything but the subtrees of `left_out` (in document order) and what is unseen or hidden."""
    kinds = list(map(_CODES.__getitem__, tree.tags))
    bits = np.array(kinds, np.int32)
    out = bytearray(len(kinds))
    for node in outermost(sorted({*marks.unseen, *marks.hidden, *left_out}), tree.ends):
        end = tree.ends[node]
        out[node:end] = b"\1" * (end - node)
    inside = np.frombuffer(out, np.uint8) == 0
    leaves = inside & ((bits & (Kind.LEAF | Kind.BREAK)) > 0)
    borders = inside & ((bits & Kind.INLINE) == 0)
    chars, commas, runs = _read_texts(tree, kinds, np.flatnonzero(leaves | borders).tolist())
    return Measures(kinds, out, _totals(tree, np.where(inside, bits, 0), (chars, commas), marks.videos, runs), runs)


def _read_texts(tree: Tree, kinds: list[int], nodes: list[int]) -> tuple[list[int], list[int], list[Run]]:
    """Characters and commas of each node, and the runs. White space counts as one space, as a reader sees it."""
    chars, commas, runs = [0] * len(kinds), [0] * len(kinds), []
    around, texts = _around(tree.parents, kinds), tree.texts
    first, block, length, found, breaks = -1, -1, 0, 0, 0
    for node in nodes:
        kind = kinds[node]
        if kind & Kind.TEXT:
            words = texts[node].split()
            if not words:
                continue
            size = chars[node] = len(" ".join(words))
            count = commas[node] = _commas(texts[node])
        else:
            size = count = 0
        breaks = breaks + 1 if kind & Kind.BREAK else 0
        ends_run = around[node] != block or not kind & Kind.INLINE or breaks == 2
        if ends_run and first >= 0:
            runs.append(Run(first, block, length, found))
            first = -1
        if not kind & Kind.LEAF:
            continue
        if first < 0:
            first, block, length, found = node, around[node], 0, 0
        length, found = length + size, found + count
    if first >= 0:
        runs.append(Run(first, block, length, found))
    return chars, commas, runs


def _around(parents: list[int], kinds: list[int]) -> list[int]:
    """For each node the nearest element above it that is no part of a line."""
    around = [0] * len(parents)
    inline = Kind.INLINE
    for node, parent in enumerate(parents):
        around[node] = around[parent] if kinds[parent] & inline else parent
    return around


def _commas(text: str) -> int:
    if text.isascii():
        return text.count(",")
    return text.count(",") + sum(text.count(sign) for sign in _OTHER_COMMAS)


def _totals(
    tree: Tree, bits: npt.NDArray[np.int32], counted: tuple[list[int], list[int]], videos: list[int], runs: list[Run]
) -> npt.NDArray[np.float64]:
    """Sums over subtrees. What is counted of characters by element (links, headings, lists) needs those first."""
    ends = np.array(tree.ends)
    own = np.zeros((len(COUNTS), len(bits)))
    own[:2] = counted
    first = _sums(own[:2], ends)
    chars = first[0]
    link_share = np.ones(len(bits))
    for node in np.flatnonzero(bits & Kind.LINK):
        if (tree.attributes[node].get("href") or "").startswith("#"):
            link_share[node] = WITHIN_PAGE
    for row, bit in enumerate(_COUNTED_BITS, 2):
        own[row] = (bits & bit) > 0
    own[2] *= chars * link_share
    own[COUNTS.index("headings")] *= chars
    own[COUNTS.index("listed")] *= chars
    own[COUNTS.index("dense")] *= chars > 0
    own[COUNTS.index("videos"), videos] = 1
    for run in runs:
        if tree.tags[run.block] == "div":
            own[COUNTS.index("paragraphs"), run.first] += 1
            own[COUNTS.index("dense"), run.first] += run.chars > 0
    return np.concatenate([first, _sums(own[2:], ends)])


def _sums(own: npt.NDArray[np.float64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    running = np.zeros((own.shape[0], own.shape[1] + 1))
    np.cumsum(own, axis=1, out=running[:, 1:])
    return running[:, ends] - running[:, :-1]
