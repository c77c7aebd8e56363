"""Which columns a data set has, in which files, and how many rows: what a browser lists before anybody asks.

It tells what was there when it was made; what a run writes meanwhile is seen by a new one (`curate.browse.pages` makes
one when there are other files).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from curate.column_files import ColumnFiles, Field, is_vector
from curate.duck import READERS
from curate.errors import ConfigError, ShardError
from curate.registry import nearest
from curate.storage import Storage

__all__ = ["Catalog", "Column"]

SCALARS = ((pa.types.is_string, "text"), (pa.types.is_boolean, "true or false"), (pa.types.is_integer, "whole number"))
NUMBERS = ((pa.types.is_floating, "number"), (pa.types.is_decimal, "number"), (pa.types.is_temporal, "time"))


@dataclass(frozen=True)
class Column:
    """A column. `type`: in words (text, number, true or false, list of text, ...); `family`: of the file that holds it,
    "" for the sample table; `about`: what it says of itself (the model that made it), empty for nothing.
    `askable`: whether a condition may name it; vectors cannot be asked."""

    name: str
    type: str
    family: str
    about: str = ""
    askable: bool = True


class Catalog:
    """The columns and shards of the data set in `storage`. `keep_bytes`: of columns that were read and are kept for the
    next question. Raises ShardError where there is no data set."""

    def __init__(self, storage: Storage, *, keep_bytes: int = 0) -> None:
        self.storage = storage
        first = ColumnFiles(storage, keep_bytes=keep_bytes)
        self._files = {"documents" if first.has_parts else "samples": first}
        if first.has_parts:
            self._files["parts"] = ColumnFiles(storage, parts=True, keep_bytes=keep_bytes)
        self._rows: dict[str, int] = {}

    def units(self) -> tuple[str, ...]:
        """`("samples",)`, or `("documents", "parts")`."""
        return tuple(self._files)

    def files(self, unit: str) -> ColumnFiles:
        """The column files of a unit. Raises ConfigError for a unit that is not there."""
        if unit not in self._files:
            raise ConfigError(f"{self.storage.root} has no {unit!r}; {nearest(unit, list(self._files))}")
        return self._files[unit]

    def columns(self, unit: str) -> tuple[Column, ...]:
        """All columns of a unit, sorted by family and name. Raises ConfigError for a unit that is not there."""
        found = (_column(field) for field in self.files(unit).fields.values())
        return tuple(sorted(found, key=lambda column: (column.family, column.name)))

    def askable(self, unit: str) -> tuple[str, ...]:
        """The columns that a condition may name."""
        return tuple(column.name for column in self.columns(unit) if column.askable)

    def shards(self) -> tuple[str, ...]:
        """Ids of all shards, in order."""
        return self._first.shards

    def rows(self, unit: str) -> int:
        """Rows of all shards, from the footers, once; a shard that cannot be read counts for none."""
        if unit not in self._rows:
            files = self.files(unit)
            with ThreadPoolExecutor(READERS) as readers:
                self._rows[unit] = sum(readers.map(lambda id: _rows(files, id), files.shards))
        return self._rows[unit]

    @cached_property
    def _first(self) -> ColumnFiles:
        return next(iter(self._files.values()))


def _rows(files: ColumnFiles, id: str) -> int:
    try:
        return files.rows(id)
    except ShardError:
        return 0


def _column(field: Field) -> Column:
    about = ", ".join(f"{name} {value}" for name, value in field.about.items())
    if field.mixed:
        about = f"shards have it as {', '.join(field.mixed)}; read as text{'; ' if about else ''}{about}"
    return Column(field.name, _words(field.type), field.families[0], about, not is_vector(field.type))


def _words(kind: pa.DataType) -> str:
    """A type for people."""
    if is_vector(kind):
        return f"vector of {kind.list_size}"
    if pa.types.is_list(kind):
        return f"list of {_words(kind.value_type)}"
    if pa.types.is_map(kind):
        return f"map of {_words(kind.key_type)} to {_words(kind.item_type)}"
    return next((words for test, words in SCALARS + NUMBERS if test(kind)), str(kind))
