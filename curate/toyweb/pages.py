"""HTML pages around the pictures, and what a careful reader would take from each: text and images, in order.

A page has an article and, around it, all that an extractor has to leave out: navigation, a logo, advertisements, links
to other stories, a counting pixel. Page n shows rows 3n to 3n+2, one as a figure with a legend, one inside a paragraph,
one loaded late (`data-src`), so each habit of the web occurs on every page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import Literal

from curate.toyweb.caption import describe, group_words
from curate.toyweb.plan import Plan, Row
from curate.toyweb.scene import Group, Scene

__all__ = ["ADS_HOST", "PAGES_HOST", "ROWS_PER_PAGE", "Page", "Part", "page", "page_number", "page_url"]

PAGES_HOST = "stories.toyweb.test"
ADS_HOST = "ads.toyweb.test"
ROWS_PER_PAGE = 3

_BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
_OPENINGS = (
    "Early in the morning the painter came back to the studio.",
    "Nobody in the village had asked for another drawing.",
    "The third sheet of the series is the quietest of them all.",
    "Visitors often stop in front of this one for a long time.",
)
_MIDDLES = (
    "She had put {a} on the paper and was not sure about {b}.",
    "It needs {a} to balance {b}, said her brother, and left it at that.",
    "Without {a} the whole would tip over; {b} would be lonely there.",
    "What looks like chance is planned: {a} first, and only then {b}.",
)
_CLOSINGS = (
    "By the evening it hung on the wall, and the paint was still wet.",
    "A smaller version was sold at the fair two years later.",
    "Children see at once what grown-ups have to count.",
    "The frame, by the way, is older than the picture.",
)
_TITLES = ("How {a} met {b}", "A short story of {a} and {b}", "{a}, {b} and a wet brush")


@dataclass(frozen=True)
class Part:
    """One piece of an article: plain text, or the URL of a picture."""

    kind: Literal["text", "image"]
    value: str


@dataclass(frozen=True)
class Page:
    """A page, and the parts of it that belong to the article, in reading order."""

    url: str
    html: str
    parts: tuple[Part, ...]


def page(plan: Plan, number: int) -> Page:
    """The page of that number, from 0."""
    rows = list(plan.rows(number * ROWS_PER_PAGE, (number + 1) * ROWS_PER_PAGE))
    random = plan.random(number, "page")
    title = _filled(random.choice(_TITLES), rows[0].scene)
    html, parts = [f"<h1>{escape(title)}</h1>"], [Part("text", title)]
    for row, show in zip(rows, (_figure, _inline, _late), strict=True):
        sentences = (random.choice(_OPENINGS), random.choice(_MIDDLES), random.choice(_CLOSINGS))
        text = " ".join(_filled(sentence, row.scene) for sentence in sentences)
        block, found = show(row, text)
        html.append(block)
        parts.extend(found)
    return Page(page_url(number), _framed(title, "\n".join(html), number), tuple(parts))


def page_url(number: int) -> str:
    """Where the page of that number is."""
    return f"http://{PAGES_HOST}/story/{number:06d}.html"


def page_number(target: str) -> int | None:
    """The page that a path on PAGES_HOST names, None for another path."""
    found = re.fullmatch(r"/story/(\d{6,12})\.html", target, re.ASCII)
    return int(found[1]) if found else None


def _figure(row: Row, text: str) -> tuple[str, list[Part]]:
    legend = describe(row.scene, 2)
    block = f"<p>{escape(text)}</p>\n<figure>{_image(row, 'src')}<figcaption>{escape(legend)}</figcaption></figure>"
    return block, [Part("text", text), Part("image", row.url), Part("text", legend)]


def _inline(row: Row, text: str) -> tuple[str, list[Part]]:
    first, rest = text.split(". ", 1)
    block = f"<p>{escape(first)}.<br>{_image(row, 'src')}<br>{escape(rest)}</p>"
    return block, [Part("text", f"{first}."), Part("image", row.url), Part("text", rest)]


def _late(row: Row, text: str) -> tuple[str, list[Part]]:
    image = _image(row, f'src="{_BLANK}" data-src')
    block = f'<p>{escape(text)}</p>\n<div class="photo">{image}</div>'
    return block, [Part("text", text), Part("image", row.url)]


def _image(row: Row, attribute: str) -> str:
    return f'<img {attribute}="{escape(row.url)}" alt="{escape(row.caption)}" loading="lazy">'


def _filled(template: str, scene: Scene) -> str:
    text = template.format(a=_the(scene.first), b=_the(scene.second))
    return text[0].upper() + text[1:]


def _the(group: Group) -> str:
    words = group_words(group)
    return f"the {words.split(' ', 1)[1]}" if group.count == 1 else f"the {words}"


def _framed(title: str, article: str, number: int) -> str:
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)} | Toy Stories</title>
<style>nav li {{ display: inline }}</style><script>var shapes = ["circle", "square"];</script></head>
<body>
<header><img src="/120x40/logo.png" alt="Toy Stories logo" width="120" height="40">
<nav><ul><li><a href="/">Home</a></li><li><a href="/archive">Archive</a></li>
<li><a href="/about">About us</a></li></ul></nav>
</header>
<div class="advertisement"><a href="http://{ADS_HOST}/buy">
<img src="http://{ADS_HOST}/728x90/sale-{number % 50}.png" alt="Advertisement"></a>
<p>Buy one triangle, get one free!</p></div>
<main><article>
{article}
</article></main>
<aside class="related"><h2>More stories</h2><ul>
<li><a href="/story/{number + 1:06d}.html"><img src="http://{ADS_HOST}/80x80/next.png" alt="Next story">
Read the next story</a></li></ul></aside>
<footer><p>&copy; Toy Stories. All rights reserved.</p>
<img src="http://{ADS_HOST}/1x1/count.png" width="1" height="1" alt=""></footer>
</body></html>
"""
