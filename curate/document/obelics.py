"""The named preset `obelics`: pages read by the published rules of OBELICS, with all their quirks, on this code.

It is here for comparison: what a corpus gains or loses by the default rules can be counted page by page, and a corpus
made before can be made again. The rules are those of Laurençon et al. 2023 (arXiv 2306.16527) as their program carries
them out, figures lost with their legends included; `docs/obelics.md` lists each quirk and what the default does.

The published program takes 8 to 15 s for 0.2 MB of nested `div` or of `<!--` and gives up at depth 9,000. Everything
here is linear in the page, by walks over flat lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from curate.document.elements import path_of, sample_of
from curate.document.extraction import Block, Dropped, Extraction, ImageSlot, TextBlock
from curate.document.guard import PageRefusedError
from curate.document.obelics_images import absolute_url, domain_of, picture_source, rendered_px
from curate.document.obelics_text import STRENGTHS, Run, clean_text
from curate.document.obelics_tree import NUMBER, Simplifier, without_comments
from curate.document.parse import parse
from curate.document.settings import DocumentSettings
from curate.document.tree import TEXT, Tree

__all__ = ["extract_obelics"]

DEFAULT = DocumentSettings()
LARGEST_BYTES = 1_000_000_000
"""What is left of a page may be longer than the page, for elements carry numbers; its nodes were judged before."""


def extract_obelics(
    html: str, url: str | None, settings: DocumentSettings = DEFAULT, explain: bool = False
) -> Extraction:
    """Blocks of a page by the `obelics` rules. `url`: the page's, by whose domain relative addresses are completed.

    A text of the published output is a run of text blocks with no image slot between, joined by their separators.
    Every text block and slot is of the region "main": these rules delete and do not score. Nodes are numbered as in the
    tree of the page without its comments. A page beyond the bounds of `settings` has that status and no blocks. With
    `explain`, nodes that were left out say where they stood.
    """
    try:
        tree = parse(without_comments(html), settings)
        simplifier = Simplifier(tree)
        left = parse(simplifier.simplify(), replace(settings, max_page_bytes=LARGEST_BYTES))
    except PageRefusedError as error:
        return Extraction(status=error.status, detail=error.detail)
    blocks = tuple(_blocks(tree, left, domain_of(url), simplifier.lost))
    return Extraction(blocks=blocks, dropped=tuple(_dropped(tree, sorted(simplifier.lost), explain)))


class _Piece(NamedTuple):
    """A text with what is asked for between it and the text before, or (text None) the place of a picture."""

    text: str | None
    node: int
    strength: int = 0


class _Open(NamedTuple):
    """An element that the walk is inside of. `node`: its number in the page's tree."""

    end: int
    strength: int
    node: int


def _blocks(tree: Tree, left: Tree, domain: str, lost: list[tuple[int, str]]) -> Iterator[Block]:
    """Texts and slots in order. A picture with an invalid address goes without a trace: texts around it are joined."""
    run = Run()
    for piece in _pieces(left):
        if piece.text is not None:
            run.add(piece.text, piece.node, piece.strength)
        elif slot := _slot(tree, piece.node, domain):
            yield from _texts(tree, run)
            yield slot
            run = Run()
        else:
            lost.append((piece.node, "invalid_url"))
    yield from _texts(tree, run)


def _pieces(left: Tree) -> Iterator[_Piece]:
    """What asks for a separator between two texts are the elements that hold one of them and not the other.

    `shared`: how many of the open elements held the last text too; `asked`: the most that those closed since asked for.
    """
    opened: list[_Open] = []
    shared = asked = 0
    for number, tag in enumerate(left.tags):
        while opened and opened[-1].end <= number:
            strength = opened.pop().strength
            if len(opened) < shared:
                shared, asked = len(opened), max(asked, strength)
        node = int(left.attributes[number].get(NUMBER) or 0)
        if tag == "img":
            yield _Piece(None, node)
        elif tag != TEXT:
            opened.append(_Open(left.ends[number], STRENGTHS.get(tag, 0), node))
        elif text := clean_text(left.texts[number]):
            asked = max([asked, *(element.strength for element in opened[shared:])])
            yield _Piece(text, opened[-1].node if opened else 0, asked)
            shared, asked = len(opened), 0


def _texts(tree: Tree, run: Run) -> Iterator[TextBlock]:
    for paragraph in run.paragraphs():
        block = tree.tags[paragraph.node]
        yield TextBlock(paragraph.text, paragraph.node, block, paragraph.separator)


def _slot(tree: Tree, node: int, domain: str) -> ImageSlot | None:
    attributes = tree.attributes[node]
    source = picture_source(attributes)
    url = absolute_url(source[1], domain) if source else None
    if source is None or url is None:
        return None
    return ImageSlot(
        url,
        node,
        candidates=(url,),
        alt=attributes.get("alt") or None,
        rendered_width_px=rendered_px(attributes.get("width")),
        rendered_height_px=rendered_px(attributes.get("height")),
        found_in=source[0],
    )


def _dropped(tree: Tree, lost: list[tuple[int, str]], explain: bool) -> Iterator[Dropped]:
    """One for each subtree, and one for each picture in it."""
    for node, reason in lost:
        inside = range(node + 1, tree.ends[node] if reason != "empty_element" else node)
        for at in (node, *(at for at in inside if tree.tags[at] == "img")):
            yield Dropped(at, path_of(tree, at), reason, sample_of(tree, at)) if explain else Dropped(at, "", reason)
