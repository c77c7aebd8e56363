"""Where the content of a page is: paragraphs vote for what they stand in, the best of these wins, neighbours join.

This is the rule of Readability (Arc90 2009, Mozilla since), on counts instead of a document that is cut while it is
read. A paragraph of at least 25 characters has 2 points, one per comma, one per hundred characters up to three; its
parent gets them all, the grandparent half, the next ones a sixth, a ninth and a twelfth. Elements bring a few points
of their own, class names 25. Points count less the more of the text is links.

One thing is added: a winner that holds less than half of the page's text outside links is not believed, and what holds
half is taken instead: else one long post would stand for a thread. On the 65 gold pages the right answer always holds
at least 61 %.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from curate.document.regions_marks import Marks
from curate.document.regions_measure import Kind, Measures, children
from curate.document.tree import TEXT, Tree

__all__ = ["Slice", "choose_main"]

Slice = tuple[int, int]

SHORTEST_PARAGRAPH, LONG_PARAGRAPH = 25, 80
LEVELS = (1, 2, 6, 9, 12)
"""What a paragraph's points are divided by for its parent, grandparent and so on."""
FEW_LINKS = 0.25
BEST = 5
NEARLY_AS_GOOD = 0.75
LEAST_ALIKE = 3
"""As many of the best that stand in one element, at this share of the winner's points, make that element the winner."""
LOWEST_ANCESTOR = 1 / 3
NEIGHBOUR_SHARE, LEAST_NEIGHBOUR = 0.2, 10
LEAST_SHARE = 0.5
_TAG_POINTS = {
    "div": 5, "pre": 3, "td": 3, "blockquote": 3,
    "address": -3, "ol": -3, "ul": -3, "dl": -3, "dd": -3, "dt": -3, "li": -3, "form": -3,
    "h1": -5, "h2": -5, "h3": -5, "h4": -5, "h5": -5, "h6": -5, "th": -5,
}  # fmt: skip
_SENTENCE_END = (". ", "! ", "? ", "。")


def choose_main(tree: Tree, measures: Measures, marks: Marks) -> list[Slice]:
    """The slices of nodes that are content, in document order; empty where no paragraph votes."""
    points = _vote(tree, measures, marks.weights)
    scores = {node: value * (1 - measures.densities[node]) for node, value in points.items()}
    ranked = sorted(scores, key=lambda node: (-scores[node], node))[:BEST]
    if not ranked or tree.tags[ranked[0]] == "body":
        return []
    top = _raise_by_scores(tree, _raise_by_likes(tree, ranked, scores), scores)
    while tree.tags[parent := tree.parents[top]] not in ("body", "html") and _has_one_element(tree, parent):
        top = parent
    return _with_half(tree, measures, top, scores)


def _vote(tree: Tree, measures: Measures, weights: dict[int, int]) -> dict[int, float]:
    points: dict[int, float] = {}
    parents, tags = tree.parents, tree.tags
    for above, chars, commas in _paragraphs(tree, measures):
        if chars < SHORTEST_PARAGRAPH:
            continue
        value = 2 + commas + min(chars // 100, 3)
        for divider in LEVELS:
            if above <= 0:
                break
            if above not in points:
                points[above] = _TAG_POINTS.get(tags[above], 0) + weights.get(above, 0)
            points[above] += value / divider
            above = parents[above]
    return points


def _paragraphs(tree: Tree, measures: Measures) -> Iterator[tuple[int, float, float]]:
    """What votes: the element it votes for first, its characters and commas.

    Runs of text in a div are paragraphs too. A div around a single one is itself the paragraph and gets no vote.
    """
    tags, parents, densities = tree.tags, tree.parents, measures.densities
    chars, commas, blocks = measures.total("chars"), measures.total("commas"), measures.total("blocks")
    for node in measures.nodes(Kind.UNIT):
        above = parents[node]
        if tags[node] == "p" and tags[above] == "div" and blocks[above] == 2:
            alone = chars[above] == chars[node] and densities[above] < FEW_LINKS
            above = parents[above] if alone else above
        yield above, chars[node], commas[node]
    for run in measures.runs:
        if tags[run.block] == "div":
            alone = blocks[run.block] == 1 and densities[run.block] < FEW_LINKS
            yield parents[run.block] if alone else run.block, run.chars, run.commas


def _raise_by_likes(tree: Tree, ranked: list[int], scores: dict[int, float]) -> int:
    """The nearest element around the winner that holds three others that are nearly as good, else the winner."""
    top = ranked[0]
    alike = [_ancestors(tree, node) for node in ranked[1:] if scores[node] >= NEARLY_AS_GOOD * scores[top]]
    if len(alike) < LEAST_ALIKE:
        return top
    sets = [frozenset(ancestors) for ancestors in alike]
    return next((node for node in _ancestors(tree, top) if sum(node in found for found in sets) >= LEAST_ALIKE), top)


def _raise_by_scores(tree: Tree, top: int, scores: dict[int, float]) -> int:
    """An element above with more points, where points do not fall below a third on the way."""
    last = scores.get(top, 0.0)
    lowest = last * LOWEST_ANCESTOR
    for node in _ancestors(tree, top):
        score = scores.get(node, lowest)
        if score < lowest:
            return top
        if score > last:
            return node
        last = scores.get(node, last)
    return top


def _with_half(tree: Tree, measures: Measures, top: int, scores: dict[int, float]) -> list[Slice]:
    """The winner with its neighbours, or the first element around it that holds half of the plain text."""
    runs = [run for run in measures.runs if run.chars >= SHORTEST_PARAGRAPH]
    firsts = [run.first for run in runs]
    plain = [0.0, *accumulate(run.chars * (1 - measures.densities[run.block]) for run in runs)]

    def holds_half(slices: list[Slice]) -> bool:
        held = sum(plain[bisect_left(firsts, end)] - plain[bisect_left(firsts, start)] for start, end in slices)
        return held >= LEAST_SHARE * plain[-1]

    slices = _with_neighbours(tree, measures, top, scores)
    if holds_half(slices):
        return slices
    around = ((node, tree.ends[node]) for node in _ancestors(tree, top))
    return next(([wider] for wider in around if holds_half([wider])), [])


def _with_neighbours(tree: Tree, measures: Measures, top: int, scores: dict[int, float]) -> list[Slice]:
    """The winner, and what stands beside it and has points, its class name, or is a paragraph with few links."""
    best = scores.get(top, 0.0)
    bonus = best * NEIGHBOUR_SHARE
    least = max(LEAST_NEIGHBOUR, bonus)
    name = tree.attributes[top].get("class")
    kept = []
    for node in children(tree, tree.parents[top]):
        alike = bonus if name and tree.attributes[node].get("class") == name else 0.0
        joins = node == top or (node in scores and scores[node] + alike >= least)
        if joins or (measures.bits[node] and _is_paragraph(tree, measures, node)):
            kept.append((node, tree.ends[node]))
    return kept


def _is_paragraph(tree: Tree, measures: Measures, node: int) -> bool:
    """Whether a neighbour reads like a part of the text: long with few links, or a short sentence without any."""
    counts = measures.counts(node)
    if tree.tags[node] not in ("p", TEXT) and not (tree.tags[node] == "div" and counts.blocks == 1):
        return False
    if counts.chars > LONG_PARAGRAPH:
        return measures.densities[node] < FEW_LINKS
    return counts.chars > 0 and counts.links == 0 and _ends_sentence(tree, node)


def _ends_sentence(tree: Tree, node: int) -> bool:
    text = " ".join("".join(tree.texts[node : tree.ends[node]]).split()) + " "
    return any(sign in text for sign in _SENTENCE_END)


def _ancestors(tree: Tree, node: int) -> list[int]:
    """Elements above a node, nearest first, below body."""
    found = []
    node = tree.parents[node]
    while node > 0 and tree.tags[node] != "body":
        found.append(node)
        node = tree.parents[node]
    return found


def _has_one_element(tree: Tree, node: int) -> bool:
    elements = (child for child in children(tree, node) if tree.tags[child] != TEXT)
    return next(elements, None) is not None and next(elements, None) is None
