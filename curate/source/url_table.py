"""A list of image URLs, with or without alt texts: parquet, csv, tsv, json, jsonl or txt, each text also gzipped.

Files are read as a stream: a Parquet file by pieces of a row group, a text by rows. All files give one schema, that
of the first. A value is never the end of a job: an unreadable row, a null or empty URL is a row that will have the
status `invalid_url`; an extra value of another type than its column's becomes null.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import SourceError
from curate.fetch.pair_writer import FETCH_COLUMNS, LOG_COLUMNS, SAMPLE_COLUMNS
from curate.registry import nearest
from curate.source.columns import TYPES, cast_column, infer_type, plain_type, value_column
from curate.source.files import InputFile, input_files
from curate.source.source import no_service
from curate.source.text_rows import Record, read_records

__all__ = ["RESERVED", "UrlTable"]

FORMATS = ("parquet", "csv", "tsv", "json", "jsonl", "txt")
BATCH_ROWS = 10_000
BUFFER_BYTES = 1 << 20

RESERVED = frozenset(
    {"url", "caption", "md5", "sha512", "keep", "drop_reason", "drop_reasons"}
    | SAMPLE_COLUMNS.keys()
    | FETCH_COLUMNS.keys()
    | LOG_COLUMNS.keys()
)
"""Names that a later stage writes, so that no extra column may have them: img2dataset's, and ours beyond them."""


@dataclass(frozen=True)
class UrlTable:
    """The `[source]` table with `kind = "url_table"`.

    `path` is a file, a folder (its files of one format, sorted by name) or a glob, on any fsspec URL. `format` is told
    by the ending unless given. `columns` are carried along: a list, or "all". Columns of csv and tsv are text, and
    those of json are typed by their first 10,000 values; `types` says otherwise, column by column. Parquet keeps
    its own.
    """

    path: str
    format: Literal["auto", "parquet", "csv", "tsv", "json", "jsonl", "txt"] = "auto"
    url_column: str = "url"
    caption_column: str | None = None
    columns: tuple[str, ...] | Literal["all"] = ()
    types: Mapping[str, Literal["string", "int", "float", "bool"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = self.columns if self.columns != "all" else ()
        clash = sorted(RESERVED.intersection(named))
        if clash:
            raise ValueError(f"columns: {clash[0]!r} is written by a later stage; rename that column in the input")
        twice = [name for name in named if named.count(name) > 1]
        if twice:
            raise ValueError(f"columns: {twice[0]!r} is named twice")
        unknown = [name for name in self.types if self.columns != "all" and name not in named]
        if unknown:
            raise ValueError(f"types: {unknown[0]!r} is not among columns")
        if self.format == "txt" and (self.caption_column or self.columns):
            raise ValueError("a txt list has URLs alone; leave out caption_column and columns")

    def identity(self) -> Any:
        """The settings that change rows, and each file's name, size and modification mark."""
        settings = [self.format, self.url_column, self.caption_column, self.columns, dict(self.types)]
        return {"settings": settings, "files": [f.identity() for f in self._files()]}

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        """Batches per file: the extra columns, `caption` if there is one, `url`. Raises SourceError."""
        files = self._files()
        schema, names = self._schema(files)
        for file in files:
            yield self._batches(file, schema, names)

    def known_columns(self) -> tuple[str, ...] | None:
        """The columns that the settings name; None for "all", which only the files can tell."""
        if self.columns == "all":
            return None
        return (*self.columns, *(("caption",) if self.caption_column else ()), "url")

    def serve(self) -> AbstractContextManager[Mapping[str, str]]:
        """The URLs are out in the world: nothing to serve."""
        return no_service()

    def _files(self) -> list[InputFile]:
        return input_files(self.path, FORMATS if self.format == "auto" else (self.format,))

    def _schema(self, files: Sequence[InputFile]) -> tuple[pa.Schema, list[str]]:
        """The schema of all batches, and for each of its fields the name in the input."""
        for file in files:
            found = _parquet_schema(file) if file.format == "parquet" else self._text_schema(file)
            if found.names:
                return self._choose(file, found)
        raise SourceError(f"{self.path} has no rows; check [source] path")

    def _choose(self, file: InputFile, found: pa.Schema) -> tuple[pa.Schema, list[str]]:
        url = "url" if file.format == "txt" else self.url_column
        named = [n for n in (self.caption_column, url) if n is not None]
        every = [n for n in found.names if n not in named and not n.startswith("__index_level_")]
        extras = every if self.columns == "all" else list(self.columns)
        for name in [*extras, *named]:
            if name not in found.names:
                raise SourceError(f"{file.path} has no column {name!r}; {nearest(name, found.names)}")
            if found.names.count(name) > 1:
                raise SourceError(f"{file.path} has several columns {name!r}; rename all but one")
        clash = sorted(RESERVED.intersection(extras))
        if clash:
            raise SourceError(
                f"{file.path} has a column {clash[0]!r}, which a later stage writes; name the columns to carry along "
                'in [source] columns instead of "all"'
            )
        fields = [(n, plain_type(found.field(n).type)) for n in extras]
        fields += [(n, pa.string()) for n in ("caption", "url")[-len(named) :]]
        return pa.schema(fields), [*extras, *named]

    def _text_schema(self, file: InputFile) -> pa.Schema:
        with _records(file) as records:
            head = [r for r in islice(records, BATCH_ROWS) if r is not None]
        names = dict.fromkeys(name for record in head for name in record)
        typed = file.format in ("json", "jsonl")
        kinds = {n: infer_type([r.get(n) for r in head]) if typed else pa.string() for n in names}
        return pa.schema(kinds | {n: TYPES[t] for n, t in self.types.items() if n in names})

    def _batches(self, file: InputFile, schema: pa.Schema, names: list[str]) -> Iterator[pa.RecordBatch]:
        if file.format == "parquet":
            return _parquet_batches(file, schema, names)
        return _text_batches(file, schema, names)


def _parquet_schema(file: InputFile) -> pa.Schema:
    with _failing(file), file.open() as handle:
        return pq.read_schema(handle)


def _parquet_batches(file: InputFile, schema: pa.Schema, names: list[str]) -> Iterator[pa.RecordBatch]:
    with _failing(file), file.open() as handle:
        table = pq.ParquetFile(handle, buffer_size=BUFFER_BYTES, pre_buffer=False)
        missing = [n for n in names if n not in table.schema_arrow.names]
        if missing:
            raise SourceError(f"{file.path} has no column {missing[0]!r}, unlike the first file")
        for batch in table.iter_batches(BATCH_ROWS, columns=names):
            arrays = [cast_column(batch.column(n), f.type) for n, f in zip(names, schema, strict=True)]
            yield pa.record_batch(arrays, schema=schema)


def _text_batches(file: InputFile, schema: pa.Schema, names: list[str]) -> Iterator[pa.RecordBatch]:
    url, rows = names[-1], 0
    with _records(file) as records:
        while head := list(islice(records, BATCH_ROWS)):
            if rows == 0 and not any(r is not None and url in r for r in head):
                raise SourceError(f"{file.path} has no column {url!r}; check [source] url_column")
            arrays = [
                value_column([r.get(n) if r else None for r in head], f.type)
                for n, f in zip(names, schema, strict=True)
            ]
            yield pa.record_batch(arrays, schema=schema)
            rows += len(head)


@contextmanager
def _records(file: InputFile) -> Iterator[Iterator[Record | None]]:
    """A text file's rows; what goes wrong names the file and the rows read so far."""
    with _failing(file), file.open() as raw, closing(_unpacked(raw, file)) as handle:
        yield read_records(handle, file.format)


def _unpacked(raw: IO[bytes], file: InputFile) -> IO[bytes]:
    return gzip.GzipFile(fileobj=raw) if file.path.endswith(".gz") else raw  # type: ignore[return-value]


@contextmanager
def _failing(file: InputFile) -> Iterator[None]:
    """One line for whatever a file is not."""
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error, pa.ArrowException) as error:
        raise SourceError(f"{file.path} cannot be read as {file.format}: {error}") from error
