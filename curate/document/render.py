"""A document as a reader sees it: on a terminal, or as one HTML page with its pictures inside.

A page of the web is shown here, so nothing of it is trusted. Its text is escaped, control characters are taken out
(they would move the cursor or turn the writing direction), and the HTML page forbids scripts, frames, forms and every
request: pictures are data: URIs of the stored bytes, the one style sheet is named by its digest.
"""

from __future__ import annotations

import base64
import hashlib
import re
import textwrap
from collections.abc import Iterator
from html import escape
from itertools import groupby

from curate.document.styles import STYLE
from curate.sample import Document, Part, Picture, Text

__all__ = ["as_html", "as_text", "plain"]

WIDTH = 88
"""Columns of text on a terminal."""

HEADINGS = {f"h{level}": level for level in range(1, 7)}
CAPTIONS = ("figcaption", "caption", "legend")
TAGS = (*HEADINGS, "pre", "blockquote")
"""Blocks that are elements of the same name in HTML; the others are paragraphs."""
LINES = ("pre", "code", "tr")
"""Blocks whose line ends and blanks mean something."""

MEDIA = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "gif": "gif", "avif": "avif", "bmp": "bmp"}
"""Extension to media type, for what browsers show."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Text without control characters and marks that turn the writing direction; line ends and tabs stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def as_text(document: Document, width: int = WIDTH) -> str:
    """The document for a terminal of `width` columns; one line end at its end."""
    title = document.columns.get("title")
    head = [plain(str(title)), "=" * min(width, len(str(title)))] if title and not _has_heading(document) else []
    facts = [fact for fact in (document.columns.get("url"), _left_out(document)) if fact]
    lines = [*head, *(plain(str(fact)) for fact in facts)]
    captions = _captions(document)
    for place, part in enumerate(document.parts):
        if lines and not (place and _follows_closely(document.parts[place - 1], part)):
            lines.append("")
        lines.extend(_picture_lines(part, captions[place]) if isinstance(part, Picture) else _text_lines(part, width))
    return "\n".join(lines) + "\n"


def _follows_closely(before: Part, part: Part) -> bool:
    """Whether no empty line stands between the two: items of one list, rows of one table."""
    if isinstance(before, Picture) or isinstance(part, Picture):
        return False
    return before.block == part.block and "\n\n" not in part.separator


def _text_lines(part: Text, width: int) -> list[str]:
    text = plain(part.text)
    if part.block in LINES:
        return [f"    {line}" for line in text.splitlines()]
    if part.block in HEADINGS:
        return [text, "=-~~~~"[HEADINGS[part.block] - 1] * min(width, max(map(len, text.splitlines()), default=0))]
    first, later = {"li": ("- ", "  "), "blockquote": ("> ", "> ")}.get(part.block, ("", ""))
    wrapped: list[str] = []
    for line in text.splitlines():
        start = later if wrapped else first
        wrapped += textwrap.wrap(
            line, width, initial_indent=start, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
        )
    return wrapped


def _picture_lines(part: Picture, caption: str) -> list[str]:
    """`[picture 640x480 "alt" | status]`, its URL, and its caption."""
    alt = part.columns.get("alt")
    words = ["picture", _size(part), f'"{alt}"' if alt else ""]
    lines = [f"[{' '.join(filter(None, words))} | {_status(part)}]", f" {part.url}"]
    return [plain(line) for line in (*lines, *([f" {caption}"] if caption else []))]


def as_html(document: Document) -> str:
    """The document as one HTML page that needs nothing else."""
    columns = document.columns
    title = str(columns.get("title") or columns.get("url") or document.key)
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    language = columns.get("html_language")
    body = [f"<h1>{_escaped(title)}</h1>"] if not _has_heading(document) else []
    facts = [fact for fact in (columns.get("url"), document.key, columns.get("crawl_date")) if fact]
    left_out = _left_out(document)
    head = (
        '<!doctype html>\n<html lang="',
        f'{_escaped(str(language or "und"))}">\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" ',
        f'content="no-referrer">\n<title>{_escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n',
    )
    body.append(f'<p class="facts">{" · ".join(_escaped(str(fact)) for fact in facts)}</p>')
    if left_out:
        body.append(f'<p class="left-out">{_escaped(left_out)}</p>')
    return "".join(head) + "\n".join([*body, *_elements(document)]) + "\n</main>\n</body>\n</html>\n"


def _elements(document: Document) -> Iterator[str]:
    """The parts in order; neighbouring items are one list, neighbouring rows one table."""
    captions = iter(_captions(document))
    for kind, group in groupby(document.parts, key=lambda p: p.block if isinstance(p, Text) else "picture"):
        parts = [(part, next(captions)) for part in group]
        if kind in ("li", "tr"):
            tag, inner, kinds = ("ul", "li", "") if kind == "li" else ("div", "p", ' class="rows"')
            items = "\n".join(
                f"<{inner}>{_escaped(part.text)}</{inner}>" for part, _ in parts if isinstance(part, Text)
            )
            yield f"<{tag}{kinds}>\n{items}\n</{tag}>"
            continue
        for part, caption in parts:
            yield _figure(part, caption) if isinstance(part, Picture) else _block(part)


def _block(part: Text) -> str:
    tag = part.block if part.block in TAGS else "p"
    mark = ' class="caption"' if part.block in CAPTIONS else ""
    return f"<{tag}{mark}>{_escaped(part.text)}</{tag}>"


def _figure(part: Picture, caption: str) -> str:
    """The picture, or a frame that says why there is none."""
    alt, url = _escaped(str(part.columns.get("alt") or "")), _escaped(part.url)
    media = MEDIA.get(part.extension)
    if part.image is not None and media:
        data = base64.b64encode(part.image).decode()
        mark, inside = "", f'<img src="data:image/{media};base64,{data}" alt="{alt}" title="{url}">'
    else:
        told = " · ".join(filter(None, (_escaped(_status(part)), _escaped(_size(part)), alt)))
        mark, inside = ' class="missing"', f"<p>{told}<br><span>{url}</span></p>"
    under = f"<figcaption>{_escaped(caption)}</figcaption>\n" if caption else ""
    return f"<figure{mark}>\n{inside}\n{under}</figure>"


def _escaped(text: str) -> str:
    return escape(plain(text), quote=True)


def _has_heading(document: Document) -> bool:
    return any(isinstance(part, Text) and part.block == "h1" for part in document.parts)


def _left_out(document: Document) -> str:
    columns = document.columns
    status = columns.get("document_status")
    if status not in (None, "ok"):
        return f"no document: {status} {columns.get('document_detail') or ''}".strip()
    return f"left out of the data set: {columns.get('drop_reason')}" if columns.get("keep") is False else ""


def _status(part: Picture) -> str:
    if part.image is not None:
        return "here" if MEDIA.get(part.extension) else f"here, but no browser shows .{part.extension}"
    return part.status or "not fetched"


def _size(part: Picture) -> str:
    """Of the stored picture, or as the page says it; empty where neither is known."""
    for width, height in (("width", "height"), ("rendered_width_px", "rendered_height_px")):
        if part.columns.get(width) and part.columns.get(height):
            return f"{part.columns[width]}x{part.columns[height]}"
    return ""


def _captions(document: Document) -> list[str]:
    """Per part the caption to show under it: empty for a text, and where a block of text beside it says the same."""
    found = []
    for place, part in enumerate(document.parts):
        caption = str(part.columns.get("caption") or "") if isinstance(part, Picture) else ""
        beside = document.parts[max(0, place - 2) : place + 3] if caption else ()
        said = {other.text.strip() for other in beside if isinstance(other, Text)}
        found.append("" if caption.strip() in said else caption)
    return found
