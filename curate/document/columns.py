"""The two tables of a shard of documents: one row per page, and one row per block of text or image slot.

    00000.parquet                 a row per page of the slice, failed ones too
    00000_parts.parquet           a row per block and slot, in reading order; `document` is the page's row above
    00000_parts.<family>.parquet  columns that a stage added to the parts, aligned with them

A part is a row like any other, so the same scorers and filters judge paragraphs, slots and whole documents. In what a
step reads and writes, columns of parts are named with the prefix `part.`.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

__all__ = ["DOCUMENT_COLUMNS", "IMAGE", "PART", "PART_COLUMNS", "TEXT", "part_names"]

PART = "part."
TEXT = "text"
IMAGE = "image"

DOCUMENT_COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),
    "url": pa.string(),
    "document_status": pa.string(),
    "document_detail": pa.string(),
    "title": pa.string(),
    "html_language": pa.string(),
    "canonical_url": pa.string(),
    "charset": pa.string(),
    "charset_rule": pa.string(),
    "content_type": pa.string(),
    "page_http_status": pa.int16(),
    "crawl_date": pa.string(),
    "source_file": pa.string(),
    "source_offset": pa.int64(),
    "source_length": pa.int64(),
    "html_bytes": pa.int64(),
    "parts": pa.int32(),
    "nodes_dropped": pa.map_(pa.string(), pa.int32()),
}
"""`key`: shard, then row in six digits. `document_status`: "ok" or why there is no document. `nodes_dropped`: nodes
that gave no part, by reason."""

PART_COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),
    "document": pa.int32(),
    "kind": pa.string(),
    "text": pa.string(),
    "block": pa.string(),
    "separator": pa.string(),
    "region": pa.string(),
    "region_reason": pa.string(),
    "region_score": pa.float32(),
    "url": pa.string(),
    "candidates": pa.list_(pa.string()),
    "alt": pa.string(),
    "title": pa.string(),
    "caption": pa.string(),
    "section": pa.string(),
    "rendered_width_px": pa.int32(),
    "rendered_height_px": pa.int32(),
    "link_url": pa.string(),
    "found_in": pa.string(),
}
"""`key`: the document's, a dot, the part's number in it. `kind`: "text" or "image"; the columns of the other kind are
null. `region_reason`: null where extraction counts the part as content."""


def part_names(columns: Iterable[str]) -> tuple[str, ...]:
    """Columns of parts as a step names them: `text -> part.text`."""
    return tuple(PART + column for column in columns)
