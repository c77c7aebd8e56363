"""A shard: one tar of samples and the column files beside it. A handle, with no data in memory.

    00000.tar              KEY.jpg KEY.json KEY.txt per sample, in row order; written once
    00000.parquet          one row per *input* row, failed ones too; img2dataset's columns
    00000.index.parquet    key, extension, offset, size: random access into the tar
    00000.<family>.parquet columns that a stage added, rows aligned with 00000.parquet
    00000_parts.parquet    in a shard of documents: a row per paragraph and image slot; column files of its own

A reader asks for columns by name and need not know which file holds them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import ShardError
from curate.sample import Sample
from curate.storage import Storage
from curate.tar import read_members, split_name

__all__ = ["IMAGE_EXTENSIONS", "Shard", "Slice", "key_width", "list_shards", "sample_key", "shard_id"]

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "avif", "bmp", "tif")
NO_SHARD = "manifest"
"""The data set's `manifest.parquet` lies among the sample tables."""
PARTS = "_parts"
"""Behind a shard's id: the table of its documents' parts."""


def shard_id(number: int, digits: int = 5) -> str:
    """`7 -> "00007"`."""
    return f"{number:0{digits}d}"


def key_width(samples_per_shard: int) -> int:
    """Digits of the row part of a key: img2dataset's ceil(log10(n))."""
    return len(str(max(samples_per_shard, 2) - 1))


def sample_key(shard: str, row: int, samples_per_shard: int) -> str:
    """img2dataset's key: the shard's id, then the row, zero padded. `("00001", 5, 10000) -> "000010005"`."""
    return f"{shard}{row:0{key_width(samples_per_shard)}d}"


@dataclass(frozen=True)
class Slice:
    """The rows of the source that a shard is made from: its id, how many, and the digest of their file."""

    shard: str
    rows: int
    digest: str


@dataclass(frozen=True)
class Shard:
    """One shard of the data set in `storage`. Methods raise ShardError where files are missing or at odds."""

    storage: Storage
    id: str

    @property
    def tar(self) -> str:
        """Name of the tar."""
        return f"{self.id}.tar"

    @property
    def parts(self) -> Shard:
        """The parts of this shard's documents, as a table with column files of its own; it has no tar."""
        return Shard(self.storage, self.id + PARTS)

    def table_name(self, family: str = "") -> str:
        """Name of a column file: `00000.parquet` for the sample table, `00000.<family>.parquet` for others."""
        return f"{self.id}.{family}.parquet" if family else f"{self.id}.parquet"

    def table(self, family: str = "", columns: Sequence[str] | None = None) -> pa.Table:
        """One column file, whole or some of its columns."""
        with self._parquet(self.table_name(family), self._remedy) as file:
            return _rows(file, list(columns) if columns is not None else None)

    def schema(self, family: str = "") -> pa.Schema:
        """Names and types of one column file, from its footer."""
        with self._parquet(self.table_name(family), self._remedy) as file:
            return file.schema_arrow

    @cached_property
    def column_files(self) -> dict[str, str]:
        """Which family holds which column: column name to family ("" is the sample table).

        What a stage wrote goes before a column of the same name that came with the source.
        """
        found: dict[str, str] = {}
        for family in self._families():
            for column in self.schema(family).names:
                if column not in found or (found[column] == "" and column != "key"):
                    found[column] = family
        return found

    def columns(self, names: Sequence[str]) -> pa.Table:
        """The named columns, in that order, one row per input row, whichever files hold them."""
        missing = [n for n in names if n not in self.column_files]
        if missing:
            there = ", ".join(sorted(self.column_files))
            raise ShardError(
                f"shard {self.id} in {self.storage.root} has no column {missing[0]!r}; {self._remedy}. It has {there}"
            )
        arrays: dict[str, pa.ChunkedArray] = {}
        for family in dict.fromkeys(self.column_files[n] for n in names):
            table = self.table(family, [n for n in names if self.column_files[n] == family])
            arrays.update(zip(table.column_names, table.columns, strict=True))
        lengths = {len(a) for a in arrays.values()}
        if len(lengths) > 1:
            raise ShardError(
                f"column files of shard {self.id} in {self.storage.root} have different row counts: {sorted(lengths)}"
            )
        return pa.table({n: arrays[n] for n in names})

    def provenances(self) -> dict[str, dict[str, str]]:
        """What each column says of itself in its file: the model that made it, if one did."""
        schemas = {family: self.schema(family) for family in dict.fromkeys(self.column_files.values())}
        return {c: _told(schemas[family].field(c)) for c, family in self.column_files.items()}

    def provenance(self, column: str) -> dict[str, str]:
        """The same of one column."""
        return _told(self.schema(self.column_files[column]).field(column))

    def source(self) -> pa.Table:
        """The rows of the source that this shard is made from."""
        with self._parquet(
            f"source/{self.id}.parquet", "delete source/plan.json there and run again, to cut the source anew"
        ) as file:
            return _rows(file)

    def rows(self) -> int:
        """Rows of the sample table, failed ones too."""
        with self._parquet(self.table_name(), self._remedy) as file:
            return int(file.metadata.num_rows)

    def samples(self) -> Iterator[Sample]:
        """The samples of the tar in its order. A member group without a picture is passed over."""
        with self._open_tar() as handle, self._open_tar() as data:
            key = ""
            parts: dict[str, bytes] = {}
            for member in read_members(handle, self.tar):
                name = split_name(member.name)
                if name is None:
                    continue
                if name[0] != key:
                    yield from _sample(key, parts)
                    key, parts = name[0], {}
                data.seek(member.offset)
                parts[name[1]] = data.read(member.size)
            yield from _sample(key, parts)

    def sample(self, key: str) -> Sample:
        """One sample by key, through the offset index."""
        index = self.table("index")
        rows = [r for r in index.to_pylist() if r["key"] == key]
        if not rows:
            raise ShardError(
                f"{self.tar} has no sample {key!r}; its keys go from {index['key'][0]} to {index['key'][-1]}"
                if len(index)
                else f"{self.tar} is empty"
            )
        parts = {}
        with self._open_tar() as data:
            for row in rows:
                data.seek(row["offset"])
                parts[row["extension"]] = data.read(row["size"])
        for sample in _sample(key, parts):
            return sample
        raise ShardError(f"sample {key!r} of {self.tar} has no picture; its members are {', '.join(sorted(parts))}")

    def _open_tar(self) -> IO[bytes]:
        try:
            return self.storage.open(self.tar)
        except FileNotFoundError:
            raise ShardError(f"shard {self.id} in {self.storage.root} has no {self.tar}; {self._remedy}") from None

    def _families(self) -> list[str]:
        """All families that are there, the sample table's first; the index is none, for its rows are members."""
        names = [n for n in self.storage.names(f"{self.id}.") if n.endswith(".parquet")]
        families = {n.removeprefix(self.id).removesuffix(".parquet").removeprefix(".") for n in names}
        return sorted(families - {"index"})

    @property
    def _remedy(self) -> str:
        return f"if it was there, delete commits/*/{self.id}-*.json and run again, else run the stage that writes it"

    @contextmanager
    def _parquet(self, name: str, remedy: str) -> Iterator[pq.ParquetFile]:
        """An open Parquet file of this shard. Raises ShardError when it is missing or broken."""
        try:
            with self.storage.open(name) as handle:
                yield pq.ParquetFile(handle)
        except FileNotFoundError:
            raise ShardError(f"shard {self.id} in {self.storage.root} has no {name}; {remedy}") from None
        except (OSError, pa.ArrowException) as error:
            words = f"{name} in {self.storage.root} is not a readable Parquet file: {error}; delete its commit"
            raise ShardError(words) from error


def list_shards(storage: Storage) -> list[Shard]:
    """All shards that have a sample table, by id."""
    stems = (name.removesuffix(".parquet") for name in sorted(storage.files()) if name.endswith(".parquet"))
    return [Shard(storage, stem) for stem in stems if "." not in stem and not stem.endswith(PARTS) and stem != NO_SHARD]


def _told(field: pa.Field) -> dict[str, str]:
    about = {name.decode(): value.decode() for name, value in (field.metadata or {}).items()}
    return {name: value for name, value in about.items() if not name.startswith("PARQUET:")}


def _rows(file: pq.ParquetFile, columns: list[str] | None = None) -> pa.Table:
    """All rows, group by group: Arrow cannot read lists of dictionary values over several groups at once."""
    groups = [file.read_row_group(number, columns) for number in range(file.num_row_groups)]
    return pa.concat_tables(groups) if groups else file.read(columns)


def _sample(key: str, parts: dict[str, bytes]) -> Iterator[Sample]:
    extension = next((e for e in IMAGE_EXTENSIONS if e in parts), None)
    if extension is None:
        return
    columns = _json_object(parts.get("json", b"{}"))
    caption = parts["txt"].decode("utf-8", "replace") if "txt" in parts else None
    yield Sample(key, parts[extension], extension, caption, columns)


def _json_object(raw: bytes) -> dict[str, object]:
    """A `.json` member; empty when it is no JSON object, for a tar may have been filled by anybody."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
