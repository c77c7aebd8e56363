"""How rows are drawn: each by a number that a seed and what the row is give it, the lowest numbers first.

The number does not know how rows are packed into shards or in which order they are seen, so the same data gives the
same draw, and every row of every shard has the same chance. A lot holds the few best rows so far and nothing else: a
million rows are drawn from in the memory of one shard. Rows with one number are copies of one another (the same URL,
caption and file; the same logo on every page): one of them is enough to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.dedup.digest import Digests, digest_strings, join_digests
from curate.dedup.identity import CAPTION, IDENTITY, keyed
from curate.errors import CurateError, ShardError
from curate.report.long_texts import batches
from curate.shard import Shard

__all__ = ["UNREADABLE", "Draw", "Drawn", "Lot", "Numbers", "Rows", "row_numbers"]

Numbers = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

UNREADABLE = (CurateError, pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError)
"""What reading the columns of a damaged shard may raise; the shard is then passed over."""

AT_ONCE_BYTES = 1 << 20
"""Of texts that are digested together: enough that short ones lie side by side."""


@dataclass(frozen=True)
class Draw:
    """What all galleries of one report are drawn by.

    `seed`: another one draws other rows, the same one the same rows however they are packed into shards. `tiles`: of a
    gallery, at most. `side_px`: the longer side of a thumbnail. `picture_bytes`: of all thumbnails of a report, before
    base64; each kind of gallery has a share of it, and where that does not do, its larger pictures are made smaller.
    Raises ValueError for what is out of range.
    """

    seed: int = 0
    tiles: int = 12
    side_px: int = 160
    picture_bytes: int = 2_800_000

    def __post_init__(self) -> None:
        require_range("seed", self.seed, 0, (1 << 63) - 1)
        require_range("tiles", self.tiles, 0, 100)
        require_range("side_px", self.side_px, 16, 1_024)
        require_range("picture_bytes", self.picture_bytes, 0)

    def bytes_of(self, kind: str) -> int:
        """The share of `galleries`, `documents`, `copies` or `captions` in `picture_bytes`."""
        return self.picture_bytes * SHARES[kind] // 100


SHARES: Mapping[str, int] = {"galleries": 55, "documents": 15, "copies": 15, "captions": 15}
"""Of a hundred."""


class Drawn(NamedTuple):
    """A row that was drawn: its number, the place of its shard among the shards, its row, what was measured of it
    (not-a-number where nothing was)."""

    number: int
    shard: int
    row: int
    value: float


class Lot:
    """The best `most` of all rows that are offered: those nearest (where a distance is given), then those with the
    lowest numbers. `seen`: how many were offered."""

    def __init__(self, most: int) -> None:
        self.most, self.seen = most, 0
        self._best: dict[int, tuple[float, Drawn]] = {}
        self._worst = (np.inf, np.uint64(np.iinfo(np.uint64).max))

    def offer(
        self, shard: int, rows: Rows, numbers: Numbers, values: Floats | None = None, distances: Floats | None = None
    ) -> None:
        """Offer rows of a shard. `numbers`, `values` and `distances` have an entry a row of the shard."""
        self.seen += len(rows)
        own = numbers[rows]
        far = np.zeros(len(rows)) if distances is None else distances[rows]
        if len(self._best) == self.most:
            distance, number = self._worst
            better = (far < distance) | ((far == distance) & (own < number))
            rows, own, far = rows[better], own[better], far[better]
        order = np.lexsort((own, far))
        first = np.sort(np.unique(own[order], return_index=True)[1])[: self.most]
        best = order[first]
        for mark, row, distance in zip(own[best].tolist(), rows[best].tolist(), far[best].tolist(), strict=True):
            value = float("nan") if values is None else float(values[row])
            if mark not in self._best or distance < self._best[mark][0]:
                self._best[mark] = (distance, Drawn(mark, shard, row, value))
        self._cut()

    def rows(self) -> list[Drawn]:
        """What was drawn, the best first."""
        return [one for _, one in sorted(self._best.values(), key=lambda own: (own[0], own[1].number))]

    def _cut(self) -> None:
        best = sorted(self._best.items(), key=lambda own: (own[1][0], own[0]))[: self.most]
        self._best = dict(best)
        if best:
            self._worst = (best[-1][1][0], np.uint64(best[-1][0]))


def row_numbers(table: Shard, seed: int, words: str = CAPTION) -> Numbers:
    """The number of each row of a table, uint64 (rows,), by its URL, its SHA-256 and its column of `words` ("text" of
    parts of documents); by its key where it has none of them. Raises what UNREADABLE says."""
    keys, names = table.columns(["key"])[0], (*IDENTITY, words)
    files = {name: table.column_files[name] for name in names if name in table.column_files}
    found = {name: _digested([pa.nulls(len(keys), pa.large_string())]) for name in names if name not in files}
    for family in dict.fromkeys(files.values()):
        found |= _digests(table, family, [name for name in files if files[name] == family])
    for name, own in found.items():
        if len(own.known) != len(keys):
            raise ShardError(f"column {name!r} of {table.id} has {len(own.known):,} rows, and its keys {len(keys):,}")
    url, sha256, text = (found[name] for name in names)
    digests = join_digests(join_digests(url.digests, text.digests), sha256.digests)
    rows = np.flatnonzero(~(url.known | sha256.known | text.known))
    if len(rows):
        digests[rows] = digest_strings(pc.fill_null(pc.take(_text(keys), rows), ""))
    return keyed(digests, seed)


class _Digested(NamedTuple):
    """A column of texts: the digest of each, of no letters where there is none, and which have a letter."""

    digests: Digests
    known: npt.NDArray[np.bool_]


def _digests(table: Shard, family: str, names: Sequence[str]) -> dict[str, _Digested]:
    """Of columns of one file, which is read once."""
    waiting: dict[str, list[pa.Array]] = {name: [] for name in names}
    found: dict[str, list[_Digested]] = {name: [] for name in names}
    for batch in batches(table, family, names):
        for name, own in waiting.items():
            own.append(_text(batch.column(batch.schema.names.index(name))))  # strangers may have a name twice
            if sum(texts.nbytes for texts in own) >= AT_ONCE_BYTES:
                found[name].append(_digested(own))
                own.clear()
    parts = {name: [*found[name], _digested(own)] for name, own in waiting.items()}
    return {name: _Digested(*map(np.concatenate, zip(*own, strict=True))) for name, own in parts.items()}


def _digested(texts: Sequence[pa.Array]) -> _Digested:
    whole = pc.fill_null(pa.chunked_array(texts, pa.large_string()).combine_chunks(), "")
    return _Digested(digest_strings(whole), np.asarray(pc.greater(pc.binary_length(whole), 0), bool))


def _text(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A column as text; as nulls where it is none. Its bytes are not looked at: text of strangers may be no UTF-8."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.large_string())
    return pa.nulls(len(column), pa.large_string())
