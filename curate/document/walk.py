"""One walk over the tree that puts down blocks of text and image slots as a reader meets them.

The walk goes through the nodes in document order once, without recursion. Text gathers in a buffer until something
ends the block: a block element begins or ends, or a picture stands in between. Unknown elements are passed through.
What gives no block is put down with its reason, so every word and picture is in a block or in a subtree that was left
out.

White space is one space, no-break spaces and those of other widths too, but for the line breaks that a page asks for by
`br`; in `pre` it stays as it is. Letters are in Unicode's normal form NFC. A picture inside a sentence parts it in two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from unicodedata import is_normalized, normalize

from curate.document.elements import (
    BLOCK,
    DROPPED,
    HEADINGS,
    IMAGES,
    LINES,
    VERBATIM,
    block_name,
    is_emoji,
    path_of,
    sample_of,
    sources_of,
    table_rows,
)
from curate.document.extraction import Block, Dropped, ImageSlot, TextBlock
from curate.document.resolve import Attributes, Resolved, absolute, resolve, side_px
from curate.document.tree import TEXT, Tree
from curate.fetch.url import Target

__all__ = ["RegionsLike", "walk"]

HIDDEN = "hidden"
EMPTY = "empty_element"
MARKED = BLOCK | IMAGES | {"br"}
"""Elements that the walk stops at; all others are passed through."""
MOST_WORDS_CHARS = 2_000
MOST_UP = 12
MOST_IN_FIGURE = 200
"""A figure of more blocks than this is part of the page's layout."""
BETWEEN_TWINS = frozenset(("noscript", "picture", "source", "span", TEXT))
MOST_BETWEEN = 12


class RegionsLike(Protocol):
    """Of every node: the name of its region, why it is no content (None: it is), and a score from 0 to 1."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def reasons(self) -> Sequence[str | None]: ...

    @property
    def scores(self) -> Sequence[float]: ...


def walk(
    tree: Tree, regions: RegionsLike, base: Target | None, explain: bool = False
) -> tuple[list[Block], list[Dropped]]:
    """Blocks and slots in reading order, and what was left out. `base` is what relative URLs are relative to.

    With `explain`, what was left out says where it stood and how it begins, and elements that hold nothing are told
    too: then every node is in a block, in a subtree that was left out, or around one of them. It takes as long as the
    walk itself.
    """
    walker = _Walker(tree, regions, base, table_rows(tree))
    walker.run()
    if not explain:
        return walker.blocks, [Dropped(node, "", reason) for node, reason in walker.dropped]
    dropped = sorted(walker.dropped + [(node, EMPTY) for node in _empty(tree, walker)])
    return walker.blocks, [
        Dropped(node, path_of(tree, node), reason, sample_of(tree, node)) for node, reason in dropped
    ]


@dataclass
class _Walker:
    tree: Tree
    regions: RegionsLike
    base: Target | None
    rows: frozenset[int]
    blocks: list[Block] = field(default_factory=list)
    dropped: list[tuple[int, str]] = field(default_factory=list)
    buffer: list[str | None] = field(default_factory=list)
    """Texts of the block under way; None is a line break that the page asks for."""
    first: int = 0
    node: int = 0
    """First node of the block under way, and the element that it belongs to."""
    opened: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=lambda: ["p"])
    """What a block is called in each of the opened elements, and outside them."""
    before: list[int] = field(default_factory=list)
    """How many blocks there were before each of the opened elements."""
    verbatim: int = 0
    section: str | None = None
    slots: dict[str, int] = field(default_factory=dict)
    """The slot that stands for each URL, told without its scheme."""

    def run(self) -> None:
        tags, ends, texts, reasons = self.tree.tags, self.tree.ends, self.tree.texts, self.regions.reasons
        opened, number, count, until = self.opened, 0, len(self.tree.tags), len(self.tree.tags)
        while number < count:
            while until <= number:
                self.end(opened[-1])
                until = ends[opened[-1]] if opened else count
            tag = tags[number]
            if tag == TEXT:
                if self.buffer or self.verbatim or not texts[number].isspace():
                    self.text(number, texts[number])
            elif reasons[number] == HIDDEN or (tag in DROPPED and not self.is_spoken(tag)):
                self.put_down(number, DROPPED.get(tag, HIDDEN))
                number = ends[number]
                continue
            elif tag in MARKED:
                self.begin(number, tag)
                until = ends[opened[-1]] if opened else count
            number += 1
        while opened:
            self.end(opened[-1])
        self.flush()

    def text(self, number: int, text: str) -> None:
        """A text joins the block under way; the first one says which element and region the block belongs to."""
        if not self.buffer:
            self.start(number)
        elif self.regions.reasons[number] != self.regions.reasons[self.first] and not text.isspace():
            self.flush()
            self.start(number)
        self.buffer.append(text)

    def start(self, number: int) -> None:
        """A block begins with this node."""
        self.first, self.node = number, self.opened[-1] if self.opened else 0

    def begin(self, number: int, tag: str) -> None:
        """An element begins: a block, a cell of a table's line, a line break, a picture, or nothing of the kind."""
        if tag in BLOCK:
            if tag in ("td", "th") and self.tree.parents[number] in self.rows:
                if self.buffer:
                    self.buffer.append(" | ")
                return
            if self.buffer:
                self.flush()
            self.verbatim += tag in VERBATIM
            self.opened.append(number)
            self.names.append(block_name(tag, self.tree.attributes[number], self.names[-1]))
            self.before.append(len(self.blocks))
        elif tag == "br":
            if self.buffer:
                self.buffer.append(None)
        elif tag in IMAGES:
            self.image(number)

    def end(self, number: int) -> None:
        """A block element ends."""
        tag = self.tree.tags[number]
        if self.buffer:
            self.flush()
        self.opened.pop()
        self.names.pop()
        self.verbatim -= tag in VERBATIM
        before = self.before.pop()
        if tag == "figure" and 1 < len(self.blocks) - before <= MOST_IN_FIGURE:
            self.bind_caption(before)

    def flush(self) -> None:
        """What is in the buffer becomes a block, unless it is blank."""
        text = _verbatim(self.buffer) if self.verbatim else _lines(self.buffer)
        self.buffer.clear()
        if not text:
            return
        if not is_normalized("NFC", text):
            text = normalize("NFC", text)
        first, regions, last = self.first, self.regions, self.blocks[-1] if self.blocks else None
        name = self.names[-1]
        near = isinstance(last, TextBlock) and (last.block in LINES if name in LINES else last.block == name == "pre")
        reason = regions.reasons[first]
        separator = "\n" if near else "\n\n"
        self.blocks.append(
            TextBlock(text, self.node, name, separator, regions.names[first], reason, regions.scores[first])
        )
        if name in HEADINGS and reason is None:
            self.section = text[:MOST_WORDS_CHARS]
        if name == "figcaption" and isinstance(last, ImageSlot) and last.caption is None:
            self.blocks[-2] = replace(last, caption=text)

    def image(self, number: int) -> None:
        """A picture: a sign within a sentence, a slot, one that is there already, or none of the page's own."""
        image = self.tree.attributes[number]
        if is_emoji(image):
            if not self.buffer:
                self.start(number)
            self.buffer.append(image.get("alt"))
            self.put_down(number, "emoji")
            return
        found = resolve(image, sources_of(self.tree, number), self.base)
        if found.reason is not None:
            self.put_down(number, found.reason)
            return
        if self.is_twin(number):
            self.join_twin(number, found)
            return
        slot = self.slot(number, image, found.urls, found.found_in)
        places = [url.partition("://")[2] for url in found.urls]
        before = next((self.slots[place] for place in places if place in self.slots), None)
        if before is not None and not (self.blocks[before].reason and slot.reason is None):
            self.put_down(number, "duplicate_image")
            return
        if before is not None:
            self.blocks[before] = replace(self.blocks[before], region="duplicate", reason="duplicate_image")
        self.flush()
        self.slots.update(dict.fromkeys(places, len(self.blocks)))
        self.blocks.append(slot)

    def slot(self, number: int, image: Attributes, urls: tuple[str, ...], found_in: str) -> ImageSlot:
        """The slot of a picture, with all that the page says of it but its legend."""
        regions = self.regions
        link = self.around(number, "a")
        href = self.tree.attributes[link].get("href") if link else None
        return ImageSlot(
            url=urls[0],
            node=number,
            candidates=urls,
            alt=_words(image.get("alt")),
            title=_words(image.get("title")),
            section=self.section,
            rendered_width_px=side_px(image, "width"),
            rendered_height_px=side_px(image, "height"),
            link_url=absolute(href, self.base) if href else None,
            found_in="noscript" if self.around(number, "noscript") else found_in,
            region=regions.names[number],
            reason=regions.reasons[number],
            score=regions.scores[number],
        )

    def around(self, number: int, tag: str) -> int:
        """The element of that name close around a node, 0 if there is none."""
        for _ in range(MOST_UP):
            number = self.tree.parents[number]
            if number <= 0 or self.tree.tags[number] == tag:
                return max(number, 0)
        return 0

    def is_spoken(self, tag: str) -> bool:
        """Whether it is a button that makes a heading fold its section."""
        return tag == "button" and self.names[-1] in HEADINGS

    def is_twin(self, number: int) -> bool:
        """Whether a picture and the one before are one: loaded late by a script, and in `noscript` for the others."""
        last = self.blocks[-1] if self.blocks else None
        if not isinstance(last, ImageSlot) or any(piece is None or not piece.isspace() for piece in self.buffer):
            return False
        tree, between = self.tree, range(self.tree.ends[last.node], number)
        if len(between) > MOST_BETWEEN or not all(tree.tags[node] in BETWEEN_TWINS for node in between):
            return False
        return bool(self.around(number, "noscript")) != bool(self.around(last.node, "noscript"))

    def join_twin(self, number: int, found: Resolved) -> None:
        """Give the slot before the addresses of its twin. Its own is maybe a preview where it comes from `src`."""
        last = self.blocks[-1]
        assert isinstance(last, ImageSlot)
        urls = (*found.urls, *last.candidates) if last.found_in == "src" else (*last.candidates, *found.urls)
        candidates = tuple(dict.fromkeys(urls))
        place = last.found_in if candidates[0] == last.url else "noscript"
        self.blocks[-1] = replace(last, url=candidates[0], candidates=candidates, found_in=place)
        for url in found.urls:
            self.slots.setdefault(url.partition("://")[2], len(self.blocks) - 1)
        self.put_down(number, "noscript_copy")

    def bind_caption(self, place: int) -> None:
        """Give the pictures of a figure its legend, wherever it stands; its blocks begin at `place`."""
        own = self.blocks[place:]
        legend = " ".join(block.text for block in own if isinstance(block, TextBlock) and block.block == "figcaption")
        for at, block in enumerate(own, place) if legend else ():
            if isinstance(block, ImageSlot):
                self.blocks[at] = replace(block, caption=legend)

    def put_down(self, number: int, reason: str) -> None:
        """Say of a node why it is not in the output."""
        self.dropped.append((number, reason))


def _empty(tree: Tree, walker: _Walker) -> Iterator[int]:
    """The outermost elements without text, picture or anything that was left out; line breaks are text."""
    told = {node for node, _ in walker.dropped} | {block.node for block in walker.blocks}
    holds = [
        node in told or tag == "br" or (tag == TEXT and not text.isspace())
        for node, (tag, text) in enumerate(zip(tree.tags, tree.texts, strict=True))
    ]
    for node in range(len(tree) - 1, 0, -1):
        holds[tree.parents[node]] |= holds[node]
    edges = {node: tree.ends[node] for node, _ in walker.dropped}
    node = 0
    while node < len(tree):
        if not holds[node] and tree.tags[node] != TEXT:
            yield node
            node = tree.ends[node]
        else:
            node = edges.get(node, node + 1)


def _lines(pieces: list[str | None]) -> str:
    """White space made single, NBSP and others too; the page's own line breaks kept."""
    if len(pieces) == 1:
        return " ".join((pieces[0] or "").split())
    if None not in pieces:
        return " ".join("".join(map(str, pieces)).split())
    lines: list[list[str]] = [[]]
    for piece in pieces:
        if piece is None:
            lines.append([])
        else:
            lines[-1].append(piece)
    return "\n".join(line for line in (" ".join("".join(own).split()) for own in lines) if line)


def _verbatim(pieces: list[str | None]) -> str:
    text = "".join("\n" if piece is None else piece for piece in pieces)
    return text.strip("\n").rstrip() if text.strip() else ""


def _words(text: str | None) -> str | None:
    """An attribute's text with single white space; None where there is none."""
    return " ".join(text[:MOST_WORDS_CHARS].split()) or None if text else None
