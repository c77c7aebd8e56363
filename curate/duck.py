"""The columns of a data set in DuckDB: sealed from all files for conditions of anybody, or as views for its owner.

Three ways were measured on a million rows, three columns of three families, two cores, first time and again: a join of
Parquet files on (file, row) 0.09 s and 0.08 s in 100 shards, 0.8 s in 2,000; POSITIONAL JOIN 0.02 s and 0.4 s, which
goes wrong without a word where one shard lacks a file; Arrow columns of `curate.column_files` 0.09 s and 1.1 s the
first time, 0.003 s and 0.01 s again. The third is what is used: it is quickest when a question is changed a little, it
reads buckets as well as disks, and DuckDB needs no access to files at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from curate.column_files import ColumnFiles
from curate.errors import ConfigError
from curate.hidden_rows import Hidden
from curate.shard import Shard
from curate.storage import Storage

if TYPE_CHECKING:
    import duckdb

__all__ = ["ShardColumns", "in_pieces", "open_views", "require_duckdb", "sealed_connection"]

LEAST_VERSION = 2
READERS = 2
"""Shards that are read at once."""
PIECE_ROWS, PIECE_BYTES = 2_048, 128 << 10
"""Of what DuckDB asks at a time: its own number of rows, and bytes where texts are long; fewer of them where regular
expressions are large."""


def require_duckdb() -> None:
    """Raise ConfigError where DuckDB is not installed, or is older than 2: then its trees of SQL are others."""
    remedy = "install the extra: pip install 'curate-vl[report]'"
    if find_spec("duckdb") is None:
        raise ConfigError(f"conditions need DuckDB; {remedy}")
    found = version("duckdb")
    if int(found.partition(".")[0]) < LEAST_VERSION:
        raise ConfigError(f"conditions need DuckDB {LEAST_VERSION}, and {found} is installed; {remedy}")


def sealed_connection(memory: int = 256 << 20, threads: int = 1) -> duckdb.DuckDBPyConnection:
    """A connection to an empty database in memory: no file and no address can be read, no extension is loaded, and none
    of that can be changed. `memory`: bytes; what needs more is an error, nothing is put on a disk. Takes 15 ms."""
    require_duckdb()
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "memory_limit": f"{memory >> 20}MiB",
        "threads": threads,
        "max_temp_directory_size": "0KiB",
        "python_enable_replacements": False,
        "lock_configuration": True,
    }
    return duckdb.connect(":memory:", config=settings)


def in_pieces(rows: pa.Table, most: int = PIECE_BYTES) -> pa.Table:
    """The same rows in batches of at most so many bytes, but that a row is never cut. DuckDB asks a whole batch before
    it looks at the clock, and the memory of what it makes meanwhile is not counted: 2,048 texts of 40,000 letters,
    split into letters, took 2.6 GB under a limit of 1 GB. Takes 5 ms a million rows."""
    starts = range(0, len(rows), PIECE_ROWS)
    pieces = [piece for start in starts for piece in _halves(rows.slice(start, PIECE_ROWS), most)]
    return pa.concat_tables(pieces) if pieces else rows


def _halves(rows: pa.Table, most: int) -> list[pa.Table]:
    if len(rows) < 2 or rows.nbytes <= most:
        return [rows]
    half = len(rows) // 2
    return [*_halves(rows.slice(0, half), most), *_halves(rows.slice(half), most)]


class ShardColumns(ds.InMemoryDataset):  # type: ignore[misc]
    """All shards as an Arrow data set that is read when it is asked: only the files of the columns that are wanted are
    opened, shard by shard, and no further than the answer needs."""

    def __init__(self, files: ColumnFiles, hidden: Hidden, only: Collection[str] = ()) -> None:
        super().__init__(files.schema().empty_table())
        self._files, self._hidden = files, hidden
        self._ids = [id for id in files.shards if not only or id in only]

    def scanner(
        self, columns: Sequence[str] | None = None, filter: ds.Expression | None = None, **options: Any
    ) -> ds.Scanner:
        """What DuckDB and Arrow call to read: `columns` of the rows for which `filter` is true."""
        wanted = list(columns) if columns is not None else self.schema.names
        read = [*wanted, *(self._needed(filter, wanted) if filter is not None else ())]
        schema = pa.schema([self.schema.field(name) for name in read])
        reader = pa.RecordBatchReader.from_batches(schema, self._batches(read, schema))
        return ds.Scanner.from_batches(reader, columns=wanted, filter=filter, use_threads=False)

    def _needed(self, filter: ds.Expression, wanted: Sequence[str]) -> list[str]:
        """The columns that a filter names beyond the wanted ones: those without which it cannot be bound."""
        return [name for name in self.schema.names if name not in wanted and not _binds(filter, self.schema, name)]

    def _batches(self, names: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        read = partial(self._shown, names=names, schema=schema)
        with ThreadPoolExecutor(READERS) as readers:
            ahead: deque[Future[pa.Table]] = deque()
            for id in self._ids:
                ahead.append(readers.submit(read, id))
                if len(ahead) > READERS:
                    yield from ahead.popleft().result().to_batches()
            for table in ahead:
                yield from table.result().to_batches()

    def _shown(self, id: str, names: Sequence[str], schema: pa.Schema) -> pa.Table:
        """The rows of a shard that may be shown."""
        table, gone = self._files.table(id, names).cast(schema), self._hidden.rows(id)
        return table.take([row for row in range(len(table)) if row not in gone]) if gone else table


def open_views(storage: Storage, shards: Sequence[Shard] = ()) -> duckdb.DuckDBPyConnection:
    """A connection with the views `samples`, or `documents` and `parts`: every column of every family, aligned row by
    row, nulls where a shard lacks one; without the rows that may not be shown. `shards`: of these alone.

    For the data's owner: it can read and write files as any DuckDB can, but loads no extension from the network. Raises
    ConfigError without DuckDB, ShardError without a data set."""
    require_duckdb()
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=settings)
    only = frozenset(shard.id for shard in shards)
    files = ColumnFiles(storage)
    hidden = Hidden(files)
    connection.register("documents" if files.has_parts else "samples", ShardColumns(files, hidden, only))
    if files.has_parts:
        parts = ColumnFiles(storage, parts=True)
        connection.register("parts", ShardColumns(parts, Hidden(parts, hidden), only))
    return connection


def _binds(filter: ds.Expression, schema: pa.Schema, without: str) -> bool:
    """Whether a filter can be bound to a schema that lacks a column."""
    rest = pa.schema([one for one in schema if one.name != without])
    try:
        ds.dataset(rest.empty_table()).scanner(columns=[], filter=filter).count_rows()
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        return False
    return True
