"""Show a shard, or one of its samples with every column and the reasons it was dropped for."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from curate.cli._output import add_format, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shard", help="a shard of a data set, e.g. data/demo/00000.tar or s3://bucket/set/00000")
    parser.add_argument("key", nargs="?", help="a sample's key, e.g. 000000012")
    parser.add_argument("--image", type=Path, metavar="FILE", help="also write the sample's picture to FILE")
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    from curate.errors import ShardError
    from curate.shard import Shard
    from curate.storage import Storage

    root, _, name = options.shard.rpartition("/")
    if not name or Storage(options.shard).exists("manifest.parquet"):
        folder = options.shard.rstrip("/")
        raise ShardError(f"{folder} is a whole data set; name one of its shards, such as {folder}/00000")
    shard = Shard(Storage(root or "."), name.removesuffix(".tar").removesuffix(".parquet"))
    show(sample(shard, options.key, options.image) if options.key else overview(shard), options.format)
    return 0


def overview(shard: Any) -> dict[str, Any]:
    """Counts per status and reason, and which file holds which column."""
    answer: dict[str, Any] = {"shard": shard.id, "rows": shard.rows()}
    counted = [name for name in ("fetch_status", "drop_reason") if name in shard.column_files]
    for name in counted:
        counts = Counter(shard.columns([name])[name].to_pylist())
        answer[name] = [{name: value or "(kept)", "rows": count} for value, count in counts.most_common()]
    files: dict[str, list[str]] = {}
    for column, family in shard.column_files.items():
        files.setdefault(shard.table_name(family), []).append(column)
    answer["columns"] = [{"file": file, "columns": columns} for file, columns in files.items()]
    return answer


def sample(shard: Any, key: str, image: Path | None) -> dict[str, Any]:
    """All columns of one row; raises ShardError when there is no such key."""
    import pyarrow.compute as pc

    from curate.errors import ShardError, StorageError

    names = list(shard.column_files)
    table = shard.columns([n for n in names if shard.column_files[n] != "index"])
    rows = table.filter(pc.equal(table["key"], key)).to_pylist()
    if not rows:
        there = f"its keys go from {table['key'][0]} to {table['key'][-1]}" if len(table) else "it has no rows"
        raise ShardError(f"shard {shard.id} has no key {key!r}; {there}")
    if image is not None:
        picture = shard.sample(key).image
        try:
            image.write_bytes(picture)
        except OSError as error:
            raise StorageError(f"cannot write {image}: {error.strerror}; choose another --image") from error
    return {name: value for name, value in rows[0].items() if value is not None}
