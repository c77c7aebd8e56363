"""Bytes of a page to its blocks and image slots: decode, guard, parse once, score regions, walk once.

Measured on 65 real article pages (176 kB, 1,750 nodes each): see `bench/README.md`.
"""

from __future__ import annotations

from dataclasses import replace

from curate.document.charset import decode
from curate.document.elements import HEADINGS
from curate.document.extraction import Extraction, TextBlock
from curate.document.guard import PageRefusedError
from curate.document.parse import parse
from curate.document.regions import score_regions
from curate.document.resolve import absolute
from curate.document.settings import DocumentSettings
from curate.document.tree import TEXT, Tree
from curate.document.walk import walk
from curate.fetch.url import Target, join_url, parse_url

__all__ = ["extract"]

DEFAULT = DocumentSettings()
MOST_TITLE_CHARS = 1_000


def extract(
    body: bytes,
    url: str | None,
    content_type: str | None = None,
    settings: DocumentSettings = DEFAULT,
    text: str | None = None,
    explain: bool = False,
) -> Extraction:
    """What a page holds. `url` is where it was found, for relative links; `content_type` the whole HTTP header.

    With `explain`, nodes that were left out say where they stood. Where a source has plain `text` alone, its lines are
    the blocks. Nothing about a page raises: what is too large, too deep or empty is a status.
    """
    if text is not None:
        return _of_text(text)
    if len(body) > settings.max_page_bytes:
        detail = f"{len(body):,} bytes; [document] max_page_bytes is {settings.max_page_bytes:,}"
        return Extraction(status="too_large", detail=detail)
    html, charset, rule = decode(body, content_type)
    if not html.strip():
        return Extraction(status="empty", detail="no text at all", charset=charset, charset_rule=rule)
    try:
        is_as_parsed = charset == "utf-8" and rule != "bom"
        tree = parse(body if is_as_parsed else html, settings, blanks=False)
    except PageRefusedError as error:
        return Extraction(status=error.status, detail=error.detail, charset=charset, charset_rule=rule)
    place = _base(tree, url)
    if settings.mode == "obelics":
        from curate.document.obelics import extract_obelics

        found = extract_obelics(html, url, settings, explain)
    else:
        blocks, dropped = walk(tree, score_regions(tree), place, explain)
        found = Extraction(tuple(blocks), tuple(dropped))
    title, language, canonical = _head(tree)
    return replace(
        found,
        charset=charset,
        charset_rule=rule,
        title=title,
        language=language,
        canonical_url=absolute(canonical, place) if canonical else None,
    )


def _of_text(text: str) -> Extraction:
    lines = [" ".join(line.split()) for line in text.splitlines()]
    blocks = tuple(TextBlock(line, number) for number, line in enumerate(lines) if line)
    return Extraction(blocks, status="ok" if blocks else "empty", charset="utf-8", charset_rule="text")


def _base(tree: Tree, url: str | None) -> Target | None:
    """What relative URLs are relative to: the first `base href`, itself relative to the page."""
    try:
        page = parse_url(url) if url else None
    except ValueError:
        page = None
    for number, tag in enumerate(tree.tags):
        if tag == "base" and tree.attributes[number].get("href"):
            href = tree.attributes[number]["href"] or ""
            try:
                return join_url(page, href) if page else parse_url(href)
            except ValueError:
                return page
        if tag == "body":
            break
    return page


def _head(tree: Tree) -> tuple[str | None, str | None, str | None]:
    """Title (og:title, else `title`, else the first heading), language (`html lang`), and canonical URL."""
    title = og_title = heading = canonical = None
    for number, tag in enumerate(tree.tags):
        own = tree.attributes[number]
        if tag == "meta" and own.get("property") == "og:title":
            og_title = og_title or own.get("content")
        elif tag == "title" and title is None:
            title = _text(tree, number)
        elif tag == "link" and (own.get("rel") or "").lower() == "canonical":
            canonical = canonical or own.get("href")
        elif tag in HEADINGS:
            heading = _text(tree, number)
            break
    language = (tree.attributes[0].get("lang") or tree.attributes[0].get("xml:lang") if tree.tags else None) or None
    words = " ".join((og_title or title or heading or "").split())[:MOST_TITLE_CHARS]
    return words or None, language, canonical


def _text(tree: Tree, number: int) -> str:
    return "".join(tree.texts[n] for n in range(number, tree.ends[number]) if tree.tags[n] == TEXT)
