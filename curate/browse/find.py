"""The rows that a condition is true of, page by page, within a time; one row with all its columns, story and copies.

A question is remembered with what was found for it (`curate.browse.scan`), sixteen of them, so that the second page and
the same condition again cost nothing. On a million rows in a hundred shards and two cores a first answer takes 0.1 to
0.5 s, the same columns again 0.05 s (`bench/browse.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.browse.catalog import Catalog
from curate.browse.history import Event, history
from curate.browse.near import Near, near
from curate.browse.recent import Recent
from curate.browse.scan import MOST_ORDERED, MOST_PLACES, SHIFT, Order, Scan
from curate.column_files import ColumnFiles, is_vector, python_rows
from curate.condition import read_condition
from curate.config import require_range
from curate.duck import READERS, sealed_connection
from curate.errors import ConfigError, ShardError, StorageError
from curate.hidden_rows import Hidden
from curate.registry import nearest
from curate.storage import Storage

__all__ = ["Event", "Finder", "Found", "Near", "Row"]

SHOWN = {
    "samples": "caption width height original_width original_height fetch_status keep drop_reason drop_reasons",
    "documents": "title document_status image_count text_count parts keep drop_reason drop_reasons",
    "parts": "document kind text alt caption fetch_status keep drop_reason drop_reasons",
}
"""Columns that are shown of a row that was found, beside those that the condition names."""
REMEMBERED = 16
MOST_SIZE = 500


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
    is how many there are so far. `more`: whether there is, or may be, a page after this one. `seconds`: it took.
    `looked_at`: (shards looked at, shards there). `hidden`: rows of those shards that are shown to nobody, whatever
    they are. `troubles`: shards that could not be read, in words."""

    rows: tuple[Row, ...]
    total: int | None
    at_least: int
    more: bool
    seconds: float
    looked_at: tuple[int, int]
    hidden: int = 0
    troubles: tuple[str, ...] = ()


class Finder:
    """Answers conditions over the data set in `storage`, read-only; safe among threads. `memory`: bytes for columns
    that are kept for the next answer, and again for DuckDB. `timeout_s`: the longest that is searched for a page;
    `count_s`: the longest that is counted on when the page is full. Where there is a hash list, copies of what is on it
    are looked for first, 1 s a million rows. Which shards and columns there are is looked at once; `anew()` is another
    one. What was taken back meanwhile is hidden within a minute of `clock`. Raises ConfigError without DuckDB,
    ShardError without a data set."""

    def __init__(
        self,
        storage: Storage,
        *,
        memory: int = 512 << 20,
        timeout_s: float = 5.0,
        count_s: float = 1.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        require_range("timeout_s", timeout_s, 0.01, 3600)
        self.storage, self._timeout_s, self._count_s = storage, timeout_s, min(count_s, timeout_s)
        self.anew = partial(Finder, storage, memory=memory, timeout_s=timeout_s, count_s=count_s, clock=clock)
        self.catalog = Catalog(storage, keep_bytes=memory)
        self._duckdb = sealed_connection(memory, READERS)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="browse")
        self._scans: OrderedDict[tuple[str, str, str], Scan] = OrderedDict()
        self._lock = Lock()
        self._tombstones = Recent(1, storage.files, clock)
        self._seen = self._tombstones.get("tombstones")
        self._hidden = _hidden(self.catalog)

    def find(self, unit: str, condition: str, *, page: int = 0, size: int = 60, order: str = "") -> Found:
        """A page of the rows that `condition` (SQL; empty for all) is true of, in the order of the shards, or by
        `order`: a column, ` desc` behind it for the largest first. Raises ConfigError, in words for who typed it, for a
        condition or an order that cannot be, and for one that fails on a value."""
        if not (page >= 0 and 1 <= size <= MOST_SIZE):
            raise ConfigError(f"page {page} of {size} rows cannot be; a page has 1 to {MOST_SIZE} rows, the first is 0")
        started = monotonic()
        scan = self._scan(unit, condition, order)
        last = (page + 1) * size
        if last > (MOST_ORDERED if scan.order else MOST_PLACES):
            raise ConfigError("so many rows are not paged through; write a narrower condition")
        connection = self._duckdb.cursor()
        try:
            scan.go_on(connection, self._readers, last + 1, started + self._count_s, started + self._timeout_s)
        finally:
            connection.close()
        rows, troubles = self._page(scan, unit, scan.places[last - size : last])
        return Found(
            rows,
            scan.counted if scan.done else None,
            scan.counted,
            scan.counted > last or not scan.done,
            monotonic() - started,
            (scan.next, len(scan.files.shards)),
            scan.hidden,
            (*dict.fromkeys((*scan.files.troubles, *scan.troubles, *troubles)),),
        )

    def row(self, unit: str, shard: str, key: str) -> dict[str, Any]:
        """All columns of one row that have a value, vectors by their length. Raises ShardError when there is no such
        row, or when it is hidden."""
        files = self.catalog.files(unit)
        row = self._row_number(unit, shard, key)
        names = [name for name, field in files.fields.items() if not is_vector(field.type)]
        found = python_rows(files.table(shard, names, keep=False).slice(row, 1))[0]
        for name in (name for name, field in files.fields.items() if is_vector(field.type)):
            vector = files.table(shard, [name], keep=False)[name][row]
            found[name] = f"{vector.type.list_size} numbers" if vector.is_valid else None
        return {name: value for name, value in found.items() if value is not None}

    def history(self, shard: str, key: str, unit: str = "") -> tuple[Event, ...]:
        """What every step said of a row, in the order of the steps. `unit`: samples or documents unless it is parts.
        Raises as `row`."""
        unit = unit or self.catalog.units()[0]
        return history(self.catalog.files(unit), unit, shard, self._row_number(unit, shard, key))

    def near(self, shard: str, key: str, unit: str = "") -> tuple[Near, ...]:
        """Its copies of every kind, the kept one first, at most 100 of a kind; hidden ones are left out. Raises as
        `row`."""
        unit = unit or self.catalog.units()[0]
        self._row_number(unit, shard, key)
        return near(self.catalog.files(unit), self.hidden(unit), (shard, key), self._timeout_s)

    def hidden(self, unit: str) -> Hidden:
        """The rows of a unit that are shown to nobody; answers that were remembered go when there are others."""
        tombstones = self._tombstones.get("tombstones")
        with self._lock:
            if tombstones != self._seen:
                self._seen, self._hidden = tombstones, _hidden(self.catalog)
                self._scans.clear()
            return self._hidden[unit]

    def _scan(self, unit: str, condition: str, order: str) -> Scan:
        """The way of this question so far."""
        place = (unit, condition.strip(), order.strip())
        files, askable = self.catalog.files(unit), self.catalog.askable(unit)
        hidden = self.hidden(unit)
        with self._lock:
            if place not in self._scans:
                read = read_condition(place[1], askable) if place[1] else None
                by = _order(place[2], files) if place[2] else None
                self._scans[place] = Scan(files, hidden, read, by)
            self._scans.move_to_end(place)
            while len(self._scans) > REMEMBERED:
                self._scans.popitem(last=False)
            return self._scans[place]

    def _row_number(self, unit: str, shard: str, key: str) -> int:
        """Where a row stands in its shard. Raises ShardError when there is no such row, or when it is hidden."""
        files = self.catalog.files(unit)
        if shard not in files.shards:
            raise ShardError(f"{self.storage.root} has no shard {shard!r}; {nearest(shard, list(files.shards[:1000]))}")
        keys = files.table(shard, ["key"])["key"]
        try:
            row = pc.index(keys, key).as_py()
        except UnicodeEncodeError:  # of half a letter
            row = -1
        if row < 0:
            raise ShardError(f"shard {shard} in {self.storage.root} has no key {key!r}")
        self.hidden(unit).refuse(shard, row, key)
        return int(row)

    def _page(self, scan: Scan, unit: str, places: Any) -> tuple[tuple[Row, ...], list[str]]:
        """What to show of these rows, and which shards could not be read for it."""
        own = [*(scan.condition.columns if scan.condition else ()), *([scan.order.column] if scan.order else [])]
        names = [name for name in dict.fromkeys((*SHOWN[unit].split(), *own)) if name in scan.files.fields]
        numbers = np.unique(places >> SHIFT).tolist()
        shown: dict[int, Mapping[int, Row]] = {}
        troubles: list[str] = []
        above = self.catalog.files("documents") if unit == "parts" else None
        asked = partial(_rows_of, (scan.files, above), names)
        wanted = [(places[places >> SHIFT == number] & ((1 << SHIFT) - 1)).tolist() for number in numbers]
        for number, answer in zip(numbers, self._readers.map(asked, numbers, wanted), strict=True):
            if isinstance(answer, str):
                troubles.append(answer)
            else:
                shown[number] = answer
        found = (shown.get(int(place) >> SHIFT, {}).get(int(place) & ((1 << SHIFT) - 1)) for place in places)
        return tuple(row for row in found if row is not None), troubles


def _hidden(catalog: Catalog) -> Mapping[str, Hidden]:
    """The rows that are shown to nobody, by unit."""
    first, *others = catalog.units()
    above = Hidden(catalog.files(first))
    found = {first: above, **{unit: Hidden(catalog.files(unit), above) for unit in others}}
    for hidden in found.values():
        hidden.prepare()
    return found


def _order(text: str, files: ColumnFiles) -> Order:
    """`column`, `column asc`, `column desc`. Raises ConfigError."""
    name, _, turn = text.rpartition(" ")
    descending = turn.lower() == "desc"
    name = name.strip() if turn.lower() in ("asc", "desc") and name else text
    if name not in files.fields:
        raise ConfigError(f"there is no column {name!r} to order by; {nearest(name, list(files.fields))}")
    if pa.types.is_nested(files.fields[name].type):
        raise ConfigError(f"{name!r} is a list; order by a number or a text")
    return Order(name, descending)


def _rows_of(
    files: tuple[ColumnFiles, ColumnFiles | None], names: list[str], number: int, rows: list[int]
) -> Mapping[int, Row] | str:
    """Rows of a shard as they are shown, of parts with the keys of their documents; words where it cannot be read.
    Nothing is kept: rows in an order lie in all shards, and to keep all their captions takes 0.6 s a million rows."""
    own, above = files
    id = own.shards[number]
    try:
        told = python_rows(own.table(id, list(dict.fromkeys(("key", *names))), keep=False).take(rows))
        documents = above.table(id, ["key"])["key"].to_pylist() if above else []
    except (ShardError, StorageError) as error:
        return str(error)
    of = {row: documents[one["document"]] if above else "" for row, one in zip(rows, told, strict=True)}
    return {
        row: Row(id, str(one["key"]), {name: one[name] for name in names}, of[row])
        for row, one in zip(rows, told, strict=True)
    }
