"""The shards of a data set with their column files, from one listing of the folder, however many there are.

`Shard` lists the folder anew for each shard and reads a footer anew for each question, which is right where somebody
writes. Whoever only reads 10,000 shards of 15 files would list 150,000 names 10,000 times. A shard from here knows its
files and reads each footer once; shards with the same columns, as nearly all of a run have, hold them together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from curate.shard import NO_SHARD, PARTS, Shard
from curate.storage import Storage

__all__ = ["Listed", "families_of", "listed_shards"]

INDEX = "index"
"""A family that is none: its rows are members of the tar."""
LOGS = ("fetch_log", "pages_log")
"""Times of one run, which say nothing of the data."""


@dataclass(frozen=True)
class _Known:
    """What shards of a data set have in common, each held once: schemas by their bytes, and the columns of some files
    by the identities of their schemas."""

    schemas: dict[bytes, pa.Schema] = field(default_factory=dict)
    columns: dict[tuple[tuple[str, int], ...], dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Listed(Shard):
    """A shard whose `families` are known, and those of its parts; what is written later is not seen. `owner`: of parts
    their documents."""

    families: tuple[str, ...] = ()
    of_parts: tuple[str, ...] = ()
    owner: Listed | None = field(default=None, compare=False, repr=False)
    known: _Known = field(default_factory=_Known, compare=False, repr=False)
    schemas: dict[str, pa.Schema] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def parts(self) -> Listed:
        return Listed(self.storage, self.id + PARTS, self.of_parts, (), self, self.known)

    def schema(self, family: str = "") -> pa.Schema:
        name = self.table_name(family)
        if name not in self.schemas:
            super().schema(family)
        return self.schemas[name]

    @cached_property
    def column_files(self) -> dict[str, str]:
        marks = tuple((family, id(self.schema(family))) for family in self.families)
        if marks not in self.known.columns:
            self.known.columns[marks] = super().column_files
        return self.known.columns[marks]

    def _families(self) -> list[str]:
        return list(self.families)

    @contextmanager
    def _parquet(self, name: str, remedy: str) -> Iterator[pq.ParquetFile]:
        with super()._parquet(name, remedy) as file:
            if name not in self.schemas:
                own = file.schema_arrow
                self.schemas[name] = self.known.schemas.setdefault(own.serialize().to_pybytes(), own)
            yield file


def families_of(files: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """The column files among these (name to bytes): of each shard, and of its parts by `<id>_parts`, the families that
    are there ("" is the sample table) with their bytes."""
    found: dict[str, dict[str, int]] = {}
    for name, size in files.items():
        id, _, family = name.removesuffix(".parquet").partition(".")
        if name.endswith(".parquet") and id not in ("", NO_SHARD) and family != INDEX:
            found.setdefault(id, {})[family] = size
    return found


def listed_shards(storage: Storage) -> list[Listed]:
    """The shards that have any column file, or parts, by id; their logs are not among their families. Raises
    StorageError."""
    families = {id: tuple(sorted(own.keys() - {*LOGS})) for id, own in sorted(families_of(storage.files()).items())}
    ids, known = dict.fromkeys(id.removesuffix(PARTS) for id in families), _Known()
    return [Listed(storage, id, families.get(id, ()), families.get(id + PARTS, ()), known=known) for id in ids]
