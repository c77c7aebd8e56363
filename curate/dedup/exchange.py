"""Brings equal rows of all shards together: every shard asks about digests, and all that ask about one get one answer.

    shard -> its own groups -> [bins by digest] -> groups of all shards, one answer each -> [bins by shard] -> shard

A shard asks once about a digest however often it has it, so that a string which is everywhere costs a row per shard. A
bin of either kind holds about `bin_rows` rows, so memory is bounded by that and by the largest shard, whatever the
number of shards: 0.55 GB for 2 million paragraphs in 40 shards as for 16 million in 320 (`bench/frequency.py`). A row
takes 20 bytes and what is asked on its way there, 4 and what is answered on its way back, and 4 to find its place.
Answers depend neither on the number of bins nor on their size.

Nothing here knows what is counted: copies of URLs, paragraphs of a domain and buckets of signatures all come down to
rows with equal digests.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.bins import BUFFER_BYTES, Bins
from curate.dedup.digest import Digests
from curate.dedup.groups import Groups, Rows, group

__all__ = ["BIN_ROWS", "Exchange", "Merge"]

Merge: TypeAlias = Callable[[Groups, pa.Table], pa.Table]
"""From rows in groups to one row per group, in the order of the groups."""

BIN_ROWS = 2_000_000
"""200 to 400 MB while a bin is looked at."""

NOT_ASKED = -1
_HIGH, _LOW, _SHARD = "_high", "_low", "_shard"


class _Asker(NamedTuple):
    """A shard: the bin its answers go to, its rows, and how many digests it asked about."""

    bin: int
    total: int
    asked: int


class Exchange:
    """One exchange. `rows` says how many rows the shards will ask about together; it only sets the number of bins.

    Call `ask` for every shard in its turn, then `answers`. As a context it removes its files from `folder` at the end.
    """

    def __init__(self, folder: Path, rows: int, bin_rows: int = BIN_ROWS, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.folder, self.bin_rows, self.digest_bins = folder, bin_rows, max(1, -(-rows // bin_rows))
        self._asked = Bins(folder / "asked", buffer_bytes)
        self._places = Bins(folder / "places", buffer_bytes)
        self._answered = Bins(folder / "answered", buffer_bytes)
        self._shards: list[_Asker] = []
        self._taken = 0
        self._nothing = pa.table({})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, total: int, rows: Rows, digests: Digests, summary: Callable[[Groups], pa.Table]) -> None:
        """The next shard, of `total` rows, asks about the digests of some `rows` of it.

        `summary` says what is to be known of these rows: from groups of them to a table of one row per group.
        """
        groups = group(digests)
        about = summary(groups)
        self._nothing = about.slice(0, 0)
        shard, bin = len(self._shards), self._bin_of(total)
        self._shards.append(_Asker(bin, total, len(groups)))
        places = np.full(total, NOT_ASKED, np.int32)
        places[rows] = groups.of_rows
        self._places.add(np.full(total, bin), pa.table({"place": places}))
        high, low = digests[groups.order[groups.starts]].T
        number = np.full(len(groups), shard, np.int32)
        for name, column in ((_SHARD, number), (_LOW, low), (_HIGH, high)):
            about = about.add_column(0, name, pa.array(column))
        self._asked.add(self._digest_bin(high), about)

    def answers(self, merge: Merge) -> Iterator[pa.Table]:
        """For each shard in its turn, what `merge` makes of all summaries: a row per row, nulls where none was asked.

        `merge` goes from the groups of equal digests among the summaries, in order of shards, to a row per group.
        """
        if not self._shards:
            return
        empty = merge(group(np.empty((0, 2), np.uint64)), self._nothing)
        for bin in range(self.digest_bins):
            asked = self._asked.read(bin)
            if asked is not None:
                self._answer(asked, merge)
        for bin, shards in groupby(self._shards, key=lambda shard: shard.bin):
            yield from self._sent_back(bin, list(shards), empty)

    def _answer(self, asked: pa.Table, merge: Merge) -> None:
        groups = group(np.stack([np.asarray(asked[_HIGH]), np.asarray(asked[_LOW])], axis=1))
        shards = np.asarray(asked[_SHARD])
        answers = merge(groups, asked.drop_columns([_HIGH, _LOW, _SHARD])).take(groups.of_rows)
        bins = np.array([shard.bin for shard in self._shards], np.int64)
        self._answered.add(bins[shards], answers.append_column(_SHARD, pa.array(shards)))

    def _sent_back(self, bin: int, shards: Sequence[_Asker], empty: pa.Table) -> Iterator[pa.Table]:
        """The digest bins were answered in ascending order, so a shard's answers are in that of its groups."""
        answers, places = self._answered.read(bin), self._places.read(bin)
        if answers is not None:
            order = np.argsort(np.asarray(answers[_SHARD]), kind="stable")
            answers = answers.drop_columns([_SHARD]).take(order).combine_chunks()
        row = asked = 0
        for shard in shards:
            own = np.asarray(places["place"].slice(row, shard.total)) if places else np.empty(0, np.int32)
            found = answers.slice(asked, shard.asked) if answers else empty
            yield found.take(pa.array(own, mask=own == NOT_ASKED))
            row, asked = row + shard.total, asked + shard.asked

    def _bin_of(self, total: int) -> int:
        """The bin for the next shard: the last one while it has room."""
        self._taken += total
        if self._taken > self.bin_rows:
            self._taken = total
            return self._shards[-1].bin + 1 if self._shards else 0
        return self._shards[-1].bin if self._shards else 0

    def _digest_bin(self, high: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Ascending with the digest, so that reading bin after bin is reading in order of digests."""
        return ((high >> np.uint64(32)) * np.uint64(self.digest_bins) >> np.uint64(32)).astype(np.int64)
