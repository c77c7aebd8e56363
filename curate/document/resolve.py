"""Which picture an `img` stands for: from all that pages do to load one late, in many sizes, or only without scripts.

Candidates come from `picture` sources, `srcset`, lazy attributes and `src`; the largest that is not larger than needed
is first. Of the images on real pages one in five has its URL in a `data-` attribute, one in ten in `noscript`, one in
eight in `srcset` (1,293 pages). What is no picture of its own has a reason: inline data, a counting pixel, an icon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from curate.document.srcset import parse_srcset
from curate.fetch.url import Target, join_url, parse_url

__all__ = ["Attributes", "Resolved", "absolute", "resolve", "side_px"]

Attributes: TypeAlias = Mapping[str, str | None]

WIDEST_PX = 2_560
"""A candidate wider than this is taken only where there is no other."""
PIXEL_PX = 3
ICON_PX = 16
MOST_URL_CHARS = 8_192
MOST_STYLE_CHARS = 2_000
USUAL_PX = 600
"""Taken for the width of a candidate that says its density alone."""

_LAZY_NAMES = (
    "data-src", "data-original", "data-lazy-src", "data-lazyload", "data-lazy", "data-original-src", "data-image",
    "data-img-src", "data-hi-res-src", "data-full-src", "data-large-file", "data-orig-file", "data-url",
    "data-actualsrc", "data-src-fg", "data-scroll-image", "data-lateloadsrc", "data-gt-lazy-src",
    "data-lazy-load-src", "src2",
)  # fmt: skip
_LAZY = {name: 1.9 - place / 1e3 for place, name in enumerate(_LAZY_NAMES)}
"""Rank of each: an earlier name goes before a later one."""
_SETS = ("srcset", "data-srcset", "data-lazy-srcset", "data-original-set", "data-bgset")
_LATE = frozenset((*_LAZY_NAMES, *_SETS))
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff")
_EMPTY_NAMES = frozenset(
    {
        "blank", "spacer", "transparent", "placeholder", "pixel", "loading", "loader", "lazy", "lazyload", "clear",
        "grey", "gray", "1x1", "dot", "trans", "transp", "empty", "shim", "blank1x1", "transparent1x1",
    }
)  # fmt: skip
_SHEET_NAMES = frozenset(("sprite", "sprites", "spritesheet"))
_PIXEL_WORDS = (
    "/pixel?", "/pixel.", "/beacon", "/collect?", "/b/ss/", "/tr?id=", "/__utm.gif", "/count?", "/track?",
    ".scorecardresearch.com/", "//pixel.", "//stats.wordpress.com/", "//counter.", ".doubleclick.net/",
    ".google-analytics.com/", "//mc.yandex.ru/watch", ".statcounter.com/", "//bat.bing.com/", ".quantserve.com/",
    ".amazon-adsystem.com/", ".assoc-amazon.com/",
)  # fmt: skip
"""What the addresses of counters and their hosts have in them."""
_counts_visits = re.compile("|".join(map(re.escape, _PIXEL_WORDS))).search
_LATE_TYPES = frozenset(("image/avif", "image/jp2"))
"""Types that are taken where there is no other; few can read them."""
_NO_TYPES = frozenset(("image/svg+xml", "image/jxl", "image/heic", "image/heif", "image/vnd.ms-photo"))
_MIN_WIDTH, _MAX_WIDTH = "min-width:", "max-width:"


class Resolved(NamedTuple):
    """Candidates as absolute URLs, best first, with where the best was found; or none, and the reason."""

    urls: tuple[str, ...]
    found_in: str = ""
    reason: str | None = None


class _Found(NamedTuple):
    url: str
    place: str
    rank: float


def _rank(candidate: _Found) -> float:
    return -candidate.rank


def resolve(image: Attributes, sources: Sequence[Attributes], base: Target | None) -> Resolved:
    """What an `img` stands for. `sources` are the attributes of the `source` elements of its `picture`; `base` is what
    relative URLs are relative to, None where it is not known."""
    reason = _not_content(image)
    if reason:
        return Resolved((), reason=reason)
    found = list(_candidates(image, sources))
    if len(found) > 1:
        found.sort(key=_rank)
    urls: dict[str, str] = {}
    refused = "no_url"
    for candidate in found:
        url = absolute(candidate.url, base)
        wrong = _why_not(candidate.url) if url is None else _no_picture(url)
        if url is None or wrong is not None:
            refused = wrong or refused
        else:
            urls.setdefault(url, candidate.place)
    if not urls:
        return Resolved((), reason=refused)
    return Resolved(tuple(urls), next(iter(urls.values())))


def absolute(text: str, base: Target | None) -> str | None:
    """The URL of a reference on a page, http or https, percent-encoded, without fragment; None where it is none."""
    text = text.strip()
    if not text or len(text) > MOST_URL_CHARS:
        return None
    try:
        if text[:7].lower() in ("http://", "https:/", "http:\\\\", "https:\\"):
            return parse_url(text).url
        return join_url(base, text).url if base and not _has_scheme(text) else None
    except ValueError:
        return None


def side_px(image: Attributes, name: str) -> int | None:
    """`width` or `height` in CSS pixels as the page says it, by attribute or inline style; None for %, auto, none."""
    text = (image.get(name) or "").strip().lower().removesuffix("px")
    if not text and "style" in image:
        text = _styled(image["style"] or "", name)
    if not text:
        return None
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        return None
    return value if 0 <= value <= 100_000 else None


def _candidates(image: Attributes, sources: Sequence[Attributes]) -> Iterator[_Found]:
    """All URLs that are given, with a rank: wider is better up to WIDEST_PX, and each better than plain `src`."""
    for source in sources:
        yield from _of_source(source)
    for name, value in image.items():
        if not value:
            continue
        if name == "src":
            yield _Found(value, name, 1.5)
        elif name in _SETS:
            yield from _of_set(value, name, 0.6)
        elif name in _LAZY:
            if not value.lstrip().startswith(("{", "[")):
                yield _Found(value, name, _LAZY[name])
        elif name.startswith("data-") and _looks_like_picture(value):
            yield _Found(value, name, 1.2)


def _of_source(source: Attributes) -> Iterator[_Found]:
    """Of a `source`: one for narrow screens alone, or of a type that few can read, goes behind `src`."""
    kind = (source.get("type") or "").partition(";")[0].strip().lower()
    if kind in _NO_TYPES:
        return
    media = "".join((source.get("media") or "")[:MOST_URL_CHARS].lower().split())
    is_late = kind in _LATE_TYPES or (_MAX_WIDTH in media and _MIN_WIDTH not in media)
    usual_px = _leading_number(media.partition(_MIN_WIDTH)[2]) or USUAL_PX
    for name in _SETS:
        for found in _of_set(source.get(name), "picture", 0.5, usual_px):
            yield found._replace(rank=found.rank - 2) if is_late else found


def _of_set(text: str | None, place: str, bonus: float, usual_px: int = USUAL_PX) -> Iterator[_Found]:
    for candidate in parse_srcset(text) if text else ():
        wide = candidate.width_px or int(candidate.density * usual_px)
        rank = 2 + wide / WIDEST_PX if wide <= WIDEST_PX else 1.8 - wide / 1e7
        yield _Found(candidate.url, place, rank + bonus / 1e3)


def _looks_like_picture(value: str) -> bool:
    """Whether some other `data-` attribute holds the URL of a picture."""
    return "/" in value and " " not in value.strip() and value.partition("?")[0].lower().endswith(_ENDINGS)


def _not_content(image: Attributes) -> str | None:
    """A counting pixel or an icon, by what the page says of its size."""
    if not _LATE.isdisjoint(image) and any(image.get(name) for name in _LATE):
        return None  # its size may be that of the placeholder
    width, height = side_px(image, "width"), side_px(image, "height")
    sides = [side for side in (width, height) if side is not None]
    if sides and max(sides) <= PIXEL_PX:
        return "tracking_pixel"
    if len(sides) == 2 and max(sides) <= ICON_PX:
        return "icon"
    return None


def _no_picture(url: str) -> str | None:
    """What a URL stands for if not for a picture of the page's own, None if it may."""
    name = url.partition("?")[0].rpartition("/")[2].lower()
    stem = name.partition(".")[0]
    if name.endswith((".svg", ".svgz")):
        return "vector_image"
    if stem in _EMPTY_NAMES:
        return "placeholder_image"
    if stem in _SHEET_NAMES or stem.endswith(("-sprite", "_sprite", "-sprites", "_sprites")):
        return "sprite_sheet"
    return "tracking_pixel" if _counts_visits(url) else None


def _why_not(text: str) -> str:
    text = text.strip().lower()
    if not text:
        return "no_url"
    if text.startswith("data:"):
        return "data_url"
    if len(text) > MOST_URL_CHARS:
        return "url_too_long"
    return "url_scheme" if _has_scheme(text) and not text.startswith(("http:", "https:")) else "invalid_url"


def _has_scheme(text: str) -> bool:
    head, colon, _ = text.partition(":")
    return bool(colon) and head[:1].isalpha() and all(c.isalnum() or c in "+-." for c in head) and "." not in head


def _leading_number(text: str) -> int:
    """The digits that a text begins with, 0 for none."""
    digits = text[:5]
    while digits and not (digits.isascii() and digits.isdigit()):
        digits = digits[:-1]
    return int(digits or 0)


def _styled(style: str, name: str) -> str:
    """The value of a property of an inline style, without `px`; "" where it is not given in pixels."""
    for rule in style[:MOST_STYLE_CHARS].lower().split(";"):
        key, _, value = rule.partition(":")
        if key.strip() == name:
            value = value.replace("!important", "").strip()
            return value.removesuffix("px") if value.endswith("px") else ""
    return ""
