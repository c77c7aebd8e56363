"""Parquet as `datasets` reads it: rows in bounded groups, pictures as bytes, and a card that names the sources.

    data/SOURCE/00000.parquet   with the features in the schema, so that structs of bytes are pictures at once
    README.md                   a configuration for each source, and "default" with all

A row group is written at 1,000 rows or 64 MB, so that is what writing holds; a reader that streams holds as much.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.export._write_examples import Made, Output
from curate.manifest import Attempt
from curate.storage import Storage, plain_errors

__all__ = ["LIST_OF_PICTURES", "PICTURES", "Rows", "open_rows", "picture_cell", "plain", "with_features", "write_card"]

GROUP_ROWS = 1_000
GROUP_BYTES = 64 << 20

PICTURES = pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
LIST_OF_PICTURES: Mapping[str, Any] = {"feature": {"_type": "Image"}, "_type": "List"}
"""The feature of a column of type PICTURES."""


def plain(dtype: str = "string") -> dict[str, Any]:
    """The feature of a plain column."""
    return {"dtype": dtype, "_type": "Value"}


def with_features(columns: Mapping[str, tuple[pa.DataType, Any]]) -> pa.Schema:
    """The schema of these columns, each with its Arrow type and its feature, which is told in the schema's metadata."""
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    features = {name: feature for name, (_, feature) in columns.items()}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def picture_cell(data: bytes) -> dict[str, object]:
    """An encoded picture's value in a column of type PICTURES."""
    return {"bytes": data, "path": None}


@dataclass
class Rows:
    """Rows on their way into one file."""

    target: pq.ParquetWriter
    schema: pa.Schema
    held: list[Mapping[str, Any]] = field(default_factory=list)
    held_bytes: int = 0

    def add(self, row: Mapping[str, Any], size: int) -> None:
        """Take a row of `size` bytes (of pictures and text, about)."""
        self.held.append(row)
        self.held_bytes += size
        if len(self.held) >= GROUP_ROWS or self.held_bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held as one row group."""
        if self.held:
            self.target.write_table(pa.Table.from_pylist(self.held, self.schema))
        self.held.clear()
        self.held_bytes = 0


@contextmanager
def open_rows(output: Output, attempt: Attempt, schema: pa.Schema) -> Iterator[Rows]:
    """The file of an output shard, whole when the context ends. Raises StorageError."""
    path = attempt.path(f"data/{output.folder}/{output.shard}.parquet")
    with plain_errors(f"write {path}"), pq.ParquetWriter(path, schema, compression="zstd") as target:
        rows = Rows(target, schema)
        yield rows
        rows.flush()


def write_card(target: Storage, made: Sequence[Made], about: str) -> None:
    """`README.md`: which files are data, and of which source."""
    folders = dict.fromkeys(own.output.folder for own in made)
    lines = ["---", "configs:", "- config_name: default", "  data_files: data/*/*.parquet"]
    for folder in folders:
        lines += [f"- config_name: {json.dumps(folder)}", f"  data_files: data/{folder}/*.parquet"]
    target.write("README.md", "\n".join([*lines, "---", about, ""]).encode())
