"""Rows that are shown to nobody: dead ones, those that a hash list matched, and copies of these.

They are taken out before anything is asked, so that neither an answer, nor a count, nor an error tells what is in
them. Nothing is read for it where a data set has no tombstones, no hash list and no earlier data sets; else all shards
are looked through once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from curate.column_files import ColumnFiles
from curate.errors import ShardError
from curate.listing import listed_shards
from curate.report.cluster import WITHIN
from curate.report.pictures.hidden_copies import HiddenCopies, hidden_copies
from curate.shard import Shard
from curate.tombstones import HASH_LIST_MATCH, unshown_keys

__all__ = ["Hidden"]


HASH_LIST = "hash_list"
"""The family of the column that says which rows are on a list."""


class Hidden:
    """The hidden rows of a unit, shard by shard. `above`: those of the documents, where the unit is their parts: these
    go with their documents."""

    def __init__(self, files: ColumnFiles, above: Hidden | None = None) -> None:
        self._files, self._above = files, above
        self._found: dict[str, frozenset[int]] = {}
        lists = files.has_family(HASH_LIST) or HASH_LIST_MATCH in files.fields
        self._listed = lists or bool(files.storage.files("tombstones"))

    def rows(self, id: str) -> frozenset[int]:
        """The hidden rows of a shard, counted from 0. Raises ShardError where it cannot be known."""
        if id not in self._found:
            self._found[id] = frozenset({*self._listed_rows(id), *self._copied(id), *self._below(id)})
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

    def _listed_rows(self, id: str) -> list[int]:
        """Dead rows, and those on a hash list."""
        keys = {*map(str, unshown_keys(self._shards[id]))} if self._listed else ()
        return [row for row, key in enumerate(self._values(id, "key")) if key in keys] if keys else []

    def _copied(self, id: str) -> Sequence[int]:
        """Copies of rows on a hash list."""
        return self._copies.rows(self._shards[id]) if self._copies.clusters else ()

    def _below(self, id: str) -> list[int]:
        """Parts of hidden documents."""
        above = self._above.rows(id) if self._above else ()
        return [row for row, document in enumerate(self._values(id, "document")) if document in above] if above else []

    def _values(self, id: str, name: str) -> list[Any]:
        return list(self._files.table(id, [name])[name].to_pylist())

    @cached_property
    def _shards(self) -> dict[str, Shard]:
        there = {one.id: one for listed in listed_shards(self._files.storage) for one in (listed, listed.parts)}
        handles = {id: self._files.shard(id) for id in self._files.shards}
        return {id: there.get(one.id, one) for id, one in handles.items()}

    @cached_property
    def _copies(self) -> HiddenCopies:
        earlier = any(name.endswith(WITHIN) for name in self._files.fields)
        if not earlier and not self._listed:
            return HiddenCopies()
        return hidden_copies(list(self._shards.values()))
