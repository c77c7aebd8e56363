"""One document as a reader sees it, with what was kept and what was not side by side.

Its parts are read as columns; pictures come one by one, each by an address of its own, so a page of 300 pictures costs
their places and not their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from curate.browse.cards import page_address, picture_address
from curate.browse.catalog import Catalog
from curate.browse.find import Finder
from curate.browse.picture_shelf import PictureShelf
from curate.browse.sample_page import families, verdict_of
from curate.column_files import python_rows
from curate.document.columns import IMAGE
from curate.document.read import IMAGE_MEMBER
from curate.hidden_rows import Hidden

__all__ = ["PARTS", "Block", "document_context"]

PARTS = 200
"""Parts on a page of a document."""
LETTERS = 5_000
"""Of a part's text."""
READ = (
    *("key", "kind", "text", "block", "url", "alt", "caption", IMAGE_MEMBER, "fetch_status", "region", "region_reason"),
    *("keep", "drop_reason", "drop_reasons"),
)


@dataclass(frozen=True)
class Block:
    """A part as it is shown. `kind`: heading, text, item, code, quote, caption or picture."""

    key: str
    href: str
    kind: str
    text: str
    kept: bool
    reasons: tuple[str, ...]
    picture: str = ""
    no_picture: str = ""
    alt: str = ""
    url: str = ""


def document_context(
    finder: Finder, shelf: PictureShelf, place: tuple[str, str], start: int, all: bool
) -> dict[str, Any]:
    """What the template `document.html` shows of the document at `place` (shard, key): of all parts, or of the kept
    ones, PARTS from number `start` on; hidden ones are counted only. Raises ShardError for a document that is not
    there or is hidden."""
    shard, key = place
    row = finder.row("documents", shard, key)
    events = finder.history(shard, key, "documents")
    parts, unshown = _rows(finder.catalog, finder.hidden("parts"), shard, key)
    kept = [one for one in parts if _is_kept(one)]
    chosen = parts if all else kept
    return {
        "shard": shard,
        "key": key,
        "heading": str(row.get("title") or row.get("url") or key),
        "url": str(row.get("url") or ""),
        "blocks": _said_once([_block(one, shard, shelf) for one in chosen[start : start + PARTS]]),
        "start": start,
        "of": len(chosen),
        "parts": len(parts),
        "kept_parts": len(kept),
        "hidden": unshown,
        "all": all,
        "step": PARTS,
        "families": families("documents", finder.catalog.columns("documents"), row),
        "events": events,
        **verdict_of(row, events),
    }


def _rows(catalog: Catalog, hidden: Hidden, shard: str, key: str) -> tuple[list[dict[str, Any]], int]:
    """The parts of a document that may be shown, in order, and how many may not."""
    number = pc.index(catalog.files("documents").table(shard, ["key"])["key"], key)
    parts = catalog.files("parts")
    places = np.flatnonzero(
        np.asarray(pc.fill_null(pc.equal(parts.table(shard, ["document"])["document"], number), False))
    )
    shown = np.setdiff1d(places, sorted(hidden.rows(shard)))
    read = parts.table(shard, [name for name in READ if name in parts.fields])
    return python_rows(read.take(shown)), len(places) - len(shown)


def _is_kept(one: Mapping[str, Any]) -> bool:
    """By the decision; before one, what is content and no menu, footer or advertisement."""
    keep = one.get("keep")
    return one.get("region_reason") is None if keep is None else bool(keep)


def _block(one: Mapping[str, Any], shard: str, shelf: PictureShelf) -> Block:
    reasons = one.get("drop_reasons") or ([one["drop_reason"]] if one.get("drop_reason") else [])
    if not reasons and one.get("region_reason"):
        reasons = [one["region_reason"]]
    told: dict[str, Any] = {
        "key": one["key"],
        "href": page_address(shard, one["key"], "parts"),
        "kept": one.get("keep"),
    }
    told["reasons"] = tuple(map(str, reasons))
    if one["kind"] != IMAGE:
        text = str(one.get("text") or "")
        cut = text if len(text) <= LETTERS else f"{text[:LETTERS]}… ({len(text):,} letters)"
        return Block(kind=_kind(one.get("block") or "p"), text=cut, **told)
    flagged = shelf.why_not(shard, one["key"])
    there = bool(one.get(IMAGE_MEMBER)) and not flagged and shelf.has(shard, one["key"])
    status = one.get("fetch_status")
    missing = f"no picture: {status}" if status and status != "success" else "no picture: never asked for"
    return Block(
        kind="picture",
        text=str(one.get("caption") or "")[:LETTERS],
        picture=picture_address(shard, one["key"]) if there else "",
        no_picture="" if there else f"withheld: {flagged}" if flagged else missing,
        alt=str(one.get("alt") or ""),
        url=str(one.get("url") or ""),
        **told,
    )


def _said_once(blocks: list[Block]) -> list[Block]:
    """Without the captions of pictures that a block beside them says too."""
    beside = [
        {other.text.strip() for other in blocks[max(0, n - 2) : n + 3] if other.kind != "picture"}
        for n in range(len(blocks))
    ]
    return [
        replace(one, text="") if one.kind == "picture" and one.text.strip() in said else one
        for one, said in zip(blocks, beside, strict=True)
    ]


def _kind(block: str) -> str:
    if block in {f"h{level}" for level in range(1, 7)}:
        return "heading"
    return {"li": "item", "pre": "code", "tr": "code", "blockquote": "quote", "figcaption": "caption"}.get(
        block, "text"
    )
