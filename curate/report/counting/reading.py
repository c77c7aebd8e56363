"""Columns of one shard, whatever else of it is broken: a report is opened when something went wrong, too.

A column file that cannot be read, or has another number of rows than most, is a line among the troubles, and the others
are read. Long texts are never held for a whole shard: 10,000 captions of 100,000 letters are 1 GB, so they are turned
into what is counted (a host, a number of words) 256 rows at a time: 0.7 GB in the worst case, for a tenth more CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.shard import Shard

__all__ = ["BROKEN", "Columns", "Reduce", "Troubles", "in_blocks", "joined", "reduced", "schema_of"]

BROKEN = (CurateError, OSError, pa.ArrowException, ValueError, KeyError, TypeError)
"""What reading a damaged file raises."""
BATCH_ROWS = 256
BLOCK_ROWS, BLOCK_SHARDS = 8_192, 256
"""Of shards that are looked at together."""
SHOWN = 20
LETTERS = 300

Reduce: TypeAlias = Callable[[pa.Array], Mapping[str, pa.Array]]
"""What is counted of long texts, string (n,): named arrays of as many rows."""
Whose = TypeVar("Whose")


@dataclass
class Troubles:
    """What could not be read, in words: each once, the first twenty of them, and how many more.

    `root`: of the data set, left out: a report is given away, and on whose disk it was made is nobody's matter."""

    root: str = ""
    lines: dict[str, None] = field(default_factory=dict)
    more: int = 0

    def add(self, words: str) -> None:
        if self.root:
            words = words.replace(f" in {self.root}", "").replace(f"{self.root}/", "")
            words = words.replace(self.root, "the data set")
        words = " ".join(words.split())
        words = words if len(words) <= LETTERS else f"{words[:LETTERS]} …"
        if words in self.lines:
            return
        if len(self.lines) < SHOWN:
            self.lines[words] = None
        else:
            self.more += 1

    @property
    def room(self) -> bool:
        """Whether another line would be told."""
        return len(self.lines) < SHOWN

    def told(self) -> tuple[str, ...]:
        rest = (f"and {self.more:,} more like these",) if self.more else ()
        return (*self.lines, *rest)


@dataclass(frozen=True)
class Columns:
    """What is read of every table: by family its columns; and by family and column what is made of long texts."""

    plain: Mapping[str, Sequence[str]]
    long: Mapping[str, Mapping[str, Reduce]]

    def read(self, table: Shard, families: Iterable[str], troubles: Troubles) -> pa.Table:
        """The columns that are there, in the families that the table has, and can be read, one row per row of the
        shard; no columns where none can be. A shard has as many rows as most of its column files."""
        read: dict[str, dict[str, pa.ChunkedArray]] = {}
        for family in families:
            try:
                read[family] = self._family(table, family)
            except BROKEN as error:
                troubles.add(f"{table.table_name(family)} was not counted: {error}")
        lengths = {family: len(next(iter(own.values()))) for family, own in read.items() if own}
        rows = _rows(lengths)
        for family in [family for family, own in lengths.items() if own != rows]:
            words = f"it has {lengths[family]:,} rows where other files of its shard have {rows:,}"
            troubles.add(f"{table.table_name(family)} was not counted: {words}")
            del read[family]
        return pa.table({name: values for own in read.values() for name, values in own.items()})

    def _family(self, table: Shard, family: str) -> dict[str, pa.ChunkedArray]:
        found: dict[str, pa.ChunkedArray] = {}
        names = self.plain.get(family, ())
        if names:
            rows = table.table(family, names)
            found = dict(zip(rows.column_names, rows.columns, strict=True))
        if self.long.get(family):
            found = reduced(table, family, self.long[family]) | found  # a column goes before what is made of another
        return found


def reduced(table: Shard, family: str, long: Mapping[str, Reduce]) -> dict[str, pa.ChunkedArray]:
    """What is made of columns of long texts; nothing of those that the file has not. Raises one of BROKEN."""
    made: dict[str, list[pa.Array]] = {}
    with table.storage.open(table.table_name(family)) as handle:
        file = pq.ParquetFile(handle)
        there = [name for name in long if name in file.schema_arrow.names]
        for batch in file.iter_batches(BATCH_ROWS, columns=there):
            _extend(made, {name: _valid(batch.column(name)) for name in there}, long)
        if not made:
            _extend(made, dict.fromkeys(there, pa.array([], pa.large_string())), long)
    return {name: pa.chunked_array(values) for name, values in made.items()}


def _extend(made: dict[str, list[pa.Array]], texts: Mapping[str, pa.Array], long: Mapping[str, Reduce]) -> None:
    for column, values in texts.items():
        for name, own in long[column](values).items():
            made.setdefault(name, []).append(own)


def _valid(column: pa.Array) -> pa.Array:
    """A column as text, with what is no UTF-8 replaced."""
    texts = column.cast(pa.large_string())
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raw = texts.cast(pa.large_binary()).to_pylist()
        return pa.array([one if one is None else one.decode("utf-8", "replace") for one in raw], pa.large_string())
    return texts


def in_blocks(read: Iterable[tuple[Whose, pa.Table]]) -> Iterator[Sequence[tuple[Whose, pa.Table]]]:
    """Columns of neighbours that have the same ones, together as long as they are small: what looks at a shard of ten
    rows takes as long as it takes for one of a thousand."""
    block: list[tuple[Whose, pa.Table]] = []
    rows = 0
    for whose, columns in read:
        whole = rows + len(columns) > BLOCK_ROWS or len(block) == BLOCK_SHARDS
        if block and (whole or columns.schema != block[0][1].schema):
            yield block
            block, rows = [], 0
        block.append((whose, columns))
        rows += len(columns)
    if block:
        yield block


def joined(block: Sequence[tuple[Whose, pa.Table]]) -> pa.Table:
    """The columns of a block, one chunk each."""
    return pa.concat_tables([columns for _, columns in block]).combine_chunks()


def schema_of(table: Shard, family: str, troubles: Troubles) -> pa.Schema | None:
    """Names and types of a column file; None where it cannot be read."""
    try:
        return table.schema(family)
    except BROKEN as error:
        troubles.add(f"{table.table_name(family)} was not counted: {error}")
        return None


def _rows(lengths: Mapping[str, int]) -> int:
    """What most column files have; of several, what the sample table has."""
    often = Counter(lengths.values())
    return max(often, key=lambda rows: (often[rows], rows == lengths.get("")), default=0)
