"""The tables of columns in docs/formats.md: names and types from the code, their words from here.

Each table is a place `<!-- made: columns NAME -->`. A column that the code has and this file does not is a KeyError
that names it; so a new column cannot be forgotten, and one that is gone takes its words with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import pyarrow as pa

from curate.document.columns import DOCUMENT_COLUMNS, PART_COLUMNS
from curate.errors import CurateError
from curate.fetch.arrivals import FETCH_COLUMNS, LOG_COLUMNS, PICTURE_COLUMNS
from curate.fetch.pages import FETCHED_COLUMNS
from curate.fetch.pair_writer import SAMPLE_COLUMNS
from curate.filter import Scorer
from curate.handover.compose_stage import HANDOVER_COLUMNS
from curate.manifest import MANIFEST_SCHEMA
from curate.registry import filter_class, filter_names
from curate.select import DECISION
from curate.tombstones import REMOVED
from docs.generate.filter_page import example
from docs.generate.markdown import code, table

__all__ = ["TABLES", "columns", "scorers"]

Columns: TypeAlias = Mapping[str, pa.DataType] | pa.Schema

SAMPLE_WORDS = {
    "key": "the shard's id and the row in it: `000010005` is row 5 of shard `00001`",
    "status": "`success`, `failed_to_download` or `failed_to_resize`",
    "error_message": "`fetch_status: fetch_detail`; null where it came",
    "width": "of the stored picture, px",
    "height": "of the stored picture, px",
    "original_width": "of the picture as it came, upright, px",
    "original_height": "of the picture as it came, upright, px",
    "exif": "its EXIF tags, as JSON",
    "sha256": "of the file as it came, hex",
}
FETCH_WORDS = {
    "fetch_status": "a code: `success`, or a reason of [`fetch_status`](filters.md#fetch_status)",
    "fetch_detail": "the same in words; null where it came",
    "http_status": "of the last answer; null where there was none",
    "final_url": "where the last redirect led",
    "content_type": "as the server says",
    "original_bytes": "of the file as it came",
    "image_format": "`JPEG`, `PNG`, `WEBP`, ...: by its bytes, not its name",
    "frames": "how many it has; the first is stored",
    "animated": "more than one frame",
    "orientation": "EXIF's, 1 to 8; it is applied to the stored picture",
    "opt_out": "the rule that reserved it, such as `x-robots-tag: noai` or `tdm-reservation: 1`; null for none",
    "robots": "what robots.txt said: `allowed`, `disallowed`, `no_robots`, ...",
    "redirects": "how many were followed",
}
LOG_WORDS = {
    "attempts": "how often it was asked for",
    "started": "seconds since 1970, of the first time",
    "seconds": "until the last byte",
}
DECISION_WORDS = {
    "keep": "whether the row stays",
    "drop_reason": "that of the first filter in the config's order that drops it; null where it stays",
    "drop_reasons": "one per filter that would drop it, in that order; empty where it stays",
}
MANIFEST_WORDS = {
    "stage": "the step's label, as `curate plan` shows it",
    "shard": "its id; of a step over all shards `all`, or the part's (`p00003`)",
    "fingerprint": "16 hex digits of settings, version, models and what was read",
    "counts": "rows `in` and `kept`; `dropped.REASON` by first reason, `flagged.REASON` by all; a step's own counts",
    "files": "what it wrote, without the files that hold times",
}
DOCUMENT_WORDS = {
    "key": "the shard's id and the row in six digits",
    "url": "of the page",
    "document_status": "`ok`, or one of some sixty causes",
    "document_detail": "the same in words",
    "title": "of the page",
    "html_language": "`lang` of the page",
    "canonical_url": "as the page says",
    "charset": "by which bytes became text",
    "charset_rule": "what decided: `bom`, `http`, `meta`, ...",
    "content_type": "as the server or the archive says",
    "page_http_status": "of the page",
    "crawl_date": "as the archive says",
    "source_file": "the archive that it was read from",
    "source_offset": "bytes, of its record there",
    "source_length": "bytes",
    "html_bytes": "of the page, without codings",
    "parts": "rows that it has in the table of parts",
    "nodes_dropped": "nodes of the page that gave no part, by reason",
}
PART_WORDS = {
    "key": "the document's, a dot, and its number there",
    "document": "row of the page in the sample table",
    "kind": "`text` or `image`; the columns of the other kind are null",
    "text": "of a block",
    "block": "the element it came from: `p`, `h1`, `li`, ...",
    "separator": "what stands before it: an empty line, a new line, a space",
    "region": "`main`, `navigation`, `footer`, ...",
    "region_reason": "why it is not content; null where it is",
    "region_score": "how sure that is; higher is content",
    "url": "of a picture",
    "candidates": "further addresses of it (`srcset`)",
    "alt": "its alternative text",
    "title": "its title",
    "caption": "its legend (`figcaption`)",
    "section": "the heading that it stands under",
    "rendered_width_px": "as the page shows it, CSS px",
    "rendered_height_px": "as the page shows it, CSS px",
    "link_url": "where a click on it leads",
    "found_in": "the attribute that gave the address",
}
PAGE_WORDS = {
    "page_url": "what was asked for",
    "page_status": "`ok`, or the cause",
    "page_detail": "the same in words",
    "page_http_status": "of the last answer",
    "page_final_url": "where the last redirect led",
    "page_content_type": "as the server says",
    "page_opt_out": "the rule that reserved it; null for none",
    "page_robots": "what robots.txt said",
    "page_redirects": "how many were followed",
    "page_offset": "bytes, of its record in `00000.warc.gz`; null where there is none",
    "page_length": "bytes of the record, compressed",
}
HANDOVER_WORDS = {
    "key": "the shard's id and the row, unique in the folder",
    "source_key": "the key in the data set, or file and row of an annotation",
    "source": "its name in the config",
    "kind": "`pairs`, `interleaved`, `chat` or `text`",
    "images": "pictures that are there",
    "widths": "of the pictures, px",
    "heights": "of the pictures, px",
    "chars": "of all its text",
}
TOMBSTONE_WORDS = {
    "key": "of the sample",
    "kind": "what listed it: `url`, `host`, `key`, `uid`, `sha256`, `pdq`, ...; never the entry itself",
    "list": "only in `00000.removed.parquet`: digest of the lists by which it was taken out",
}
TABLES: Mapping[str, tuple[Callable[[], Columns], Mapping[str, str]]] = {
    "samples": (lambda: SAMPLE_COLUMNS, SAMPLE_WORDS),
    "fetch": (lambda: FETCH_COLUMNS, FETCH_WORDS),
    "times": (lambda: LOG_COLUMNS, LOG_WORDS),
    "decision": (lambda: DECISION, DECISION_WORDS),
    "manifest": (lambda: MANIFEST_SCHEMA, MANIFEST_WORDS),
    "documents": (lambda: DOCUMENT_COLUMNS, DOCUMENT_WORDS),
    "parts": (lambda: PART_COLUMNS, PART_WORDS),
    "pages": (lambda: FETCHED_COLUMNS, PAGE_WORDS),
    "handover": (lambda: HANDOVER_COLUMNS, HANDOVER_WORDS),
    "tombstones": (lambda: REMOVED, TOMBSTONE_WORDS),
    "slots": (lambda: PICTURE_COLUMNS, SAMPLE_WORDS),
}
"""By name: what the code has, and the words for each."""


def columns(name: str) -> str:
    """A table of columns: name, type, what it is."""
    made, told = TABLES[name]
    schema = pa.schema(made())
    return table(["column", "type", "what it is"], [[code(f.name), plain(f.type), told[f.name]] for f in schema])


def scorers() -> str:
    """The column families that filters bring with them: what each file has in it."""
    found: dict[str, list[str]] = {}
    for name in filter_names():
        scorer = _scorer(name)
        if scorer is not None:
            written = [f"`{column}` {plain(kind)}" for column, kind in scorer.writes.items()]
            found.setdefault(scorer.name, [_reads(scorer), "; ".join(written), ""])[2] += f" `{name}`"
    rows = [[code(name), *told] for name, told in sorted(found.items())]
    return table(["family", "reads", "columns", "filters"], rows)


def _scorer(name: str) -> Scorer | None:
    """The scorer that a filter brings; none where it wants a package or a model that is not part of the project."""
    try:
        return example(filter_class(name)).scorer()
    except CurateError:
        return None


def _reads(scorer: Scorer) -> str:
    """What a scorer reads; some know it by a file that only a config names."""
    try:
        return ", ".join(map(code, scorer.reads))
    except CurateError:
        return "by its file"


def plain(kind: pa.DataType) -> str:
    """An Arrow type in few letters."""
    if pa.types.is_list(kind):
        return f"list of {plain(kind.value_type)}"
    if pa.types.is_map(kind):
        return f"map of {plain(kind.key_type)} to {plain(kind.item_type)}"
    if pa.types.is_struct(kind):
        return f"({', '.join(f'{f.name} {plain(f.type)}' for f in kind)})"
    if pa.types.is_dictionary(kind):
        return f"{plain(kind.value_type)} (dictionary)"
    return {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(kind), str(kind))
