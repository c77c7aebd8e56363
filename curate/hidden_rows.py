"""Rows that are shown to nobody: dead ones, those that a hash list matched, and copies of these.

They are taken out before anything is asked, so that neither an answer, nor a count, nor an error tells what is in
them. Nothing is read for it where a data set has no tombstones, no hash list and no earlier data sets; else all shards
are looked through once.
"""

from __future__ import annotations

from functools import cached_property

from curate.column_files import ColumnFiles
from curate.errors import ShardError
from curate.report.cluster import WITHIN
from curate.report.pictures.hidden_copies import HiddenCopies, hidden_copies

__all__ = ["Hidden"]


class Hidden:
    """The hidden rows of a unit, shard by shard. `above`: those of the documents, where the unit is their parts."""

    def __init__(self, files: ColumnFiles, above: Hidden | None = None) -> None:
        self._files, self._above = files, above
        self._shards = {id: files.shard(id) for id in files.shards}
        self._found: dict[str, frozenset[int]] = {}

    def rows(self, id: str) -> frozenset[int]:
        """The hidden rows of a shard, counted from 0. Raises ShardError where it cannot be known."""
        if id not in self._found:
            self._found[id] = self._files.gone(id) | self._copied(id)
        return self._found[id]

    def keys(self, id: str) -> frozenset[str]:
        """The keys of these rows."""
        rows = sorted(self.rows(id))
        return frozenset(self._files.table(id, ["key"])["key"].take(rows).to_pylist()) if rows else frozenset()

    def prepare(self) -> None:
        """Look for copies of listed rows in all shards now, 1 s a million rows, so that no answer waits for it."""
        self._copies  # noqa: B018 - is kept

    def refuse(self, id: str, row: int, key: str) -> None:
        """Raise ShardError when this row must not be shown."""
        if row in self.rows(id):
            raise ShardError(f"{key} of shard {id} was taken back or is on a hash list; it is shown to nobody")

    def _copied(self, id: str) -> frozenset[int]:
        """Copies of rows on a hash list, and parts of documents that are."""
        copies = frozenset(self._copies.rows(self._shards[id])) if self._copies.clusters else frozenset()
        above = self._above._copied(id) if self._above else frozenset()
        if not above:
            return copies
        documents = self._files.table(id, ["document"])["document"].to_pylist()
        return copies | {row for row, document in enumerate(documents) if document in above}

    @cached_property
    def _copies(self) -> HiddenCopies:
        earlier = any(name.endswith(WITHIN) for name in self._files.fields)
        if not earlier and not self._files.listed:
            return HiddenCopies()
        return hidden_copies(list(self._shards.values()))
