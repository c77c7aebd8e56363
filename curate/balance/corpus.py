"""Texts of a corpus, a block at a time: lines of text files, or a column of Parquet files.

What a list of concepts is built from: a dump of Wikipedia as plain text, or the captions of the pool itself. 16 MB are
in memory at once, however long the lines are: a longer one is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import SourceError

__all__ = ["read_texts"]

BLOCK_BYTES = 16 << 20
BATCH_ROWS = 65_536


def read_texts(paths: Sequence[Path], column: str = "caption") -> Iterator[pa.Array]:
    """Texts of each file in turn, strings without null. A name that ends in `.parquet` is a table with `column`.

    Bytes that are no UTF-8 become U+FFFD. Raises SourceError for a file that cannot be read.
    """
    for path in paths:
        try:
            yield from _table(path, column) if path.suffix == ".parquet" else _lines(path)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{path} cannot be read: {error}; name text files, or Parquet files") from None


def _table(path: Path, column: str) -> Iterator[pa.Array]:
    with pq.ParquetFile(path) as file:
        if column not in file.schema_arrow.names:
            there = ", ".join(file.schema_arrow.names)
            raise SourceError(f"{path} has no column {column!r}; it has {there}")
        for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
            yield batch.column(0).drop_null().cast(pa.large_string())


def _lines(path: Path) -> Iterator[pa.Array]:
    with open(path, "rb") as file:
        rest = b""
        while block := file.read(BLOCK_BYTES):
            whole, line_break, after = block.rpartition(b"\n")
            if line_break or len(rest) > BLOCK_BYTES:
                yield _texts(rest + whole)
                rest = after
            else:
                rest += block
        if rest:
            yield _texts(rest)


def _texts(data: bytes) -> pa.Array:
    return pa.array(data.decode("utf-8", "replace").split("\n"), pa.large_string())
