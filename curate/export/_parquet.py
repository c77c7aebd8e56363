"""Parquet as `datasets` reads it: rows in bounded groups, pictures as bytes, and a card that names the sources.

    data/SOURCE/00000.parquet   with the features in the schema, so that structs of bytes are pictures at once
    README.md                   a configuration for each source, and "default" with all

A row group is written at 1,000 rows or 64 MB, so that is what writing holds; a reader that streams holds as much.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from curate.export._talk import Rules, Talk, talk_of
from curate.export._write_examples import ExampleWriter, Made, Output, TalkFormat
from curate.handover.layout import Example
from curate.manifest import Attempt
from curate.storage import Storage, plain_errors

__all__ = ["LIST_OF_PICTURES", "PICTURES", "TableFormat", "plain", "with_features"]

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


@dataclass(frozen=True)
class TableFormat(TalkFormat):
    """Conversations as rows of Parquet: their pictures in `images`, `source`, and what the format makes of them.

    `schema`: all columns; `card`: what README.md says; `system`: as in `curate.export._talk.Rules`.
    """

    schema: ClassVar[pa.Schema]
    card: ClassVar[str]
    system: ClassVar[bool] = False

    @abstractmethod
    def cells(self, talk: Talk, example: Example, counts: Counter[str]) -> tuple[dict[str, Any], int] | str:
        """The format's own columns of a row and how many characters they have, or the reason why it must stay out."""

    @contextmanager
    def writer(self, output: Output, attempt: Attempt) -> Iterator[ExampleWriter]:
        with open_rows(output, attempt, self.schema) as rows:
            yield _Writer(self, rows, output, attempt.counts)

    def finish(self, source: Storage, target: Storage, made: Sequence[Made]) -> dict[str, Any]:
        write_card(target, made, self.card)
        return {}


@dataclass
class _Writer:
    format: TableFormat
    rows: Rows
    output: Output
    counts: Counter[str]

    def add(self, example: Example) -> str | None:
        rules = Rules(self.format.prompt, self.format.marks, self.format.system)
        talk = talk_of(example, self.output.kind, rules, self.counts)
        if isinstance(talk, str):
            return talk
        cells = self.format.cells(talk, example, self.counts)
        if isinstance(cells, str):
            return cells
        own, chars = cells
        images = [{"bytes": shown.data, "path": None} for shown in talk.pictures]
        row = {"images": images, "source": self.output.source, **own}
        self.rows.add(row, chars + sum(len(shown.data) for shown in talk.pictures))
        return None
