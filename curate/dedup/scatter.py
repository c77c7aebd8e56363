"""Rows on their way from one step over all shards to the next, through files that are cut by where the rows go.

    parts of one step write   dedup/<step>/p00003.rows   one file each, with a piece for every part of the next step
    parts of the next read    their piece of every file  two range reads a file, on a disk or in a bucket

That is a shuffle without a service: what is written is durable, a part that is run again writes the same bytes, and no
process holds more than a part. A file begins with where its pieces end (8 bytes each), then has them as Arrow streams,
in order; Parquet would take a footer of 100 bytes and more a piece and column, which every reader would have to read.

A step has a part for every `shards_per_part` shards, so that the rows of a part stay what they are when the data set
grows; with n parts there are n * n pieces, so a very large one takes more shards a part. Memory does not follow: what
is received by hash is dealt to ranges of some 64 MB on disk, and looked at range by range (`ranges`). Rows are named by
a number: data set, shard, row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.bins import Bins
from curate.errors import StorageError
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Part
from curate.storage import Storage, plain_errors

__all__ = [
    "SHARDS_PER_PART",
    "Ids",
    "Outbox",
    "collect",
    "deal",
    "inbox",
    "mixed",
    "part_count",
    "part_of_hash",
    "ranges",
    "row_ids",
    "shards_of",
    "split_ids",
]

SHARDS_PER_PART = 32
"""Of 10,000 rows: 320,000 rows."""

RANGE_BYTES = 64 << 20
"""Sorting takes some five times as much."""

Ids: TypeAlias = npt.NDArray[np.uint64]
"""Rows: the number of the data set in 8 bits (0 is this one), of the shard in 24, of the row in 32."""

Cut: TypeAlias = Callable[[pa.Table, int], npt.NDArray[np.int64]]

ROW_BITS, SHARD_BITS = np.uint64(32), np.uint64(24)
_ROWS, _SHARDS = np.uint64((1 << 32) - 1), np.uint64((1 << 24) - 1)
END_BYTES = 8
BATCH_ROWS = 1 << 16
_MIX = np.uint64(0x9E3779B97F4A7C15)


def part_count(shards: int, shards_per_part: int) -> int:
    """How many parts a step over so many shards has, at least 1."""
    return max(1, -(-shards // shards_per_part))


def shards_of(part: Part, shards: Sequence[Shard], shards_per_part: int) -> Iterator[tuple[int, Shard]]:
    """The shards that belong to a part, each with its number among all."""
    first = part.number * shards_per_part
    yield from enumerate(shards[first : first + shards_per_part], first)


def part_of_hash(hashes: npt.NDArray[np.uint64], of: int) -> npt.NDArray[np.int64]:
    """Which of `of` parts a well mixed 64-bit hash goes to; ascending with the hash."""
    return ((hashes >> np.uint64(32)) * np.uint64(of) >> np.uint64(32)).astype(np.int64)


def row_ids(shard: int, rows: npt.NDArray[np.int64], data_set: int = 0) -> Ids:
    """The numbers of some rows of a shard."""
    return (np.uint64(data_set << 56 | shard << 32) | rows.astype(np.uint64)).astype(np.uint64)


def split_ids(ids: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Data set, shard and row of each number."""
    data_set = ids >> (ROW_BITS + SHARD_BITS)
    return data_set.astype(np.int64), (ids >> ROW_BITS & _SHARDS).astype(np.int64), (ids & _ROWS).astype(np.int64)


@dataclass
class Outbox:
    """What a part of step `label` sends to the parts of the next, all in one schema. Call `close` at the end.

    `of` is how many parts the next step has; rows for one part keep the order in which they were added.
    """

    attempt: Attempt
    label: str
    part: Part
    of: int
    schema: pa.Schema

    def __post_init__(self) -> None:
        self._bins = Bins(self.attempt.scratch / "bins")

    def add(self, to: npt.NDArray[np.int64], rows: pa.Table) -> None:
        """Send each row to the part that `to` has for it. Raises StorageError when the disk refuses."""
        if len(rows):
            self._bins.add(to, rows.cast(self.schema))

    def close(self) -> None:
        """Write the file, piece after piece. Raises StorageError."""
        path = self.attempt.path(_name(self.label, self.part.number))
        ends = np.zeros(self.of, "<u8")
        with plain_errors(f"write {path}"), open(path, "wb") as file:
            file.write(ends.tobytes())
            for number in range(self.of):
                for piece in self._bins.pieces(number):
                    with pa.ipc.new_stream(file, self.schema) as stream:
                        stream.write_table(piece.combine_chunks(), max_chunksize=BATCH_ROWS)
                ends[number] = file.tell()
            file.seek(0)
            file.write(ends.tobytes())


def inbox(storage: Storage, label: str, number: int, senders: Iterable[int], of: int) -> Iterator[pa.Table]:
    """What these parts of step `label` sent to part `number` of `of`, sender by sender, 65,536 rows at a time.

    Raises StorageError when a file is gone or cut.
    """
    for sender in senders:
        name = _name(label, sender)
        try:
            yield from _piece(storage, name, number, of)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StorageError(
                f"{name} in {storage.root} is gone or cut ({error}); delete commits/{label} and run again"
            ) from error


def collect(storage: Storage, label: str, part: Part, senders: int, schema: pa.Schema) -> pa.Table:
    """The same as one table, with this schema also where nothing was sent."""
    found = list(inbox(storage, label, part.number, range(senders), part.of))
    return pa.concat_tables([schema.empty_table(), *found]).combine_chunks()


def ranges(
    attempt: Attempt, label: str, part: Part, schema: pa.Schema, column: str, range_bytes: int = RANGE_BYTES
) -> Iterator[pa.Table]:
    """What as many parts as there are of the next step sent to a part, cut by the hash in `column`: all rows of one
    hash are in one table. No more than about `range_bytes` are in memory, unless one hash has more. Raises
    StorageError."""

    def cut(rows: pa.Table, count: int) -> npt.NDArray[np.int64]:
        return part_of_hash(np.asarray(rows[column]), part.of * count) - part.number * count

    yield from _in_ranges(attempt, label, part, schema, cut, range_bytes)


def deal(
    attempt: Attempt, label: str, part: Part, schema: pa.Schema, column: str, range_bytes: int = RANGE_BYTES
) -> Iterator[pa.Table]:
    """The same, cut by row numbers in `column`: all that is about one row is in one table."""

    def cut(rows: pa.Table, count: int) -> npt.NDArray[np.int64]:
        return part_of_hash(mixed(np.asarray(rows[column])), count)

    yield from _in_ranges(attempt, label, part, schema, cut, range_bytes)


def _in_ranges(
    attempt: Attempt, label: str, part: Part, schema: pa.Schema, cut: Cut, range_bytes: int
) -> Iterator[pa.Table]:
    """Range after range; `cut` says of which of so many ranges each row is."""
    senders, storage = range(part.of), attempt.storage
    total = sum(_length(storage, _name(label, sender), part.number, part.of) for sender in senders)
    count = max(1, -(-total // range_bytes))
    if count == 1:
        yield collect(storage, label, part, part.of, schema)
        return
    bins = Bins(attempt.scratch / "ranges")
    for rows in inbox(storage, label, part.number, senders, part.of):
        bins.add(cut(rows, count), rows)
    for number in range(count):
        found = bins.read(number)
        if found is not None:
            yield found.combine_chunks()


def mixed(ids: Ids) -> Ids:
    """Row numbers as hashes, so that they spread over all parts."""
    with np.errstate(over="ignore"):
        values = (ids ^ (ids >> np.uint64(31))) * _MIX
        return np.asarray((values ^ (values >> np.uint64(29))) * _MIX, np.uint64)


def _length(storage: Storage, name: str, number: int, of: int) -> int:
    """Bytes of a piece; 0 for one that is not there, which `inbox` will tell."""
    try:
        with storage.open(name) as file:
            start, end = _bounds(file, number, of)
            return end - start
    except (FileNotFoundError, ValueError):
        return 0


def _bounds(file: IO[bytes], number: int, of: int) -> tuple[int, int]:
    """Where a piece begins and ends. Raises ValueError for a file without its ends."""
    first = max(number - 1, 0)
    file.seek(first * END_BYTES)
    ends = np.frombuffer(file.read((number - first + 1) * END_BYTES), "<u8").tolist()
    start, end = (of * END_BYTES, *ends) if number == 0 else ends
    return start, end


def _piece(storage: Storage, name: str, number: int, of: int) -> Iterator[pa.Table]:
    with storage.open(name) as file:
        start, end = _bounds(file, number, of)
        if end == start:
            return
        file.seek(start)
        while file.tell() < end:
            before = file.tell()
            for batch in pa.ipc.open_stream(file):
                yield pa.Table.from_batches([batch])
            if file.tell() == before:
                raise ValueError(f"it ends at {before}, not at {end}")


def _name(label: str, part: int) -> str:
    return f"dedup/{label}/{Part(part, part + 1).id}.rows"
