"""What single elements of a page say of themselves: hidden, navigation, an advertisement, for or against content.

The words of `class` and `id` are lists that readers' tools found to hold over many sites (Arc90's Readability,
Mozilla's after it): words of what is beside the article, words that excuse them, words that speak for or against
content. Long words count wherever they stand in a name ("sitefooter"), short ones only alone ("rss" is not in
"across"). Names repeat within a page and from page to page of a site, so each is read once and remembered: 5 us for a
new one, 0.06 us for a known one. The memory is bounded: 20,000 names of at most 200 characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from curate.document.tree import TEXT, Tree

__all__ = ["Mark", "Marks", "Words", "read_marks", "words_of"]

LONGEST_NAME = 200
_ADVERTISEMENT, _COOKIES = "advertisement", "cookie_notice"
_BESIDE: dict[str, tuple[str, ...]] = {
    "comments": ("comment", "disqus", "combx", "remark", "replies", "shoutbox"),
    "navigation": ("breadcrumb", "menu", "pagination"),
    "footer": ("footer",),
    "header": ("header", "banner", "cover-wrap"),
    "related": ("related", "yom-remote", "outbrain", "taboola"),
    "aside": ("sidebar", "supplemental", "legends", "community", "extra"),
    "share": ("social", "sharedaddy"),
    _ADVERTISEMENT: ("sponsor", "skyscraper", "ai2html", "advert", "-ad-", "ad-break"),
    _COOKIES: ("gdpr", "agegate", "popup", "cookie", "consent"),
}
_BESIDE_ALONE = {"rss": "share", "pager": "navigation", "nav": "navigation", "navbar": "navigation"}
_EXCUSED = ("article", "body", "column", "content", "main", "mathjax", "shadow")
_EXCUSED_ALONE = frozenset(("and",))
_FOR = ("article", "body", "content", "entry", "main", "page", "pagination", "post", "text", "blog", "story")
_AGAINST = (
    "-ad-", "hidden", "banner", "combx", "comment", "com-", "contact", "footer", "gdpr", "masthead", "media", "meta",
    "outbrain", "promo", "related", "scroll", "share", "shoutbox", "sidebar", "skyscraper", "sponsor", "shopping",
    "tags", "widget",
)  # fmt: skip
_AGAINST_ALONE = frozenset(("hid",))
_SHARE_ALONE = frozenset(("share", "sharedaddy"))
_SPLIT = str.maketrans(dict.fromkeys("-_:./,|", " "))
_ROLES = {
    "menu": "navigation", "menubar": "navigation", "navigation": "navigation", "complementary": "aside",
    "alert": _COOKIES, "alertdialog": _COOKIES, "dialog": _COOKIES,
}  # fmt: skip
_UNSEEN = frozenset(("script", "style", "template", "head", "noscript", "iframe"))
_PARTS = {"nav": "navigation", "footer": "footer", "aside": "aside", "dialog": _COOKIES}
_TOP = frozenset(("html", "body"))
_NEVER_BESIDE = frozenset(("html", "body", "main", "article"))
_NO_PART = frozenset(("a", "img", "source", "input", "path", "svg", "use", "g", "br", "meta", "link"))
"""Too small to be a part of a page, whatever their names say."""
_PLAYERS = frozenset(("iframe", "object", "embed"))
_VIDEO_HOSTS = ("youtube", "vimeo", "dailymotion", "bilibili", "player.twitch", "archive.org/embed", "v.qq.com")
_TABLE_LEVELS = 4


class Words(NamedTuple):
    """What a name says. `beside`: the region it names, None if none; `excused`: it also names content; `weight`: 25 for
    a word of content, -25 for one against, 0 for both; `share`: a row of share buttons."""

    beside: str | None = None
    excused: bool = False
    weight: int = 0
    share: bool = False


_SILENT = Words()


class Mark(NamedTuple):
    """A node that says what it is. `sure`: by its element or role, not by the words of its class or id."""

    node: int
    region: str
    sure: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """What elements say of themselves, in document order. `unseen`: what browsers do not draw (noscript too); `hidden`:
    by attribute or inline style; `beside`: parts of a page that are no content; `shares`: share buttons; `videos`:
    players of the large hosts. `weights`: points by node for and against content."""

    unseen: list[int] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)
    beside: list[Mark] = field(default_factory=list)
    shares: list[int] = field(default_factory=list)
    videos: list[int] = field(default_factory=list)
    weights: dict[int, int] = field(default_factory=dict)


def read_marks(tree: Tree) -> Marks:
    """One pass over all elements."""
    marks = Marks()
    unseen = marks.unseen
    for node, (tag, attributes) in enumerate(zip(tree.tags, tree.attributes, strict=True)):
        if tag == TEXT:
            continue
        if tag in _UNSEEN:
            unseen.append(node)
            if tag in _PLAYERS and _is_video(attributes):
                marks.videos.append(node)
        elif attributes:
            hides = "style" in attributes or "hidden" in attributes or "aria-hidden" in attributes
            if hides and tag not in _TOP and _is_hidden(attributes):
                marks.hidden.append(node)
            elif tag not in _NO_PART:
                _read_element(tree, node, attributes, marks)
        elif tag in _PARTS:
            marks.beside.append(Mark(node, _PARTS[tag], True))
    return marks


def _read_element(tree: Tree, node: int, attributes: Mapping[str, str | None], marks: Marks) -> None:
    tag = tree.tags[node]
    if tag in _PLAYERS and _is_video(attributes):
        marks.videos.append(node)
    region = _PARTS.get(tag)
    if region is None and "role" in attributes:
        region = _ROLES.get(attributes["role"] or "")
    if region is not None:
        marks.beside.append(Mark(node, region, True))
    name, identity = attributes.get("class"), attributes.get("id")
    if not name and not identity:
        return
    first = words_of(name[:LONGEST_NAME]) if name else _SILENT
    second = words_of(identity[:LONGEST_NAME]) if identity else _SILENT
    if first.weight or second.weight:
        marks.weights[node] = first.weight + second.weight
    if first.share or second.share:
        marks.shares.append(node)
    beside = first.beside or second.beside
    if region or beside is None or first.excused or second.excused or tag in _NEVER_BESIDE:
        return
    if not _in_table_or_code(tree, node):
        marks.beside.append(Mark(node, beside, False))


def _is_hidden(attributes: Mapping[str, str | None]) -> bool:
    if "hidden" in attributes:
        return True
    if attributes.get("aria-hidden") == "true" and "fallback-image" not in (attributes.get("class") or ""):
        return True
    style = attributes.get("style")
    if not style:
        return False
    plain = "".join(style.lower().split())
    return "display:none" in plain or "visibility:hidden" in plain


def _is_video(attributes: Mapping[str, str | None]) -> bool:
    return any(host in (value or "") for value in attributes.values() for host in _VIDEO_HOSTS)


def _in_table_or_code(tree: Tree, node: int) -> bool:
    """Whether one of the elements close above is a table or code: names in there speak of columns and tokens."""
    for _ in range(_TABLE_LEVELS):
        node = tree.parents[node]
        if node < 0:
            return False
        if tree.tags[node] in ("table", "code"):
            return True
    return False


def _finder(words: Iterable[str]) -> Callable[[str], object]:
    """A search for any of the words: one pass over a name instead of one per word."""
    return re.compile("|".join(map(re.escape, words))).search


_names_excused, _names_for, _names_against = _finder(_EXCUSED), _finder(_FOR), _finder(_AGAINST)
_names_beside = _finder(word for words in _BESIDE.values() for word in words)


@lru_cache(maxsize=20_000)
def words_of(name: str) -> Words:
    """What the value of a `class` or `id` says; to be asked for its first LONGEST_NAME characters."""
    low = name.lower()
    alone = set(low.translate(_SPLIT).split())
    excused = bool(_names_excused(low)) or not alone.isdisjoint(_EXCUSED_ALONE)
    weight = 25 if _names_for(low) else 0
    if _names_against(low) or not alone.isdisjoint(_AGAINST_ALONE):
        weight -= 25
    return Words(_beside(low, alone), excused, weight, not alone.isdisjoint(_SHARE_ALONE))


def _beside(low: str, alone: set[str]) -> str | None:
    if _names_beside(low):
        return next(region for region, words in _BESIDE.items() if any(word in low for word in words))
    return next((region for word, region in _BESIDE_ALONE.items() if word in alone), None)
