"""One condition's way through the shards: a few at a time, kept where it stopped, so that the next page goes on there.

The first page of a data set of any size comes as soon as its rows are found; the count goes on while there is time, and
again at the next page. Shards are read two at a time, at first two of them, then more, up to half a million rows,
128 MiB, or files of 64 MiB; DuckDB then asks all of these at once, which takes 3 ms a million rows for numbers and
20 ms for text. Hidden rows are not in what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.column_files import ColumnFiles
from curate.condition import Condition
from curate.duck import PIECE_BYTES, in_pieces
from curate.errors import ConfigError, ShardError, StorageError
from curate.hidden_rows import Hidden

if TYPE_CHECKING:
    import duckdb

__all__ = ["MOST_ORDERED", "MOST_PLACES", "Order", "Places", "Scan"]

T = TypeVar("T")
Places: TypeAlias = npt.NDArray[np.int64]
"""Rows: the number of the shard times 2**32, and the row in it."""

SHIFT = 32
FIRST_SHARDS, MOST_SHARDS = 2, 64
MOST_ROWS, MOST_BYTES, MOST_STORED = 500_000, 128 << 20, 64 << 20
AGAIN_S = 0.02
"""Between two words to DuckDB that the time is up."""
MOST_PLACES = 2_000_000
"""Rows that are found are remembered up to so many, 16 MB; more are only counted."""
MOST_ORDERED = 10_000
"""The same where an order is asked for."""


class Order(NamedTuple):
    """By which column, and whether the largest comes first; rows without a value come last."""

    column: str
    descending: bool


class _Rows(NamedTuple):
    """Of one shard: the rows that may be shown, None where it could not be read; how many are hidden; what is wrong."""

    table: pa.Table | None
    hidden: int
    trouble: str = ""


@dataclass
class Scan:
    """What was found up to shard `next`: `places`, the first `MOST_PLACES` of the `counted` rows. `hidden`: rows of
    these shards that were left out. `troubles`: shards that could not be read."""

    files: ColumnFiles
    hide: Hidden
    condition: Condition | None
    order: Order | None = None
    next: int = 0
    counted: int = 0
    hidden: int = 0
    troubles: list[str] = field(default_factory=list)
    _found: list[Places] = field(default_factory=list)
    _best: pa.Table | None = None
    _together: int = FIRST_SHARDS
    _lock: Lock = field(default_factory=Lock)

    @property
    def done(self) -> bool:
        """Whether all shards were looked at."""
        return self.next >= len(self.files.shards)

    @property
    def places(self) -> Places:
        """What was found, in the order of the shards, or in the order asked for."""
        if self.order is not None:
            empty = self._best is None
            return np.empty(0, np.int64) if empty else np.asarray(self._best["place"], np.int64)  # type: ignore[index]
        self._found = [np.concatenate([np.empty(0, np.int64), *self._found])]
        return self._found[0]

    def go_on(
        self, connection: duckdb.DuckDBPyConnection, readers: ThreadPoolExecutor, enough: int, soft: float, hard: float
    ) -> None:
        """Look at further shards until all are, or until `hard`; when `enough` rows are found, until `soft` (both on
        the clock `time.monotonic`). Raises ConfigError where the condition fails on a value."""
        with self._lock:
            while not self.done and monotonic() < (soft if self._has(enough) else hard):
                if not self._step(connection, readers, hard):
                    return

    def _step(self, connection: duckdb.DuckDBPyConnection, readers: ThreadPoolExecutor, hard: float) -> bool:
        """The next shards; false when the time is up."""
        ids = self._next_ids()
        read = self._read(readers, ids, hard)
        try:
            with interrupted_at(connection, hard):
                self._ask(connection, read)
        except _TimeIsUp:
            self._together = 1
            return False
        return len(read) == len(ids)

    def _next_ids(self) -> list[str]:
        """The shards that are read next: as many as went well so far, and one at least, up to so many stored bytes."""
        ids = self.files.shards[self.next : self.next + self._together]
        read = accumulate(self.files.file_bytes(id, self._names) for id in ids)
        fit = sum(total <= MOST_STORED for total in read)
        return list(ids[: max(fit, 1)])

    def _has(self, enough: int) -> bool:
        return self.order is None and self.counted >= enough

    def _read(self, readers: ThreadPoolExecutor, ids: Sequence[str], hard: float) -> list[_Rows]:
        """As many of these shards as there was time for."""
        waiting: list[Future[_Rows]] = [
            readers.submit(self._shard, number, id) for number, id in enumerate(ids, self.next)
        ]
        found: list[_Rows] = []
        try:
            found.extend(future.result(max(hard - monotonic(), 0)) for future in waiting)
        except TooSlow:
            for future in waiting:
                future.cancel()
        return found

    def _shard(self, number: int, id: str) -> _Rows:
        names = self._names
        try:
            hidden = self.hide.rows(id)
            rows = self.files.rows(id)
            table = self.files.table(id, names) if names else None
        except (ShardError, StorageError) as error:
            return _Rows(None, 0, str(error))
        columns = {f"c{place}": table[name] for place, name in enumerate(self._columns)} if table else {}
        if self.order and table:
            columns["o"] = table[self.order.column]
        whole = pa.table({"place": pa.array(np.arange(rows, dtype=np.int64) + (number << SHIFT)), **columns})
        if hidden:
            whole = whole.filter(pa.array(~np.isin(np.arange(rows), list(hidden))))
        return _Rows(whole, len(hidden))

    @property
    def _names(self) -> list[str]:
        """The columns that are read."""
        return list(dict.fromkeys((*self._columns, *((self.order.column,) if self.order else ()))))

    @property
    def _columns(self) -> tuple[str, ...]:
        return self.condition.columns if self.condition else ()

    def _ask(self, connection: duckdb.DuckDBPyConnection, read: Sequence[_Rows]) -> None:
        tables = [one.table for one in read if one.table is not None]
        if tables:
            rows = in_pieces(pa.concat_tables(tables), self.condition.piece_bytes if self.condition else PIECE_BYTES)
            self._keep(connection, rows)
            small = rows.num_rows < MOST_ROWS and rows.nbytes < MOST_BYTES
            self._together = min(self._together * 2, MOST_SHARDS) if small else max(self._together // 2, 1)
        self.next += len(read)
        self.hidden += sum(one.hidden for one in read)
        self.troubles += [one.trouble for one in read if one.trouble]

    def _keep(self, connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> None:
        """Ask for the rows, count them, and remember the first ones."""
        if self.order is not None:
            self._keep_best(connection, rows, self.order)
            return
        found = np.asarray(rows["place"], np.int64)
        if self.condition is not None:
            found = _answered(self._asked(connection, rows).project("place").fetchnumpy, self.condition)["place"]
        self._found.append(np.asarray(found[: max(MOST_PLACES - self.counted, 0)], np.int64))
        self.counted += len(found)

    def _keep_best(self, connection: duckdb.DuckDBPyConnection, rows: pa.Table, order: Order) -> None:
        turn = f"o {'DESC' if order.descending else 'ASC'} NULLS LAST, place"
        asked = self._asked(connection, rows).project("place, o")
        counted = _answered(asked.count("*").fetchall, self.condition)
        best = _answered(asked.order(turn).limit(MOST_ORDERED).to_arrow_table, self.condition)
        if self._best is not None:
            both = connection.from_arrow(pa.concat_tables([self._best, best]))
            best = _answered(both.order(turn).limit(MOST_ORDERED).to_arrow_table, self.condition)
        self._best = best
        self.counted += int(counted[0][0])

    def _asked(self, connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> duckdb.DuckDBPyRelation:
        """The rows that the condition is true of."""
        condition = self.condition
        relation = _answered(partial(connection.from_arrow, rows), condition)
        return relation if condition is None else _answered(partial(relation.filter, condition.sql), condition)


class _TimeIsUp(Exception):
    """A question that was interrupted."""


@contextmanager
def interrupted_at(connection: duckdb.DuckDBPyConnection, hard: float) -> Iterator[None]:
    """End what the connection does at a time of `time.monotonic`. It is told again and again: DuckDB forgets what it is
    told before a query begins."""
    ended = Event()

    def watch() -> None:
        ended.wait(max(hard - monotonic(), 0))
        while not ended.wait(AGAIN_S):
            connection.interrupt()

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _answered(ask: Callable[[], T], condition: Condition | None) -> T:
    """What DuckDB answers. Raises ConfigError for a condition that fails."""
    import duckdb

    try:
        return ask()
    except duckdb.InterruptException:
        raise _TimeIsUp from None
    except duckdb.Error as error:
        words = condition.failed(error) if condition else f"the rows cannot be told: {error}"
        raise ConfigError(words) from None
