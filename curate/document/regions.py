"""Which parts of a page belong to the document, and why the others do not."""

from __future__ import annotations

from dataclasses import dataclass

from curate.document.regions_clean import Cut, clean
from curate.document.regions_main import choose_main
from curate.document.regions_measure import Marks, Measures, measure, read_marks
from curate.document.tree import Tree

__all__ = ["Regions", "score_regions"]

LEAST_CHARS = 500
REASONS = {
    "comments": "comments_section",
    "related": "related_links",
    "share": "share_buttons",
}
_MAIN, _OUTSIDE, _UNSEEN, _HIDDEN = 1, 2, 3, 4


@dataclass(frozen=True)
class Regions:
    """One entry per node of the tree in each list."""

    names: list[str]
    reasons: list[str | None]
    scores: list[float]


@dataclass(frozen=True)
class _Choice:
    measures: Measures
    slices: list[tuple[int, int]]
    left_out: list[int]
    cuts: list[Cut]
    chars: float


def score_regions(tree: Tree) -> Regions:
    """Decide for every node."""
    if not len(tree):
        return Regions([], [], [])
    marks = read_marks(tree)
    choice = _choose(tree, marks)
    return _label(tree, marks, choice)


def _choose(tree: Tree, marks: Marks) -> _Choice:
    sure = [mark.node for mark in marks.beside if mark.sure]
    first = _attempt(tree, marks, [mark.node for mark in marks.beside], True)
    if first.chars >= LEAST_CHARS:
        return first
    second = _attempt(tree, marks, sure, True)
    if second.chars >= LEAST_CHARS:
        return second
    return max(first, second, _attempt(tree, marks, sure, False), key=lambda c: c.chars)


def _attempt(tree: Tree, marks: Marks, left_out: list[int], use_weights: bool) -> _Choice:
    measures = measure(tree, marks, left_out)
    slices = choose_main(tree, measures, marks, use_weights)
    if not slices:
        slices = [(_body(tree), tree.ends[_body(tree)])]
    cuts = clean(tree, measures, marks, slices, use_weights)
    totals = measures.total("chars")
    chars = sum(totals[start] for start, _ in slices)
    cut_nodes = sorted(cut.node for cut in cuts)
    edge = 0
    for node in cut_nodes:
        if node >= edge:
            edge = tree.ends[node]
            chars -= totals[node]
    return _Choice(measures, slices, left_out, cuts, chars)


def _body(tree: Tree) -> int:
    return next((node for node in range(min(len(tree), 10000)) if tree.tags[node] == "body"), 0)


def _label(tree: Tree, marks: Marks, choice: _Choice) -> Regions:
    table: list[tuple[str, str | None]] = [
        ("", None),
        ("main", None),
        ("boilerplate", "outside_main_content"),
        ("hidden", "not_rendered"),
        ("hidden", "hidden"),
    ]
    codes: dict[tuple[str, str], int] = {}
    own = [0] * len(tree)
    own[0] = _OUTSIDE

    def code(region: str, reason: str) -> int:
        key = (region, reason)
        if key not in codes:
            codes[key] = len(table)
            table.append(key)
        return codes[key]

    for start, _ in choice.slices:
        own[start] = _MAIN
    used = frozenset(choice.left_out)
    for mark in marks.beside:
        if mark.node in used:
            own[mark.node] = code(mark.region, REASONS.get(mark.region, mark.region))
    for cut in choice.cuts:
        own[cut.node] = code(cut.region, cut.reason)
    for node in marks.hidden:
        own[node] = _HIDDEN
    for node in marks.unseen:
        if tree.tags[node] != "noscript":
            own[node] = _UNSEEN
    for node, parent in enumerate(tree.parents):
        if not own[node]:
            own[node] = own[parent]
    names = [table[c][0] for c in own]
    reasons = [table[c][1] for c in own]
    return Regions(names, reasons, [1.0] * len(tree))
