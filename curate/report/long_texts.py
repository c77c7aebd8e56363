"""Columns whose texts may be long: 512 rows at a time, of which those that were drawn are kept.

A shard of 5,000 captions of 100,000 letters is half a gigabyte, and whoever makes something of the whole column holds
it two or three times. Read like this a report of such shards takes 0.7 GB instead of 2.1, and one of a million short
captions a second more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from curate.errors import ShardError
from curate.shard import Shard

__all__ = ["batches", "rows_of"]

Rows = npt.NDArray[np.int64]

BATCH_ROWS = 512


def batches(table: Shard, family: str, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Columns of one column file of a shard, in order. Raises OSError and pyarrow.ArrowException for a broken file."""
    with table.storage.open(table.table_name(family)) as handle:
        yield from pq.ParquetFile(handle).iter_batches(BATCH_ROWS, columns=list(names))


def rows_of(table: Shard, names: Sequence[str], rows: Sequence[int] | Rows) -> pa.Table:
    """The named columns of these rows, which rise. Raises as `batches`, and ShardError where there are fewer rows."""
    own = np.asarray(rows, np.int64)
    found: dict[str, pa.ChunkedArray] = {}
    for family in dict.fromkeys(table.column_files[name] for name in names):
        asked = [name for name in names if table.column_files[name] == family]
        schema = table.schema(family)
        texts = [name for name in asked if _is_text(schema.field(name).type)]
        others = [name for name in asked if name not in texts]
        read = [_drawn(table, family, texts, schema, own)] if texts else []
        read += [table.table(family, others).take(pa.array(own))] if others else []
        found |= {name: part[name] for part in read for name in part.column_names}
    return pa.table({name: found[name] for name in names})


def _drawn(table: Shard, family: str, names: Sequence[str], schema: pa.Schema, rows: Rows) -> pa.Table:
    start, kept = 0, []
    for batch in batches(table, family, names):
        first, last = np.searchsorted(rows, [start, start + len(batch)])
        kept += [batch.take(pa.array(rows[first:last] - start))] if first < last else []
        start += len(batch)
    if len(rows) and rows[-1] >= start:
        raise ShardError(f"{table.table_name(family)} has {start:,} rows, fewer than other files of its shard")
    return pa.Table.from_batches(kept, pa.schema([schema.field(name) for name in names]))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind))
