"""A list of captions without pictures: what a text-to-image model is to paint.

The formats and the ways of reading are those of `url_table`: parquet, csv, tsv, json, jsonl or txt, as a stream. Of a
data set of ours name its sample tables (`path = "data/set/?????.parquet"`) and `key_column = "key"`, so that every
picture says which sample its words came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa

from curate.source.source import no_service
from curate.source.url_table import UrlTable

__all__ = ["Captions"]


@dataclass(frozen=True)
class Captions:
    """The `[source]` table with `kind = "captions"`.

    `path` is a file, a folder (its files of one format) or a glob, on any fsspec URL; `format` is told by the ending
    unless given. `caption_column` has the words (of txt the lines are); `key_column` becomes `source_key`, null without
    one. `columns` are carried along.
    """

    path: str
    format: Literal["auto", "parquet", "csv", "tsv", "json", "jsonl", "txt"] = "auto"
    caption_column: str = "caption"
    key_column: str = ""
    columns: tuple[str, ...] = ()

    made: ClassVar[tuple[str, ...]] = (
        "source_key",
        "image_origin",
        "image_model",
        "image_seed",
        "image_prompt",
        "image_revised_prompt",
    )

    def __post_init__(self) -> None:
        clash = [name for name in self.columns if name in self.made]
        if clash:
            raise ValueError(f"columns: {clash[0]!r} is written by a later stage; rename that column in the input")
        self._table  # noqa: B018 - refuses what it would refuse later

    def identity(self) -> Any:
        """As that of `url_table`."""
        return self._table.identity()

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        """Batches per file: the extra columns, `source_key`, `caption`, `url` (null). Raises SourceError."""
        for batches in self._table.parts():
            yield (self._renamed(batch) for batch in batches)

    def known_columns(self) -> tuple[str, ...]:
        """The columns that the settings name."""
        return (*self.columns, "source_key", "caption", "url")

    def serve(self) -> AbstractContextManager[Mapping[str, str]]:
        """Nothing is fetched from a service of our own."""
        return no_service()

    @property
    def _table(self) -> UrlTable:
        """The same files as a table whose URL is the key or, without one, the caption."""
        if not self.key_column:
            return UrlTable(self.path, self.format, self.caption_column, None, self.columns)
        return UrlTable(self.path, self.format, self.key_column, self.caption_column, self.columns)

    def _renamed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        nothing = pa.nulls(len(batch), pa.string())
        extras = {name: batch.column(name) for name in self.columns}
        key = batch.column("url") if self.key_column else nothing
        caption = batch.column("caption" if self.key_column else "url")
        return pa.record_batch({**extras, "source_key": key, "caption": caption, "url": nothing})
