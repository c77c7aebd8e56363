"""Which parts of a page belong to the document, and why the others do not.

Three steps, each in a file of its own:

- `regions_marks`: what single elements say of themselves: hidden, nav, role, words of class and id;
- `regions_main`: paragraphs vote for what they stand in; the best of these is the content, with its neighbours;
- `regions_clean`: what does not belong inside it: forms, lists of links, share buttons, boxes of other stories.

The rule is that of Readability (Arc90 2009, Mozilla since), which uses the signals of Boilerpipe (Kohlschütter et al.
2010: link density, text density) on the tree. It is written anew on flat lists, where nothing is cut while it is read
and all counts of subtrees are made at once: 2.1 ms for an article page of 1,740 nodes, 1.1 ms in the mean over 190
pages of articles and books.

Not every page is an article. So marks by element or role are always believed, marks by words only while they leave at
least half of the text (comments may take more); a winner must hold half of the text outside links; and where less than
500 characters come out, the whole body is tried, less what is marked, then without cleaning, until it keeps 500
characters or half of all there is.

Measured through `curate.document.extract.extract` on 65 gold pages that were made with Readability itself: token F1
.987 (mean over pages; .996 in one pile), content images recall .970 at precision 1.000. These pages were looked at
while the rule was written, so others may do worse. What was not done is fit constants: all but ours for "half" are
Readability's. `bench/README.md` has the table, and what other constants would give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curate.document.regions_clean import Cut, clean
from curate.document.regions_main import LEAST_SHARE, Slice, choose_main
from curate.document.regions_marks import Mark, Marks, read_marks
from curate.document.regions_measure import Measures, measure, outermost
from curate.document.tree import Tree

__all__ = ["Regions", "score_regions"]

LEAST_CHARS = 500
REASONS = {"comments": "comments_section", "related": "related_links", "share": "share_buttons"}
"""The reason of a marked region where it is not called like the region."""
_LABELS: tuple[tuple[str, str | None], ...] = (
    ("", None),
    ("main", None),
    ("boilerplate", "outside_main_content"),
    ("hidden", "not_rendered"),
    ("hidden", "hidden"),
)
_MAIN, _OUTSIDE, _UNSEEN, _HIDDEN = 1, 2, 3, 4
FULL_CHARS = 1_000
"""Text outside the content comes near it in score from this length on."""


@dataclass(frozen=True)
class Regions:
    """One entry per node of the tree in each list.

    `names`: "main", or what the part of the page is: navigation, header, footer, aside, comments, related,
    advertisement, cookie_notice, form, share, hidden, boilerplate. `reasons`: None where the node is content, else why
    it is not: the region's name, or comments_section, related_links, share_buttons, not_rendered,
    outside_main_content; inside the content link_list, more_images_than_text, low_text_density, form, player,
    unlikely_name, unlikely_heading. `scores`: 0.5 to 1 for content, less with more of the text around in links; up to
    0.5 for what is outside, more for long text without links; 0 for what is marked or hidden.

    Ask the text node or picture, not the element around it: a div that holds the content among other things is itself
    outside.
    """

    names: list[str]
    reasons: list[str | None]
    scores: list[float]


@dataclass(frozen=True)
class _Choice:
    """One way to read the page: what was left out at once, what is content, what is cut from it, characters kept."""

    measures: Measures
    left_out: list[Mark]
    slices: list[Slice]
    cuts: list[Cut]
    chars: float


def score_regions(tree: Tree) -> Regions:
    """Decide for every node. Linear in the nodes but for one sort."""
    if not len(tree):
        return Regions([], [], [])
    marks = read_marks(tree)
    return _labelled(tree, marks, _choose(tree, marks))


def _choose(tree: Tree, marks: Marks) -> _Choice:
    """The first reading that keeps 500 characters, or half of all that nothing surely marks; each keeps more."""
    believed = _Reading(tree, marks, _believed(tree, marks))
    choice = believed.choose(whole=False)
    if choice.chars >= LEAST_CHARS:
        return choice
    sure = _Reading(tree, marks, [mark for mark in marks.beside if mark.sure])
    all_of_it = sure.choose(whole=True, cleaned=False)
    enough = min(LEAST_CHARS, LEAST_SHARE * all_of_it.chars)
    if choice.chars >= enough:
        return choice
    for reading, cleaned in ((believed, True), (believed, False), (sure, True)):
        choice = reading.choose(whole=True, cleaned=cleaned)
        if choice.chars >= enough:
            return choice
    return all_of_it


def _believed(tree: Tree, marks: Marks) -> list[Mark]:
    """Marks without those that rest on words and would take most of the text; comments may well be most of it."""
    if all(mark.sure for mark in marks.beside):
        return marks.beside
    chars = np.array([0, *map(len, tree.texts)])
    for node in outermost(marks.unseen, tree.ends):
        chars[node + 1 : tree.ends[node] + 1] = 0
    before = np.cumsum(chars)
    most = (1 - LEAST_SHARE) * before[-1]
    return [
        mark
        for mark in marks.beside
        if mark.sure or mark.region == "comments" or before[tree.ends[mark.node]] - before[mark.node] <= most
    ]


class _Reading:
    """A page less the parts that some marks leave out."""

    def __init__(self, tree: Tree, marks: Marks, left_out: list[Mark]) -> None:
        self.tree, self.marks, self.left_out = tree, marks, left_out
        self.measures = measure(tree, marks, [mark.node for mark in left_out])

    def choose(self, whole: bool, cleaned: bool = True) -> _Choice:
        """What is content: the winner of the vote, or the whole body; `cleaned` of what does not belong inside."""
        tree, measures = self.tree, self.measures
        totals = measures.total("chars")
        slices = [] if whole else choose_main(tree, measures, self.marks)
        if sum(totals[start] for start, _ in slices) < LEAST_CHARS:
            body = tree.tags.index("body") if "body" in tree.tags else 0
            slices = [(body, tree.ends[body])]
        cuts = clean(tree, measures, self.marks, slices) if cleaned else []
        gone = outermost(sorted(cut.node for cut in cuts), tree.ends)
        chars = sum(totals[start] for start, _ in slices) - sum(totals[node] for node in gone)
        return _Choice(measures, self.left_out, slices, cuts, chars)


def _labelled(tree: Tree, marks: Marks, choice: _Choice) -> Regions:
    """Give every node the label of the nearest element that has one: linear for any nesting."""
    labels = list(_LABELS)
    codes: dict[tuple[str, str | None], int] = {}
    own = [0] * len(tree)
    own[0] = _OUTSIDE
    for start, _ in choice.slices:
        own[start] = _MAIN
    parts = [(mark.node, mark.region, REASONS.get(mark.region, mark.region)) for mark in choice.left_out]
    for node, region, reason in (*parts, *choice.cuts):
        code = codes.setdefault((region, reason), len(labels))
        if code == len(labels):
            labels.append((region, reason))
        own[node] = code
    for node in marks.unseen:
        if tree.tags[node] != "noscript":
            own[node] = _UNSEEN
    for node in marks.hidden:
        own[node] = _HIDDEN
    for node, parent in enumerate(tree.parents):
        if not own[node]:
            own[node] = own[parent]
    names, reasons = zip(*labels, strict=True)
    scores = _scores(choice.measures, own)
    return Regions(list(map(names.__getitem__, own)), list(map(reasons.__getitem__, own)), scores)


def _scores(measures: Measures, codes: list[int]) -> list[float]:
    """By the links in the text around a node, and for what is outside by its length."""
    around, kind = np.array(measures.around), np.array(codes)
    plain = 1 - np.array(measures.densities)[around]
    length = np.minimum(measures.totals[0][around] / FULL_CHARS, 1)
    scores = np.where(kind == _MAIN, 0.5 + plain / 2, np.where(kind == _OUTSIDE, plain * length / 2, 0.0))
    result: list[float] = scores.tolist()
    return result
