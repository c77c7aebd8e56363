"""Why a part of a page is in a document or not: every block with its region, every node that gave none.

Of a page, all is told by extracting it (`why_page`). Of a document of a data set, its tables tell what became of every
block up to the last decision, and count the nodes by reason (`why_document`); `curate show ARCHIVE@OFFSET --why` reads
its page again and names them.
"""

from __future__ import annotations

from typing import Any

from curate.document.extraction import Extraction, TextBlock
from curate.document.render import plain
from curate.sample import Document, Part, Picture

__all__ = ["why_document", "why_page"]

WORDS = 80
"""Letters of a text that are shown."""


def why_page(found: Extraction) -> dict[str, Any]:
    """What became of a page: its status, its blocks, and `not_in_output`, the nodes that gave no block."""
    blocks = [
        {
            "node": block.node,
            "block": block.block if isinstance(block, TextBlock) else "picture",
            "in_output": block.reason is None,
            "reason": block.reason,
            "region": block.region,
            "score": block.score,
            "words": _words(block.text if isinstance(block, TextBlock) else f"{block.url} {block.alt or ''}"),
        }
        for block in found.blocks
    ]
    dropped = [
        {"node": d.node, "reason": d.reason, "path": plain(d.path), "words": _words(d.text)} for d in found.dropped
    ]
    status = {"status": found.status, "detail": found.detail, "charset": found.charset, "told_by": found.charset_rule}
    return {**status, "blocks": blocks, "not_in_output": sorted(dropped, key=lambda row: row["node"])}


def why_document(document: Document) -> dict[str, Any]:
    """What became of a document of a data set: of itself, of all its parts, and of nodes that gave none.

    `document` has all its parts, also those not kept.
    """
    row = document.columns
    names = ("key", "url", "document_status", "document_detail", "keep", "drop_reason", "drop_reasons")
    places = ("source_file", "source_offset", "charset", "charset_rule")
    counts = dict(_pairs(row.get("nodes_dropped")))
    answer: dict[str, Any] = {name: row[name] for name in (*names, *places) if row.get(name) is not None}
    answer["blocks"] = [_part_row(part) for part in document.parts]
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    answer["not_in_output"] = [{"reason": reason, "nodes": nodes} for reason, nodes in ordered]
    return answer


def _part_row(part: Part) -> dict[str, Any]:
    own = part.columns
    words = f"{part.url} {own.get('alt') or ''}" if isinstance(part, Picture) else part.text
    reason = own.get("region_reason") or own.get("drop_reason") or own.get("fetch_status")
    kept = own.get("keep", own.get("region_reason") is None)
    return {
        "block": "picture" if isinstance(part, Picture) else part.block,
        "in_output": bool(kept),
        "reason": None if kept else reason,
        "region": own.get("region"),
        "score": own.get("region_score"),
        "words": _words(words),
    }


def _words(text: str) -> str:
    """The beginning of a text in one line."""
    line = " ".join(plain(text[: 4 * WORDS]).split())
    return line if len(line) <= WORDS else f"{line[: WORDS - 4]} ..."


def _pairs(value: Any) -> list[tuple[str, int]]:
    """A map as Arrow gives it."""
    return list(value.items()) if isinstance(value, dict) else list(value or ())
