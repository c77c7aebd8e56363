"""The rows that a condition is true of, page by page, within a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.browse.catalog import Catalog
from curate.storage import Storage

__all__ = ["Event", "Finder", "Found", "Near", "Row"]


@dataclass(frozen=True)
class Row:
    """A row that was found. `shard`: the id of its shard (of parts too, without `_parts`); `columns`: what to show of
    it, by name, plain Python values; `document`: of a part the key of its document, else empty."""

    shard: str
    key: str
    columns: Mapping[str, Any]
    document: str = ""


@dataclass(frozen=True)
class Found:
    """A page of an answer. `total`: rows in all, None where the time was up before all were looked at; then `at_least`
    is how many there are so far. `more`: whether there is a page after this one. `seconds`: it took. `looked_at`:
    (shards looked at, shards there). `hidden`: rows of those shards that are shown to nobody, whatever they are.
    `troubles`: shards that could not be read, in words."""

    rows: tuple[Row, ...]
    total: int | None
    at_least: int
    more: bool
    seconds: float
    looked_at: tuple[int, int]
    hidden: int = 0
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """What one step said of a row: `what` are (name, text) pairs, all text of anybody's; `reasons` are
    (reason, its words) that this step gave against it; `kept` is its verdict, None where it gave none."""

    step: str
    what: tuple[tuple[str, str], ...]
    reasons: tuple[tuple[str, str], ...] = ()
    kept: bool | None = None


@dataclass(frozen=True)
class Near:
    """A row that is a copy of another, itself included. `kind`: by what (bytes, near_image ...); `keep`: whether it is
    the one that is kept of its cluster; `data_set`: of an earlier data set where it lies, else empty."""

    kind: str
    shard: str
    key: str
    keep: bool
    data_set: str = ""


class Finder:
    """Answers conditions over the data set in `storage`, read-only. `memory`: bytes for columns that are kept for the
    next answer, and again for DuckDB; `timeout_s`: the longest an answer takes."""

    def __init__(self, storage: Storage, *, memory: int = 512 << 20, timeout_s: float = 5.0) -> None:
        self.storage = storage
        self.catalog = Catalog(storage)

    def find(self, unit: str, condition: str, *, page: int = 0, size: int = 60, order: str = "") -> Found:
        """A page of the rows that `condition` (SQL; empty for all) is true of, in the order of the shards, or by
        `order`: a column, ` desc` behind it for the largest first. Raises ConfigError, in words for who typed it, for a
        condition or an order that cannot be; ShardError for a data set that cannot be read at all."""
        raise NotImplementedError

    def row(self, unit: str, shard: str, key: str) -> dict[str, Any]:
        """All columns of one row that have a value, vectors by their length. Raises ShardError when there is no such
        row, or when it is hidden."""
        raise NotImplementedError

    def history(self, shard: str, key: str, unit: str = "") -> tuple[Event, ...]:
        """What every step said of a row, in the order of the steps. `unit`: samples or documents unless it is parts.
        Raises as `row`."""
        raise NotImplementedError

    def near(self, shard: str, key: str, unit: str = "") -> tuple[Near, ...]:
        """Its copies of every kind, the kept one first, at most 100 of a kind; hidden ones are left out. Raises as
        `row`."""
        raise NotImplementedError
