"""Rows of Parquet files and tars of others, by where they lie: pictures are among them, so slices hold places alone.

Parquet is read by row group, so a shuffle orders row groups and leaves the rows of each as they were; 64 rows are in
memory at a time. Tars in the layout of a hand-over are read one example at a time and shuffled whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.dedup.identity import keyed
from curate.errors import ShardError, SourceError
from curate.fetch.members import python_values
from curate.handover.carried_text import KEY, PLACE, dealt
from curate.handover.compose_source import Facts, ShardSettings
from curate.source.files import InputFile
from curate.source.tar_samples import read_contents
from curate.tar import BLOCK

__all__ = ["FILE", "parquet_rows", "parquet_tables", "same_file", "tar_tables"]

FILE, MARK, GROUP, ROW = "file", "mark", "row_group", "row_number"
BATCH_ROWS = 64
BUFFER_BYTES = 1 << 20


def parquet_tables(files: Sequence[InputFile], samples: int, shards: ShardSettings, facts: Facts) -> Iterator[pa.Table]:
    """A table per output shard: `source_key`, `place`, `file` (its number), `mark`, `row_group`, `row_number` in the
    file. Raises SourceError."""
    numbers = _row_numbers(files)
    own = np.array([_name_hash(file) for file in files], np.uint64)[numbers[FILE]]
    draws = keyed(np.stack([own, numbers[ROW].astype(np.uint64)], axis=1), shards.seed)
    chosen = np.flatnonzero(dealt(draws, samples, False) >= 0)
    facts["examples"] = len(chosen)
    if shards.shuffle:
        groups = keyed(np.stack([own, numbers[GROUP].astype(np.uint64)], axis=1), shards.seed + 1)[chosen]
        chosen = chosen[np.argsort(groups, kind="stable")]
    for start in range(0, len(chosen), shards.samples):
        part = chosen[start : start + shards.samples]
        yield _refs(files, {name: column[part] for name, column in numbers.items()})


def parquet_rows(files: Sequence[InputFile], plan: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a slice in its order, each a mapping of its columns. Raises ShardError."""
    for (number, group), refs in groupby(plan.to_pylist(), key=lambda row: (row[FILE], row[GROUP])):
        wanted = [ref[ROW] for ref in refs]
        file = same_file(files, number, plan)
        try:
            with file.open() as handle:
                yield from _of_group(handle, group, wanted)
        except (OSError, pa.ArrowException) as error:
            raise ShardError(f"{file.path} cannot be read: {error}") from error


def tar_tables(files: Sequence[InputFile], samples: int, shards: ShardSettings, facts: Facts) -> Iterator[pa.Table]:
    """A table per output shard: `source_key`, `place`, `file`, `mark`, `offset` and `size` of all members in bytes.
    Raises SourceError."""
    parts = [_tar_places(file, number) for number, file in enumerate(files)]
    table = pa.concat_tables(parts)
    salt = str(shards.seed).encode()
    draws = [hashlib.blake2b(key.encode(), digest_size=8, key=salt).digest() for key in table[KEY].to_pylist()]
    places = dealt(np.frombuffer(b"".join(draws), np.dtype(">u8")).astype(np.uint64), samples, shards.shuffle)
    chosen = np.argsort(places, kind="stable")[int((places < 0).sum()) :]
    facts["examples"] = len(chosen)
    for start in range(0, len(chosen), shards.samples):
        yield table.take(pa.array(chosen[start : start + shards.samples]))


def _row_numbers(files: Sequence[InputFile]) -> dict[str, npt.NDArray[np.int64]]:
    """File, row group and row of every row, in order."""
    found: dict[str, list[npt.NDArray[np.int64]]] = {FILE: [], GROUP: [], ROW: []}
    for number, file in enumerate(files):
        try:
            with file.open() as handle:
                about, names = (opened := pq.ParquetFile(handle)).metadata, opened.schema_arrow.names
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{file.path} cannot be read as parquet: {error}") from error
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise SourceError(f"{file.path} has two columns called {twice!r}; rename one")
        sizes = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        found[FILE].append(np.full(sum(sizes), number, np.int64))
        found[GROUP].append(np.repeat(np.arange(len(sizes)), sizes))
        found[ROW].append(np.arange(sum(sizes)))
    return {name: np.concatenate(columns) for name, columns in found.items()}


def _refs(files: Sequence[InputFile], numbers: dict[str, npt.NDArray[np.int64]]) -> pa.Table:
    rows = list(zip(numbers[FILE].tolist(), numbers[ROW].tolist(), strict=True))
    columns: dict[str, Any] = {
        KEY: [f"{file:05d}{row:09d}" for file, row in rows],
        PLACE: [f"{files[file].name}:{row + 1}" for file, row in rows],
        MARK: [_mark(files[file]) for file, _ in rows],
    }
    return pa.table(columns | {name: pa.array(column, pa.int64()) for name, column in numbers.items()})


def _of_group(handle: Any, group: int, wanted: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rows of one row group by their numbers in the file, rising."""
    table = pq.ParquetFile(handle, buffer_size=BUFFER_BYTES, pre_buffer=False)
    first = sum(table.metadata.row_group(before).num_rows for before in range(group))
    left = np.array(wanted, np.int64) - first
    start = 0
    for batch in table.iter_batches(BATCH_ROWS, row_groups=[group]):
        here = left[(left >= start) & (left < start + len(batch))] - start
        if len(here):
            rows = pa.Table.from_batches([batch]).take(pa.array(here))
            columns = {name: python_values(rows[name]) for name in rows.column_names}
            for number in range(len(rows)):
                yield {name: values[number] for name, values in columns.items()}
        start += len(batch)


def same_file(files: Sequence[InputFile], number: int, plan: pa.Table) -> InputFile:
    """The file of this number. Raises ShardError where it is another one than was cut."""
    mark = plan[MARK].filter(pc.equal(plan[FILE], number))[0].as_py()
    if number >= len(files) or _mark(files[number]) != mark:
        raise ShardError("the files of the source have changed since they were cut; run again")
    return files[number]


def _tar_places(file: InputFile, number: int) -> pa.Table:
    try:
        with file.open() as handle:
            contents = read_contents(handle, file.name)
    except (OSError, ShardError) as error:
        raise SourceError(f"{file.path} cannot be read as tar: {error}") from error
    if not contents.tidy:
        why = contents.damage or "members of one example do not lie together"
        raise SourceError(f"{file.path} is not read as it is: {why}; pack it anew")
    keys = list(contents.groups)
    last = [max(m.offset + m.size + -m.size % BLOCK for m in g.members.values()) for g in contents.groups.values()]
    offsets = [0, *last][:-1]
    return pa.table(
        {
            KEY: pa.array(keys, pa.string()),
            PLACE: pa.array([f"{file.name}, {key}" for key in keys], pa.string()),
            MARK: pa.array([_mark(file)] * len(keys), pa.string()),
            FILE: pa.array([number] * len(keys), pa.int64()),
            "offset": pa.array(offsets, pa.int64()),
            "size": pa.array([end - start for start, end in zip(offsets, last, strict=True)], pa.int64()),
        }
    )


def _mark(file: InputFile) -> str:
    return hashlib.sha256(repr(file.identity()).encode()).hexdigest()[:16]


def _name_hash(file: InputFile) -> int:
    return int.from_bytes(hashlib.blake2b(file.name.encode(), digest_size=8).digest())
