"""What the `obelics` rules leave of a page's elements, as HTML to be parsed once more.

The published program edits a parser's tree in eight steps and starts again from the root after each node that it
takes out: 4,000 nested `div` take it 8 s. Each of its rules looks at an element's own name, attributes and
surroundings only, so the same result comes from one walk down the flat tree (what goes with all inside it), one walk
up (what is empty then, or wraps one element of its own kind), and one that writes the rest.

It is written as HTML and parsed again, as there, because that still changes pages: texts that became neighbours grow
together, and a heading that only a `span` held inside another heading ends it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from html import escape

from curate.document.obelics_images import has_source, picture_source
from curate.document.obelics_text import LINE_BREAK
from curate.document.tree import TEXT, Tree

__all__ = ["END_OF_DOCUMENT", "NUMBER", "Simplifier", "without_comments"]

END_OF_DOCUMENT = "\n\nEND_OF_DOCUMENT_TOKEN_TO_BE_REPLACED\n\n"
"""Put where an element of class `more-link` was."""

NUMBER = "n"
"""The attribute by which an element in the written HTML tells its number in the tree."""


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


UNWRAPPED = _names(
    "a abbr acronym b bdi bdo big cite code data dfn em font i ins kbd mark q s samp shadow small span strike strong"
    " sub sup time tt u var wbr"
)
KEPT = _names(
    "address article aside blink blockquote body br caption center dd dl dt div figcaption h hgroup html legend main"
    " marquee ol p section summary title ul audio embed figure iframe img object picture video source"
)
"""Names without their digits: `h1` to `h6` are there as `h`, and so are `h7` and `p1`."""

NEVER_A_SOURCE = _names("embed figure iframe object picture source")
SPECIAL_DIVS = _names("footer header navigation nav navbar menu")
MEDIA = frozenset(("img", "audio", "video"))
"""Those that may have a source. What stands inside them is never read."""

SPACES = str.maketrans("\t\n\f\r", "    ")
DIGITS = str.maketrans("", "", "0123456789")

GONE, PLAIN, INLINE, BREAK, MORE, EMPTY = range(6)
"""What becomes of a node: nothing; itself; its children in its place; a line break; the token; nothing, being empty."""


def without_comments(html: str) -> str:
    """All from each `<!--` to the next `-->` is cut out before parsing, also where the two stand in two scripts."""
    kept = []
    start = 0
    while (opened := html.find("<!--", start)) >= 0 and (closed := html.find("-->", opened + 4)) >= 0:
        kept.append(html[start:opened])
        start = closed + 3
    return "".join(kept) + html[start:]


class Simplifier:
    """The three walks over a tree. `lost`: (node, reason) of each subtree that went, its outermost node only."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.lost: list[tuple[int, str]] = []
        self._fates = bytearray(len(tree))
        self._homes = array("i", bytes(4 * len(tree)))
        self._has_words = bytearray(len(tree))
        self._is_dated = bytearray(len(tree))
        self._wraps = bytearray(len(tree))

    def simplify(self) -> str:
        """The page that is left, as HTML."""
        self._go_down()
        self._go_up()
        return "".join(self._write())

    def _go_down(self) -> None:
        """Set the fates that need no look at what is inside. A node's home is the element it will stand in."""
        tree, number = self.tree, 0
        while number < len(tree):
            home = self._homes[max(0, tree.parents[number])]
            fate, reason = self._judge(number, home)
            is_element = fate == PLAIN and tree.tags[number] != TEXT
            self._fates[number] = fate
            self._homes[number] = number if is_element else home
            if reason:
                self.lost.append((number, reason))
            if fate in (BREAK, MORE) or (fate == PLAIN and tree.texts[number].strip()):
                self._has_words[home] = 1
            goes_in = fate in (PLAIN, INLINE) and tree.tags[number] not in MEDIA
            number = number + 1 if goes_in else tree.ends[number]

    def _judge(self, number: int, home: int) -> tuple[int, str]:
        """A node's fate, and why where something is lost."""
        tag, attributes = self.tree.tags[number], self.tree.attributes[number]
        is_line_break = tag == "br" and not attributes
        if tag == TEXT or is_line_break:
            if self._is_dated[home]:
                return GONE, "date_class_text" if self.tree.texts[number].strip() else ""
            return (BREAK if is_line_break else PLAIN), ""
        reason = _reason_to_strip(tag, attributes)
        if reason == "more_link" and not self._is_dated[home]:
            return MORE, reason
        if reason:
            return GONE, reason
        self._is_dated[number] = tag == "div" and "date" in (attributes.get("class") or "")
        return (INLINE if tag in UNWRAPPED else PLAIN), ""

    def _go_up(self) -> None:
        """From the inside out: what holds neither an element nor a word goes, and so does what only wraps its like."""
        tags = self.tree.tags
        inside = array("i", bytes(4 * len(tags)))
        likes = bytearray(len(tags))
        for number in range(len(tags) - 1, 0, -1):
            if self._fates[number] != PLAIN or tags[number] == TEXT:
                continue
            if not (inside[number] or self._has_words[number] or tags[number] in MEDIA):
                self._fates[number] = EMPTY
                continue
            if tags[number] in ("audio", "video"):
                self.lost.append((number, "not_a_picture"))
            self._wraps[number] = inside[number] == 1 and likes[number] and not self._has_words[number]
            home = self._homes[self.tree.parents[number]]
            inside[home] += 1
            likes[home] = tags[home] == tags[number]

    def _write(self) -> Iterator[str]:
        """Elements carry their number; what a wrapper of its like held besides is white space and goes with it."""
        tree, number = self.tree, 0
        opened: list[tuple[int, str]] = []
        while number < len(tree):
            while opened and opened[-1][0] <= number:
                yield f"</{opened.pop()[1]}>"
            fate, tag = self._fates[number], tree.tags[number]
            if fate == EMPTY:
                self.lost.append((number, "line_break_with_attributes" if tag == "br" else "empty_element"))
            elif fate == BREAK:
                yield LINE_BREAK
            elif fate == MORE:
                yield END_OF_DOCUMENT
            elif fate == PLAIN and not self._wraps[self._homes[number]]:
                yield escape(tree.texts[number], quote=False) if tag == TEXT else f'<{tag} {NUMBER}="{number}">'
                opened += [(tree.ends[number], tag)] if tag not in (TEXT, "img") else []
            number = number + 1 if fate in (PLAIN, INLINE) else tree.ends[number]
        for _, tag in reversed(opened):
            yield f"</{tag}>"


def _reason_to_strip(tag: str, attributes: Mapping[str, str | None]) -> str:
    """Why an element goes with all inside it, "" where it may stay. The order is that of the published steps."""
    classes = (attributes.get("class") or "").lower()
    if tag != "html" and (_is_class("footer", classes) or _is_class("site-info", classes)):
        return "footer_class"
    if _is_class("more-link", classes):
        return "more_link"
    if tag in UNWRAPPED:
        return ""
    if tag.translate(DIGITS) not in KEPT:
        return "stripped_tag"
    if tag == "div" and not SPECIAL_DIVS.isdisjoint(
        (attributes.get("id"), attributes.get("title"), " ".join((attributes.get("class") or "").split()))
    ):
        return "special_div"
    return _reason_without_source(tag, attributes)


def _is_class(name: str, classes: str) -> bool:
    """As the published program's parser matches `~=`: one of the words between ASCII white space, in any case."""
    return name in classes and name in classes.translate(SPACES).split(" ")


def _reason_without_source(tag: str, attributes: Mapping[str, str | None]) -> str:
    """Media go where the rules see no source. They never see one for `figure` and `picture`, nor look inside them."""
    if tag in NEVER_A_SOURCE or (tag in ("audio", "video") and not has_source(attributes)):
        return f"{tag}_without_source"
    if tag == "img" and picture_source(attributes) is None:
        return "image_without_source"
    return ""
