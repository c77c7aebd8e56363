"""Which of several copies is to be kept: a user's order, the first difference decides.

    prefer = ["highest clip_similarity", "largest picture", "latest crawl_date", "host example.org"]

Rows that are equal in all of it are ordered by what they are (`curate.dedup.identity`), so that another packing into
shards keeps the same ones, and copies that differ in nothing by their keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.identity import IDENTITY, identities
from curate.errors import ShardError
from curate.shard import Shard

__all__ = ["Criterion", "Order", "parse_order"]

PICTURE = ("original_width", "original_height")
WORDS = {"highest": "descending", "latest": "descending", "lowest": "ascending", "earliest": "ascending"}
GRAMMAR = (
    '"highest COLUMN", "lowest COLUMN", "latest COLUMN", "earliest COLUMN", "largest picture", "smallest picture" '
    'or "host NAME"'
)
Direction = Literal["ascending", "descending"]
KINDS = ("number", "text")
NUMBER, TEXT = pa.float64(), pa.large_string()


@dataclass(frozen=True)
class Criterion:
    """One entry of an order: `columns` are read, `host` is the name that is preferred where it is one of hosts."""

    columns: tuple[str, ...]
    direction: Direction
    host: str = ""

    def values(self, shard: Shard) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """Numbers (float64) and texts, one of them null; a row with neither yields to all others. Raises ShardError."""
        table = shard.columns(self.columns)
        if self.host:
            return _either(_is_of_host(table["url"], self.host))
        if self.columns == PICTURE:
            return _either(pc.multiply(*(table[name].cast(pa.float64()) for name in PICTURE)))
        values = table[self.columns[0]]
        if _is_number(values.type) or _is_text(values.type):
            return _either(values)
        where = f"shard {shard.id}: prefer names {self.columns[0]}, a column of {values.type}"
        raise ShardError(f"{where}; it takes numbers, texts and times")


@dataclass(frozen=True)
class Order:
    """Criteria, and what breaks ties."""

    criteria: tuple[Criterion, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*IDENTITY, *(column for c in self.criteria for column in c.columns))))

    @property
    def schema(self) -> pa.Schema:
        """Of `values`, in the turn of columns."""
        own = [(f"prefer_{n}_{kind}", NUMBER if kind == "number" else TEXT) for n in self._numbers for kind in KINDS]
        return pa.schema([*own, ("identity_high", pa.uint64()), ("identity_low", pa.uint64()), ("key", pa.string())])

    @property
    def _numbers(self) -> range:
        return range(len(self.criteria))

    def values(self, shard: Shard) -> pa.Table:
        """What decides, one row per row of the shard."""
        high, low = identities(shard).T
        columns = [column for criterion in self.criteria for column in criterion.values(shard)]
        return pa.table([*columns, high, low, shard.columns(["key"])["key"]], names=self.schema.names)

    def sort(self, table: pa.Table, *first: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The order of rows of `values`: by the columns named `first`, ascending; among equals the best first."""
        directions = [c.direction for c in self.criteria for _ in KINDS] + ["ascending"] * 3
        keys = [*((name, "ascending") for name in first), *zip(self.schema.names, directions, strict=True)]
        return np.asarray(pc.sort_indices(table, sort_keys=keys), np.int64)


def parse_order(prefer: Sequence[str]) -> Order:
    """The order that a config's `prefer` means. Raises ValueError for words that mean nothing."""
    return Order(tuple(_criterion(text) for text in prefer))


def _criterion(text: str) -> Criterion:
    word, _, rest = text.strip().partition(" ")
    name = rest.strip()
    if name == "picture" and word in ("largest", "smallest"):
        return Criterion(PICTURE, "descending" if word == "largest" else "ascending")
    if word == "host" and name and " " not in name:
        return Criterion(("url",), "descending", name.lower().removeprefix("."))
    if word in WORDS and name.isidentifier():
        return Criterion((name,), "descending" if WORDS[word] == "descending" else "ascending")
    raise ValueError(f"prefer has {text!r}, which is none of {GRAMMAR}")


def _either(values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """As numbers or as texts, whichever they are; not-a-number is no number."""
    kind, missing = values.type, pa.chunked_array([pa.nulls(len(values), TEXT)])
    if _is_number(kind):
        plain = pa.types.is_boolean(kind) or pa.types.is_duration(kind)
        wide = values.cast(pa.int8() if pa.types.is_boolean(kind) else pa.int64()) if plain else values
        numbers = wide.cast(NUMBER, safe=False)
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, NUMBER), numbers), missing
    return missing.cast(NUMBER), values.cast(TEXT)


def _is_number(kind: pa.DataType) -> bool:
    """Compared as float64: whole numbers beyond 2^53 may tie."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_duration)
    return any(test(kind) for test in tests)


def _is_text(kind: pa.DataType) -> bool:
    """Compared as text, which for dates and times is their order."""
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null, pa.types.is_date, pa.types.is_time)
    return any(test(kind) for test in (*tests, pa.types.is_timestamp))


def _is_of_host(urls: pa.ChunkedArray, host: str) -> pa.ChunkedArray:
    """1 where a URL's host is this one or lies under it, 0 elsewhere."""
    pattern = r"^[a-z][a-z0-9+.\-]*://([^/?#@]*@)?([^/?#:]*\.)?" + _escaped(host) + r"\.?(:[0-9]*)?([/?#]|$)"
    found = pc.match_substring_regex(pc.fill_null(urls, ""), pattern, ignore_case=True)
    return found.cast(pa.int64())


def _escaped(host: str) -> str:
    return "".join(c if c.isalnum() or c == "-" else f"\\{c}" for c in host)
