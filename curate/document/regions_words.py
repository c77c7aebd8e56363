"""What the words in `class`, `id` and `role` say about a part of a page.

The lists are those that readers' tools found to hold over many sites (Arc90's Readability, Mozilla's after it): words
of what is beside the article, words that excuse them, words that speak for or against content. Long words count
wherever they stand in a name ("sitefooter"), short ones only alone ("rss" is not in "across").

Names repeat within a page and from page to page of a site, so each is read once and remembered: 1 us for a new name,
0.05 us for a known one. The memory is bounded: 20,000 names of at most 200 characters.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

__all__ = ["ROLES", "Words", "words_of"]

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
    _ADVERTISEMENT: ("sponsor", "skyscraper", "ai2html", "advert", "-ad-"),
    _COOKIES: ("gdpr", "agegate", "popup", "cookie", "consent"),
}
_BESIDE_ALONE = {
    "rss": "share", "pager": "navigation", "ad-break": _ADVERTISEMENT, "nav": "navigation", "navbar": "navigation",
}  # fmt: skip
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

ROLES = {
    "menu": "navigation",
    "menubar": "navigation",
    "navigation": "navigation",
    "complementary": "aside",
    "alert": _COOKIES,
    "alertdialog": _COOKIES,
    "dialog": _COOKIES,
}
"""ARIA roles of what is beside the content."""


class Words(NamedTuple):
    """What a name says. `beside`: the region it names, None if none; `excused`: it also names content; `weight`: 25 for
    a word of content, -25 for one against, their sum for both; `share`: a row of share buttons."""

    beside: str | None = None
    excused: bool = False
    weight: int = 0
    share: bool = False


def words_of(name: str) -> Words:
    """What the value of a `class` or `id` says; of a longer one its first 200 characters."""
    return _read(name[:LONGEST_NAME])


@lru_cache(maxsize=20_000)
def _read(name: str) -> Words:
    low = name.lower()
    alone = set(low.translate(_SPLIT).split())
    excused = any(word in low for word in _EXCUSED) or not alone.isdisjoint(_EXCUSED_ALONE)
    weight = 25 if any(word in low for word in _FOR) else 0
    if any(word in low for word in _AGAINST) or not alone.isdisjoint(_AGAINST_ALONE):
        weight -= 25
    return Words(_beside(f" {low} ", alone), excused, weight, not alone.isdisjoint(_SHARE_ALONE))


def _beside(low: str, alone: set[str]) -> str | None:
    for region, words in _BESIDE.items():
        if any(word in low for word in words):
            return region
    return next((region for word, region in _BESIDE_ALONE.items() if word in alone), None)
