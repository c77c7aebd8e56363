"""What the walk has to know of HTML's elements."""

from __future__ import annotations

from functools import lru_cache

from curate.document.resolve import Attributes
from curate.document.tree import Tree

__all__ = [
    "BLOCK",
    "DROPPED",
    "HEADINGS",
    "IMAGES",
    "LINES",
    "VERBATIM",
    "block_name",
    "is_emoji",
    "path_of",
    "sample_of",
    "sources_of",
    "table_rows",
]

MOST_PATH_CHARS = 200
SAMPLE_CHARS = 80
MOST_SOURCES = 50
"""Nodes of a `picture` that are looked at."""

DROPPED = {
    "script": "script", "style": "style", "template": "template", "head": "head", "svg": "vector_image",
    "annotation": "formula_source", "annotation-xml": "formula_source",
    "canvas": "no_text", "iframe": "embedded_page", "object": "embedded_object",
    "embed": "embedded_object", "audio": "audio", "video": "video", "select": "form_control",
    "textarea": "form_control", "input": "form_control", "button": "form_control", "datalist": "form_control",
    "progress": "form_control", "meter": "form_control", "noframes": "no_text", "noembed": "no_text",
    "map": "image_map", "link": "no_text", "meta": "no_text", "title": "no_text", "frameset": "frames",
}  # fmt: skip
"""Elements whose subtree gives nothing, and why."""

BLOCK = frozenset(
    {
        "html", "body", "p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "h1", "h2", "h3",
        "h4", "h5", "h6", "hgroup", "ul", "ol", "li", "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tfoot",
        "tr", "td", "th", "figure", "figcaption", "blockquote", "pre", "address", "form", "fieldset", "legend",
        "details", "summary", "center", "hr", "menu", "dir", "xmp", "listing", "marquee", "search", "dialog",
    }
)  # fmt: skip
"""Elements that begin and end a block of text."""
LINES = frozenset({"li", "dt", "dd", "tr"})
"""Blocks that stand on the line after another of them, and not apart."""
HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
VERBATIM = frozenset({"pre", "xmp", "listing"})
IMAGES = frozenset({"img", "image", "amp-img", "amp-anim"})

_NAMED = LINES | HEADINGS | {"p", "pre", "figcaption", "blockquote", "caption", "summary"}
_LAYOUT = HEADINGS | {"p", "div", "ul", "ol", "table", "img", "blockquote", "figure", "pre", "hr", "dl", "br"}
_CAPTION_WORDS = ("caption-text", "image-caption", "photo-caption", "img-caption", "imagecaption", "gallery-caption")
_EMOJI_WORDS = ("emoji", "wp-smiley", "smiley", "emoticon")


def block_name(tag: str, element: Attributes, around: str) -> str:
    """What a block of text in an element is called, where one in the element around it is called `around`."""
    if tag in _NAMED:
        return "figcaption" if tag == "p" and element and _is_caption(element) else tag
    if tag in ("td", "th"):
        return "p"
    return "figcaption" if element and _is_caption(element) else around


def table_rows(tree: Tree) -> frozenset[int]:
    """Rows that are lines of a table: no cell of theirs holds a block, a picture or another table.

    Rows of other tables, which lay out a page, are passed through.
    """
    tags, parents = tree.tags, tree.parents
    rows = [number for number, tag in enumerate(tags) if tag == "tr"]
    if not rows:
        return frozenset()
    laid_out = [tag in _LAYOUT for tag in tags]
    for number in range(len(tags) - 1, 0, -1):
        if laid_out[number]:
            laid_out[parents[number]] = True
    return frozenset(row for row in rows if not laid_out[row])


def sources_of(tree: Tree, image: int) -> list[Attributes]:
    """The `source` elements before an image in its `picture`."""
    picture = tree.parents[image]
    if picture < 0 or tree.tags[picture] != "picture":
        return []
    found: list[Attributes] = []
    for number in range(image - 1, max(picture, image - MOST_SOURCES), -1):
        if tree.tags[number] == "source":
            found.append(tree.attributes[number])
        elif tree.tags[number] in IMAGES:
            break
    return found[::-1]


def is_emoji(image: Attributes) -> bool:
    """Whether an image stands for a sign within a sentence; its alt text is that sign."""
    if not image.get("alt"):
        return False
    classes = (image.get("class") or "").lower()
    url = image.get("src") or ""
    return any(word in classes for word in _EMOJI_WORDS) or "/emoji/" in url or "/twemoji" in url


def path_of(tree: Tree, number: int) -> str:
    """Where a node is: `html/body/div.footer/img`, shortened at its beginning."""
    steps: list[str] = []
    length = 0
    while number >= 0 and length < MOST_PATH_CHARS:
        classes = (tree.attributes[number].get("class") or "")[:MOST_PATH_CHARS].split()
        step = tree.tags[number] + (f".{classes[0]}" if classes else "")
        steps.append(step)
        length += len(step) + 1
        number = tree.parents[number]
    return "/".join(reversed(steps))[-MOST_PATH_CHARS:]


def sample_of(tree: Tree, number: int) -> str:
    """The first words of a node's text."""
    found, length = [], 0
    for inner in range(number, min(tree.ends[number], number + 200)):
        text = " ".join(tree.texts[inner][:400].split())
        if text:
            found.append(text)
            length += len(text) + 1
        if length >= SAMPLE_CHARS:
            break
    return " ".join(found)[:SAMPLE_CHARS]


def _is_caption(element: Attributes) -> bool:
    classes = element.get("class")
    return bool(classes) and _names_caption(classes or "")


@lru_cache(maxsize=4096)
def _names_caption(classes: str) -> bool:
    low = classes.lower()
    return any(word in low for word in _CAPTION_WORDS)
