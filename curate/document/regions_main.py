"""Where the content of a page is: paragraphs vote for what they stand in, the best of these wins, neighbours join.

This is the rule of Readability (Arc90 2009, Mozilla since), on counts instead of a document that is cut while it is
read. A paragraph of at least 25 characters has 2 points, one per comma, one per hundred characters up to three; its
parent gets them all, the grandparent half, the next ones a sixth, a ninth and a twelfth. Elements bring a few points
of their own, class names 25. Points count less the more of the text is links.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from curate.document.regions_measure import Kind, Marks, Measures
from curate.document.tree import TEXT, Tree

__all__ = ["choose_main"]

SHORTEST_PARAGRAPH = 25
LEVELS = (1, 2, 6, 9, 12)
"""What a paragraph's points are divided by for its parent, grandparent and so on."""
BEST = 5
NEARLY_AS_GOOD = 0.75
LEAST_ALIKE = 3
"""As many of the best that stand in one element, at this share of the winner's points, make that element the winner:
posts of a thread, parts of a story."""
LOWEST_ANCESTOR = 1 / 3
NEIGHBOUR_SHARE, LEAST_NEIGHBOUR = 0.2, 10
LONG_PARAGRAPH, FEW_LINKS = 80, 0.25
_POINTS = {"div": 5, "pre": 3, "td": 3, "blockquote": 3}
_POINTS |= dict.fromkeys(["address", "ol", "ul", "dl", "dd", "dt", "li", "form"], -3) | dict.fromkeys(
    ["h1", "h2", "h3", "h4", "h5", "h6", "th"], -5
)
_SENTENCE_END = (". ", "。", "! ", "? ")


def choose_main(tree: Tree, measures: Measures, marks: Marks, use_weights: bool) -> list[tuple[int, int]]:
    """The slices of nodes that are content, in document order; empty where no paragraph votes."""
    densities = measures.densities
    points = _vote(tree, measures, marks.weights if use_weights else {}, densities)
    scores = {node: value * (1 - densities[node]) for node, value in points.items()}
    ranked = sorted(scores, key=lambda node: (-scores[node], node))[:BEST]
    if not ranked or tree.tags[ranked[0]] == "body":
        return []
    top = _raise(tree, ranked, scores)
    return _with_neighbours(tree, measures, top, scores, densities)


def _vote(tree: Tree, measures: Measures, weights: dict[int, int], densities: list[float]) -> dict[int, float]:
    points: dict[int, float] = {}
    parents, tags = tree.parents, tree.tags
    for above, chars, commas in _paragraphs(tree, measures, densities):
        if chars < SHORTEST_PARAGRAPH:
            continue
        value = 2 + commas + min(chars // 100, 3)
        for divider in LEVELS:
            if above <= 0:
                break
            if above not in points:
                points[above] = _POINTS.get(tags[above], 0) + weights.get(above, 0)
            points[above] += value / divider
            above = parents[above]
    return points


def _paragraphs(tree: Tree, measures: Measures, densities: list[float]) -> Iterator[tuple[int, int, int]]:
    """What votes: the element it votes for first, its characters and commas.

    Runs of text in a div are paragraphs too. A div around a single one is the paragraph: it does not get its own vote.
    """
    kinds, tags, parents, left_out = measures.kinds, tree.tags, tree.parents, measures.left_out
    chars, commas, blocks = measures.total("chars"), measures.total("commas"), measures.total("blocks")
    unit = Kind.UNIT
    for node, kind in enumerate(kinds):
        if kind & unit and not left_out[node]:
            above = parents[node]
            if (
                tags[node] == "p"
                and _wraps(above, tags, densities)
                and blocks[above] == 2
                and chars[above] == chars[node]
            ):
                above = parents[above]
            yield above, int(chars[node]), int(commas[node])
    for run in measures.runs:
        if tags[run.block] == "div":
            alone = blocks[run.block] == 1 and _wraps(run.block, tags, densities)
            yield parents[run.block] if alone else run.block, run.chars, run.commas


def _wraps(node: int, tags: list[str], densities: list[float]) -> bool:
    return tags[node] == "div" and densities[node] < FEW_LINKS


def _raise(tree: Tree, ranked: list[int], scores: dict[int, float]) -> int:
    """From the winner up to the element that holds the whole article."""
    top, parents = ranked[0], tree.parents
    alike = [_ancestors(tree, node) for node in ranked[1:] if scores[node] >= NEARLY_AS_GOOD * scores[top]]
    if len(alike) >= LEAST_ALIKE:
        sets = [frozenset(ancestors) for ancestors in alike]
        top = next((node for node in _ancestors(tree, top) if sum(node in found for found in sets) >= LEAST_ALIKE), top)
    last = scores.get(top, 0.0)
    lowest = last * LOWEST_ANCESTOR
    for node in _ancestors(tree, top):
        score = scores.get(node)
        if score is None:
            continue
        if score < lowest:
            break
        if score > last:
            top = node
            break
        last = score
    while parents[top] > 0 and tree.tags[parents[top]] != "body" and len(list(_elements(tree, parents[top]))) == 1:
        top = parents[top]
    return top


def _ancestors(tree: Tree, node: int) -> list[int]:
    """Elements above a node, nearest first, below body."""
    found = []
    node = tree.parents[node]
    while node > 0 and tree.tags[node] != "body":
        found.append(node)
        node = tree.parents[node]
    return found


def _children(tree: Tree, node: int) -> Iterator[int]:
    child, end = node + 1, tree.ends[node]
    while child < end:
        yield child
        child = tree.ends[child]


def _elements(tree: Tree, node: int) -> Iterable[int]:
    return (child for child in _children(tree, node) if tree.tags[child] != TEXT)


def _with_neighbours(
    tree: Tree, measures: Measures, top: int, scores: dict[int, float], densities: list[float]
) -> list[tuple[int, int]]:
    """The winner, and what stands beside it and has points, its class name, or is a paragraph with few links."""
    best = scores.get(top, 0.0)
    least = max(LEAST_NEIGHBOUR, best * NEIGHBOUR_SHARE)
    name = tree.attributes[top].get("class")
    chars, blocks = measures.total("chars"), measures.total("blocks")
    kept = []
    for node in _children(tree, tree.parents[top]):
        if node != top:
            if measures.left_out[node]:
                continue
            bonus = best * NEIGHBOUR_SHARE if name and tree.attributes[node].get("class") == name else 0.0
            joins = node in scores and scores[node] + bonus >= least
            if not joins and not (
                _is_paragraph(tree, node, blocks) and _reads_well(tree, node, chars[node], densities)
            ):
                continue
        kept.append((node, tree.ends[node]))
    return kept


def _is_paragraph(tree: Tree, node: int, blocks: list[float]) -> bool:
    tag = tree.tags[node]
    return tag in ("p", TEXT) or (tag == "div" and blocks[node] == 1)


def _reads_well(tree: Tree, node: int, chars: float, densities: list[float]) -> bool:
    if chars > LONG_PARAGRAPH:
        return densities[node] < FEW_LINKS
    return chars > 0 and densities[node] == 0 and _ends_sentence(tree, node)


def _ends_sentence(tree: Tree, node: int) -> bool:
    text = " ".join("".join(tree.texts[node : tree.ends[node]]).split()) + " "
    return any(sign in text for sign in _SENTENCE_END)
