"""Pages with a known answer: what Readability keeps of 65 real pages, and how near to it an extraction comes.

The gold is the test set of mozilla/readability: `source.html` of a page, and `expected.html`, the text and images that
belong to its article. Text is compared as bags of tokens, so order and markup do not count; an image is right where
any of its addresses (src, srcset, lazy attributes) is among those of an image of the gold. Images without an http
address (data: URLs) take no part on either side.

Two means stand side by side: *macro* is the mean over pages, *micro* counts all tokens or images as one pile, where
one page of 56 images weighs a fifth.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

__all__ = [
    "ARCHIVE", "PAGE_URL", "GoldPage", "Summary", "Verdict", "gold_pages", "judge", "srcset_of", "summary", "tokens_of",
]  # fmt: skip

ARCHIVE = Path(__file__).resolve().parents[2] / "shared" / "data" / "htmlonly" / "readability-dev.tar.gz"
PAGE_URL = "http://fakehost/test/page.html"
"""The address that the gold was made with: relative URLs in it are resolved against it."""

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_CANDIDATE = re.compile(r"(\S*[^\s,])(?:\s+[\d.]+[wxh])?\s*(?:,|$)")
_INLINE = frozenset((
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd", "mark", "q",
    "s", "samp", "small", "span", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
))  # fmt: skip
_UNSEEN = frozenset(("script", "style", "template", "noscript", "title"))


@dataclass(frozen=True)
class GoldPage:
    """A page and its answer: tokens of the visible text, and for each image the set of its addresses."""

    name: str
    html: bytes
    tokens: Counter[str]
    images: tuple[frozenset[str], ...]


@dataclass(frozen=True)
class Verdict:
    """One page compared: tokens found, tokens of the gold, tokens in common; the same of images."""

    name: str
    tokens: int
    gold_tokens: int
    common_tokens: int
    images: int
    right_images: int
    gold_images: int
    found_images: int

    @property
    def f1(self) -> float:
        """Token F1 of the page, 0 to 1."""
        return _ratio(2 * self.common_tokens, self.tokens + self.gold_tokens)


@dataclass(frozen=True)
class Summary:
    """Means over pages, all 0 to 1. Image figures leave out pages where their denominator is zero."""

    pages: int
    f1: float
    precision: float
    recall: float
    micro_f1: float
    image_recall: float
    image_precision: float
    macro_image_recall: float
    macro_image_precision: float


def gold_pages(archive: Path = ARCHIVE) -> list[GoldPage]:
    """All pages of the archive, by name."""
    files: dict[str, dict[str, bytes]] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            body = tar.extractfile(member)
            if body is not None and member.name.endswith("/source.html"):
                files.setdefault(member.name.split("/")[-2], {})["source"] = body.read()
            elif body is not None and member.name.endswith("/expected.html"):
                files.setdefault(member.name.split("/")[-2], {})["expected"] = body.read()
    pages = []
    for name, found in sorted(files.items()):
        expected = found["expected"].decode("utf-8")
        pages.append(GoldPage(name, found["source"], tokens_of(visible_text(expected)), tuple(images_of(expected))))
    return pages


def tokens_of(text: str) -> Counter[str]:
    """Bag of lower-case words; a Chinese or Japanese character is a word of its own."""
    return Counter(_TOKEN.findall(text.lower()))


def visible_text(html: str) -> str:
    """Text of a document, a space at the edge of every element that is not part of a line."""
    from selectolax.lexbor import LexborHTMLParser

    out = io.StringIO()
    root = LexborHTMLParser(html).root
    for node in root.traverse(include_text=True) if root is not None else ():
        if node.tag == "-text" and (node.parent is None or node.parent.tag not in _UNSEEN):
            out.write(node.text_content or "")
        elif node.tag not in _INLINE:
            out.write(" ")
    return out.getvalue()


def images_of(html: str) -> Iterator[frozenset[str]]:
    """The addresses of each image that has one."""
    from selectolax.lexbor import LexborHTMLParser

    for node in LexborHTMLParser(html).css("img"):
        addresses = frozenset(_addresses((node.attributes or {}).items()))
        if addresses:
            yield addresses


def _addresses(attributes: Iterable[tuple[str, str | None]]) -> Iterator[str]:
    for name, value in attributes:
        if name == "src" or (name.startswith("data-") and value and value.startswith(("http", "/"))):
            urls = [value or ""] if "set" not in name else srcset_of(value or "")
        elif name.endswith("srcset"):
            urls = srcset_of(value or "")
        else:
            continue
        yield from (plain_url(url) for url in urls if url and not url.startswith("data:"))


def srcset_of(value: str) -> list[str]:
    """The addresses of a `srcset`; a plain address is one of one. An address may have commas, but not at its end."""
    return _CANDIDATE.findall(value)


def plain_url(url: str) -> str:
    """An address as it is compared: absolute, percent signs decoded, without scheme and fragment."""
    return unquote(urldefrag(urljoin(PAGE_URL, url.strip())).url).partition("://")[2]


def judge(gold: GoldPage, text: str, images: Sequence[Iterable[str]]) -> Verdict:
    """Compare one extraction: its text, and for each image its address or addresses."""
    found = tokens_of(text)
    slots = [{plain_url(url) for url in image} for image in images]
    known = frozenset().union(*gold.images) if gold.images else frozenset()
    ours = set().union(*slots) if slots else set()
    return Verdict(
        gold.name,
        found.total(),
        gold.tokens.total(),
        (found & gold.tokens).total(),
        len(slots),
        sum(not known.isdisjoint(slot) for slot in slots),
        len(gold.images),
        sum(not ours.isdisjoint(image) for image in gold.images),
    )


def summary(verdicts: Sequence[Verdict]) -> Summary:
    """Macro and micro figures over pages."""
    found, gold, common = (
        sum(getattr(verdict, name) for verdict in verdicts) for name in ("tokens", "gold_tokens", "common_tokens")
    )
    images, right, wanted, there = (
        sum(getattr(verdict, name) for verdict in verdicts)
        for name in ("images", "right_images", "gold_images", "found_images")
    )
    return Summary(
        len(verdicts),
        _mean([v.f1 for v in verdicts]),
        _mean([_ratio(v.common_tokens, v.tokens) for v in verdicts]),
        _mean([_ratio(v.common_tokens, v.gold_tokens) for v in verdicts]),
        _ratio(2 * common, found + gold),
        _ratio(there, wanted),
        _ratio(right, images),
        _mean([v.found_images / v.gold_images for v in verdicts if v.gold_images]),
        _mean([v.right_images / v.images for v in verdicts if v.images]),
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 1.0
