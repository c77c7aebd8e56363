"""The stage that turns the pages of a slice into documents: a row per page, and a row per block and image slot.

Whatever happens to a page is its status; a page that makes the extractor itself fail is one row too, with the error.
A shard of 5,000 pages is some 100 MB of columns while it is made, so pages are turned into Arrow batches as they come.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar

import pyarrow as pa

from curate.document.columns import DOCUMENT_COLUMNS, IMAGE, PART_COLUMNS, TEXT, part_names
from curate.document.extraction import Block, Extraction, ImageSlot, TextBlock
from curate.document.settings import DocumentSettings
from curate.errors import ConfigError
from curate.manifest import Attempt
from curate.shard import Shard
from curate.source.raw_page import OK, PageSource, RawPage
from curate.stage import Runtime, Stage, settings_of

__all__ = ["Extract", "document_key"]

BATCH_PARTS = 20_000
EXTRACTION_FAILED = "extraction_failed"
EXTRA = ("selectolax", "resiliparse", "tldextract")
"""What pages need beyond the core: the extra `web`."""


def document_key(shard: str, row: int) -> str:
    """The shard's id, then the row in six digits: an archive does not say beforehand how many pages it has."""
    return f"{shard}{row:06d}"


@dataclass(frozen=True)
class Extract(Stage):
    """Reads pages through `source`, writes documents and their parts. `pages_column` is what it waits for: the slice,
    or the pages that were fetched for it."""

    name: ClassVar[str] = "extract"

    source: PageSource
    settings: DocumentSettings
    pages_column: str = "source"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.pages_column,)

    @property
    def writes(self) -> tuple[str, ...]:
        return (*DOCUMENT_COLUMNS, *part_names(PART_COLUMNS))

    def identity(self) -> Any:
        own = {"stage": self.label, "version": self.version, "settings": settings_of(self.settings)}
        return {**own, "pages": self.source.page_identity()}

    def require(self, runtime: Runtime) -> None:
        missing = [module for module in EXTRA if find_spec(module) is None]
        if missing:
            raise ConfigError(f"documents need {', '.join(missing)}; pip install 'curate-vl[web]'")

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        rows = shard.source()
        documents, parts = Documents(shard.id), Parts()
        for page in self.source.pages(rows, shard):
            found = _extracted(page, self.settings)
            key = documents.add(page, found)
            parts.add(key, len(documents.records) - 1, found.blocks)
        carried = documents.carried(rows)
        attempt.write_table(shard.table_name(), documents.table(carried))
        attempt.write_table(shard.parts.table_name(), parts.table())
        attempt.counts.update(documents.counts)


@dataclass
class Documents:
    """Rows of the table of pages, as they come."""

    shard: str
    records: list[dict[str, Any]] = field(default_factory=list)
    rows: list[int | None] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, page: RawPage, found: Extraction) -> str:
        """Take one page; returns its key."""
        key = document_key(self.shard, len(self.records))
        self.records.append(_record(key, page, found))
        self.rows.append(page.row)
        self.counts["in"] += 1
        self.counts["kept" if found.status == OK else f"dropped.{found.status}"] += 1
        self.counts["parts"] += len(found.blocks)
        return key

    def carried(self, rows: pa.Table) -> pa.Table:
        """The slice's other columns, row by row of this table; null where a page has no row of its own there."""
        names = [name for name in rows.column_names if name not in DOCUMENT_COLUMNS]
        return rows.select(names).take(pa.array(self.rows, pa.int64()))

    def table(self, carried: pa.Table) -> pa.Table:
        """All pages, the columns of the slice behind ours."""
        table = pa.Table.from_pylist(self.records, pa.schema(DOCUMENT_COLUMNS))
        for name in carried.column_names if any(row is not None for row in self.rows) else ():
            table = table.append_column(carried.schema.field(name), carried[name])
        return table


@dataclass
class Parts:
    """Rows of the table of parts, turned into Arrow whenever there are enough of them."""

    held: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in PART_COLUMNS})
    batches: list[pa.RecordBatch] = field(default_factory=list)

    def add(self, key: str, document: int, blocks: tuple[Block, ...]) -> None:
        """Take the blocks of one page, which is row `document`."""
        for number, block in enumerate(blocks):
            values = _text_values(block) if isinstance(block, TextBlock) else _image_values(block)
            values["key"], values["document"] = f"{key}.{number}", document
            for name, column in self.held.items():
                column.append(values.get(name))
        if len(self.held["key"]) >= BATCH_PARTS:
            self._flush()

    def table(self) -> pa.Table:
        """All parts."""
        self._flush()
        return pa.Table.from_batches(self.batches, pa.schema(PART_COLUMNS))

    def _flush(self) -> None:
        arrays = [pa.array(self.held[name], kind) for name, kind in PART_COLUMNS.items()]
        self.batches.append(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(PART_COLUMNS)))
        for column in self.held.values():
            column.clear()


def _extracted(page: RawPage, settings: DocumentSettings) -> Extraction:
    from curate.document.extract import extract

    if page.status != OK:
        return Extraction(status=page.status, detail=page.detail)
    try:
        return extract(page.body, page.url, page.content_type, settings, page.text)
    except Exception as error:  # noqa: BLE001 - a page is never the end of a shard, whatever it does to the extractor
        return Extraction(status=EXTRACTION_FAILED, detail=f"{type(error).__name__}: {error}"[:300])


def _record(key: str, page: RawPage, found: Extraction) -> dict[str, Any]:
    return {
        "key": key,
        "url": page.url,
        "document_status": found.status,
        "document_detail": found.detail or page.detail or None,
        "title": found.title,
        "html_language": found.language,
        "canonical_url": found.canonical_url,
        "charset": found.charset,
        "charset_rule": found.charset_rule,
        "content_type": page.content_type,
        "page_http_status": page.http_status,
        "crawl_date": page.date,
        "source_file": page.file,
        "source_offset": page.offset,
        "source_length": page.length,
        "html_bytes": len(page.body),
        "parts": len(found.blocks),
        "nodes_dropped": sorted(Counter(node.reason for node in found.dropped).items()),
    }


def _text_values(block: TextBlock) -> dict[str, Any]:
    return {
        "kind": TEXT,
        "text": block.text,
        "block": block.block,
        "separator": block.separator,
        "region": block.region,
        "region_reason": block.reason,
        "region_score": block.score,
    }


def _image_values(slot: ImageSlot) -> dict[str, Any]:
    return {
        "kind": IMAGE,
        "region": slot.region,
        "region_reason": slot.reason,
        "region_score": slot.score,
        "url": slot.url,
        "candidates": list(slot.candidates),
        "alt": slot.alt,
        "title": slot.title,
        "caption": slot.caption,
        "section": slot.section,
        "rendered_width_px": slot.rendered_width_px,
        "rendered_height_px": slot.rendered_height_px,
        "link_url": slot.link_url,
        "found_in": slot.found_in,
    }
