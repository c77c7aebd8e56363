"""Data sets of column files alone, written in a line: what a browser reads, without a run."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.storage import Storage


def keys(shard: str, rows: int) -> list[str]:
    return [f"{shard}{row:04d}" for row in range(rows)]


def put_files(root: Path, shards: dict[str, dict[str, pa.Table]]) -> Storage:
    """Write `shards[id][family]`; a table without `key` gets one."""
    root.mkdir(parents=True, exist_ok=True)
    for id, families in shards.items():
        for family, table in families.items():
            if "key" not in table.column_names:
                table = table.append_column("key", pa.array(keys(id, len(table))))
            pq.write_table(table, root / (f"{id}.{family}.parquet" if family else f"{id}.parquet"))
    return Storage(str(root))


def in_shards(columns: pa.Table, sizes: list[int], root: Path) -> Storage:
    """Rows cut into shards of these sizes; every column but `caption` in a family of its own."""
    shards, first = {}, 0
    for number, size in enumerate(sizes):
        rows, id = columns.slice(first, size), f"{number:05d}"
        first += size
        own = pa.table({"key": pa.array(keys(id, len(rows)), pa.string())})
        if "caption" in rows.column_names:
            own = own.append_column("caption", rows["caption"])
        others = {name: rows.select([name]) for name in rows.column_names if name != "caption"}
        shards[id] = {"": own, **others}
    return put_files(root, shards)
