"""What `curate show` tells of a shard, of one of its samples, and of one of its documents."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ShardError, StorageError
from curate.sample import Document
from curate.shard import Shard, list_shards
from curate.storage import Storage

__all__ = ["document_rows", "find_shard", "has_documents", "overview", "sample_row", "write", "write_picture"]

COUNTED = ("fetch_status", "document_status", "drop_reason")


def find_shard(place: str) -> Shard:
    """The shard that a user names by its id, tar or table, with its folder. Raises ShardError for a whole data set, and
    for a shard of which there is no file."""
    root, _, name = place.rpartition("/")
    if not name or Storage(place).exists("manifest.parquet"):
        folder = place.rstrip("/")
        raise ShardError(f"{folder} is a whole data set; name one of its shards, such as {folder}/00000")
    shard = Shard(Storage(root or "."), name.removesuffix(".tar").removesuffix(".parquet"))
    there = [] if shard.storage.names(f"{shard.id}.") else list_shards(shard.storage)
    if there:
        raise ShardError(f"{root or '.'} has no shard {shard.id}; its shards go from {there[0].id} to {there[-1].id}")
    return shard


def has_documents(shard: Shard) -> bool:
    """Whether this is a shard of documents."""
    return shard.storage.exists(shard.parts.table_name())


def overview(shard: Shard) -> dict[str, Any]:
    """Counts per status and reason, and which file holds which column; of documents also those of their parts."""
    answer: dict[str, Any] = {"shard": shard.id, "rows": shard.rows(), **_counts(shard, "rows")}
    tables = [shard]
    if has_documents(shard):
        tables.append(shard.parts)
        answer["parts"] = shard.parts.rows()
        answer |= {f"{name} of parts": rows for name, rows in _counts(shard.parts, "parts").items()}
    files: dict[str, list[str]] = {}
    for table in tables:
        for column, family in table.column_files.items():
            files.setdefault(table.table_name(family), []).append(column)
    answer["columns"] = [{"file": file, "columns": columns} for file, columns in files.items()]
    made = [{"column": column, **about} for table in tables for column, about in table.provenances().items() if about]
    if made:
        answer["made_by_models"] = made
    return answer


def _counts(table: Shard, unit: str) -> dict[str, Any]:
    answer = {}
    for name in (name for name in COUNTED if name in table.column_files):
        counts = Counter(table.columns([name])[name].to_pylist())
        none = "(kept)" if name == "drop_reason" else "(none)"
        answer[name] = [{name: value or none, unit: count} for value, count in counts.most_common()]
    return answer


def sample_row(shard: Shard, key: str) -> dict[str, Any]:
    """All columns of one row that have a value, embeddings by their length. Raises ShardError when there is no such
    key, or no such shard."""
    shard.rows()
    names = list(shard.column_files)
    table = shard.columns([n for n in names if shard.column_files[n] != "index"])
    rows = table.filter(pc.equal(table["key"], key)).to_pylist()
    if not rows:
        there = f"its keys go from {table['key'][0]} to {table['key'][-1]}" if len(table) else "it has no rows"
        raise ShardError(f"shard {shard.id} has no key {key!r}; {there}")
    lengths = {f.name: f.type.list_size for f in table.schema if pa.types.is_fixed_size_list(f.type)}
    short = {name: f"{lengths[name]} numbers" if name in lengths else value for name, value in rows[0].items()}
    return {name: value for name, value in short.items() if rows[0][name] is not None}


def write_picture(shard: Shard, key: str, target: Path) -> None:
    """Write a sample's encoded picture to a file. Raises ShardError and StorageError."""
    write(target, shard.sample(key).image, "--image")


def write(target: Path, data: bytes, option: str) -> None:
    """Write a file that was asked for by an option of the command line. Raises StorageError."""
    try:
        target.write_bytes(data)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}; choose another {option}") from error


def document_rows(document: Document) -> dict[str, Any]:
    """A document's row and those of its parts, without what has no value."""
    parts = [{"kind": type(part).__name__.lower(), **_known(vars(part))} for part in document.parts]
    return {"document": _known(document.columns), "parts": parts}


def _known(values: Any) -> dict[str, Any]:
    """Bytes are told by their number."""
    known = {name: value for name, value in values.items() if value not in (None, "", b"")}
    columns = known.pop("columns", {})
    told = {n: f"{len(v)} bytes" if isinstance(v, bytes) else v for n, v in known.items()}
    return {**told, **{name: value for name, value in columns.items() if value is not None}}
