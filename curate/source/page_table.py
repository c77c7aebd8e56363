"""A table of page URLs as a source of documents: the files and formats of `url_table`, pages instead of pictures.

The pages are not in the table, so they are fetched first (`fetches_pages`), and kept as an archive of the shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import pyarrow as pa

from curate.document.columns import DOCUMENT_COLUMNS
from curate.fetch.pages import FETCHED_COLUMNS, read_fetched_pages
from curate.shard import Shard
from curate.source.raw_page import RawPage
from curate.source.source import no_service
from curate.source.url_table import UrlTable

__all__ = ["PageTable"]


@dataclass(frozen=True)
class PageTable:
    """The `[source]` table with `kind = "page_table"`; its settings are those of `url_table`, without captions."""

    fetches_pages: ClassVar[bool] = True

    path: str
    format: Literal["auto", "parquet", "csv", "tsv", "json", "jsonl", "txt"] = "auto"
    url_column: str = "url"
    columns: tuple[str, ...] | Literal["all"] = ()
    types: Mapping[str, Literal["string", "int", "float", "bool"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = self.columns if self.columns != "all" else ()
        clash = sorted((DOCUMENT_COLUMNS.keys() | FETCHED_COLUMNS.keys()) & set(named))
        if clash:
            raise ValueError(f"columns: {clash[0]!r} is written by a later stage; rename that column in the input")
        _ = self._table

    @cached_property
    def _table(self) -> UrlTable:
        return UrlTable(self.path, self.format, self.url_column, None, self.columns, self.types)

    def identity(self) -> Any:
        """That of the table of URLs."""
        return self._table.identity()

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        """Batches per file: the extra columns, `url`. Raises SourceError."""
        return self._table.parts()

    def known_columns(self) -> tuple[str, ...] | None:
        """The columns that the settings name; None for "all", which only the files can tell."""
        return self._table.known_columns()

    def serve(self) -> AbstractContextManager[Mapping[str, str]]:
        """The pages are out in the world: nothing to serve."""
        return no_service()

    def pages(self, rows: pa.Table, shard: Shard) -> Iterator[RawPage]:
        """One per row, as the shard's archive has them."""
        return read_fetched_pages(rows, shard)

    def page_identity(self) -> None:
        """What was fetched says it all."""
