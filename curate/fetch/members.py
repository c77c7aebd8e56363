"""The tar of a shard with its offset index, and the strict JSON of its records: the same for pairs and documents."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from curate.manifest import Attempt
from curate.tar import TarWriter

__all__ = ["IndexedTar", "indexed_tar", "python_values", "strict_json"]

_NO_PYTHON_VALUE = (ValueError, OverflowError, KeyError, pa.ArrowException)
"""KeyError: a time zone that nobody knows, where pytz is installed."""


class IndexedTar:
    """A tar whose members are named `KEY.EXTENSION`, and where each one went."""

    def __init__(self, tar: TarWriter) -> None:
        self._tar = tar
        self._names: list[tuple[str, str]] = []

    def add(self, key: str, extension: str, data: bytes) -> None:
        """Append one member."""
        self._tar.add(f"{key}.{extension}", data)
        self._names.append((key, extension))

    def index(self) -> pa.Table:
        """`key`, `extension`, `offset`, `size` (bytes) of every member, in the tar's order."""
        members = self._tar.members
        return pa.table(
            {
                "key": pa.array([key for key, _ in self._names], pa.string()),
                "extension": pa.array([extension for _, extension in self._names], pa.string()),
                "offset": pa.array([member.offset for member in members], pa.int64()),
                "size": pa.array([member.size for member in members], pa.int64()),
            }
        )


@contextmanager
def indexed_tar(shard: str, attempt: Attempt) -> Iterator[IndexedTar]:
    """Write `SHARD.tar`, and `SHARD.index.parquet` when the block ends."""
    with open(attempt.path(f"{shard}.tar"), "wb") as target:
        writer = TarWriter(target)
        tar = IndexedTar(writer)
        yield tar
        writer.finish()
    attempt.write_table(f"{shard}.index.parquet", tar.index())


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a carried column; None for what Python cannot hold, such as the year 294247."""
    try:
        values: list[Any] = column.to_pylist()
    except _NO_PYTHON_VALUE:
        values = [_python_value(scalar) for scalar in column]
    return values


def strict_json(record: Any) -> bytes:
    """RFC 8259: times, decimals and others as text, bytes in hex, null for what is no finite number, `?` for half of a
    character."""
    told = json.dumps(_plain(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return told.encode("utf-8", "replace")


def _python_value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except _NO_PYTHON_VALUE:
        return None


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.hex() if isinstance(value, bytes) else str(value)
