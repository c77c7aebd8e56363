"""What extraction makes of a page: its blocks of text and image slots in reading order, and the reason for all else.

Blocks that belong to navigation, comments or a cookie notice are here as well, with their region and a reason: a
filter leaves them out, and another choice needs no second reading of the archive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["MAIN", "REGIONS", "Block", "Dropped", "Extraction", "ImageSlot", "TextBlock"]

MAIN = "main"
"""The region of what belongs to the document."""

REGIONS = {
    "navigation": "navigation: menus, breadcrumbs, page numbers",
    "header": "the page's header",
    "footer": "the page's footer",
    "aside": "a sidebar",
    "comments": "readers' comments",
    "related": "links to other pages",
    "advertisement": "an advertisement",
    "cookie_notice": "a notice about cookies",
    "form": "a form",
    "share": "buttons to share the page",
    "hidden": "what the page does not show",
    "boilerplate": "boilerplate of another kind",
    "duplicate": "a picture that the page shows elsewhere too",
}
"""The other regions, with the words of a report. `filters/region.py` gives them as reasons."""


@dataclass(frozen=True)
class TextBlock:
    """One block of text. `node` is its element in the tree; `region` is "main" or what the part of the page is
    (navigation, header, footer, aside, comments, related, advertisement, cookie_notice, form, ...); `reason` is None
    or says why it is not part of the document; `score` of its region: 0 (boilerplate) to 1 (content).
    `block` and `separator` are as in `curate.sample.Text`.
    """

    text: str
    node: int
    block: str = "p"
    separator: str = "\n\n"
    region: str = MAIN
    reason: str | None = None
    score: float = 1.0


@dataclass(frozen=True)
class ImageSlot:
    """One picture's place. `url` is absolute, http or https, percent-encoded; `candidates` are all that were found,
    best first. `alt`, `title`, `caption` (figcaption or a legend) and `section` (the last heading above) are text or
    None. Rendered sizes are CSS pixels where the page says them. `link_url`: where a click leads. `found_in`: src,
    srcset, picture, noscript, data-src, ... `region`, `reason` and `score` are as in TextBlock.
    """

    url: str
    node: int
    candidates: tuple[str, ...] = ()
    alt: str | None = None
    title: str | None = None
    caption: str | None = None
    section: str | None = None
    rendered_width_px: int | None = None
    rendered_height_px: int | None = None
    link_url: str | None = None
    found_in: str = "src"
    region: str = MAIN
    reason: str | None = None
    score: float = 1.0


Block: TypeAlias = TextBlock | ImageSlot


@dataclass(frozen=True)
class Dropped:
    """A node that gave no block at all: a script, something hidden, a data: image, an empty element's subtree.

    `path` is like `html/body/div.footer/img`, at most 200 characters; `text` the first 80 characters of its text.
    """

    node: int
    path: str
    reason: str
    text: str = ""


@dataclass(frozen=True)
class Extraction:
    """A page after extraction. `status` is "ok", or why there is nothing: `too_large`, `too_deep`, `too_many_nodes`,
    `empty`, `not_html`, with `detail` in words. `charset_rule`: bom, http, meta, utf8, detector or default.
    """

    blocks: tuple[Block, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    status: str = "ok"
    detail: str = ""
    charset: str | None = None
    charset_rule: str | None = None
    title: str | None = None
    language: str | None = None
    canonical_url: str | None = None
