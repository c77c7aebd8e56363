"""The tags of a page one after another, without a tree: for the guard, which must judge a page before it is parsed.

It splits a page as the tokenizer of the HTML standard does (quoted values may hold `>`; comments, scripts and other raw
text hold no tags), in one pass of about 2 us a tag. Ordinary pages never get here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["FOREIGN", "Tag", "read_tag", "scan_tags"]

FOREIGN = (b"svg", b"math")
RAW = frozenset(b"script style textarea title xmp iframe noembed noframes plaintext".split())
BLANKS = b" \t\n\f\r"
ENDS_NAME = bytes.maketrans(b"\t\n\f\r/", b"     ")
ENDS_VALUE = bytes.maketrans(b"\t\n\f\r>", b"     ")
CHUNK = 256


class Tag(NamedTuple):
    """A start tag or an end tag. `name` in lower case; `attributes`: names as they stand, `written`: with the values;
    `end`: the place behind it."""

    name: bytes
    is_end: bool
    attributes: list[bytes]
    written: bytes
    end: int


def scan_tags(html: bytes) -> Iterator[Tag]:
    """All tags in order. The content of comments and raw text is passed over."""
    low = html.lower()
    foreign = 0
    start = html.find(b"<")
    while start >= 0:
        second = low[start + 1 : start + 3]
        if second[:1].isalpha() or (second[:1] == b"/" and second[1:].isalpha()):
            tag = read_tag(html, start)
            yield tag
            foreign += (tag.name in FOREIGN) * (-1 if tag.is_end and foreign else not tag.is_end)
            end = tag.end
            if tag.name in RAW and not tag.is_end and not foreign:
                end = low.find(b"</" + tag.name, end)
        elif low.startswith(b"<!--", start):
            end = _end_of_comment(low, start)
        elif second[:1] in (b"!", b"?", b"/"):
            end = low.find(b">", start)
        else:
            end = start + 1
        start = html.find(b"<", end) if end >= 0 else -1


def read_tag(html: bytes, start: int) -> Tag:
    """The tag whose `<` stands at `start`. One that has no end goes to the end of the page."""
    is_end = html[start + 1 : start + 2] == b"/"
    place = start + 1 + is_end
    close = _find(html, b">", place)
    name = html[place:close].translate(ENDS_NAME).partition(b" ")[0]
    begin = place = place + len(name)
    attributes: list[bytes] = []
    has_name = False
    while (equals := html.find(b"=", place, close)) >= 0:
        before = html[place:equals].translate(ENDS_NAME)
        attributes += before.split()
        # An `=` where a name would begin is the first letter of a name.
        if not (has_name or before.strip()) or html[place:equals].rstrip(BLANKS).endswith(b"/"):
            has_name, place = True, equals + 1
            attributes.append(b"=")
            continue
        has_name = False
        place = _end_of_value(html, equals + 1)
        close = close if close >= place else _find(html, b">", place)
    attributes += html[place:close].translate(ENDS_NAME).split()
    return Tag(name.lower(), is_end, attributes, html[begin:close], close + 1)


def _end_of_value(html: bytes, place: int) -> int:
    while html[place : place + 1] in (b" ", b"\t", b"\n", b"\f", b"\r"):
        place += 1
    quote = html[place : place + 1]
    if quote in (b'"', b"'"):
        return min(_find(html, quote, place + 1) + 1, len(html))
    while place < len(html):
        chunk = html[place : place + CHUNK].translate(ENDS_VALUE)
        if (end := chunk.find(b" ")) >= 0:
            return place + end
        place += CHUNK
    return len(html)


def _end_of_comment(low: bytes, start: int) -> int:
    """The place of the `>` that ends a comment, -1 if none does. `<!-->` and `<!--->` are comments too."""
    end = low.find(b"-->", start + 2)
    other = low.find(b"--!>", start + 4, end if end >= 0 else len(low))
    return other + 3 if other >= 0 else end + 2 if end >= 0 else -1


def _find(html: bytes, what: bytes, start: int) -> int:
    place = html.find(what, start)
    return len(html) if place < 0 else place
