"""The embeddings of all shards in one scratch file, in the order of what rows are, and the way back to the shards.

A row takes twice the length of its embedding in the file, 1 kB for 512 numbers, and some 100 bytes of memory: who it
is, where it lies, its key, and what is found out about it. Ten billion rows would need 1 TB of memory, so at that size
cells are made by one machine from a sample, and compared by as many as there are, each its cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.digest import Digests
from curate.dedup.identity import identities
from curate.dedup.prefer import Order
from curate.errors import ShardError
from curate.filter import Rules
from curate.models.embeddings import embeddings_of
from curate.select import kept_rows
from curate.shard import Shard

__all__ = ["Embedded", "gather"]

Rows16 = npt.NDArray[np.float16]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Embedded:
    """Rows that can be compared, in the order of their identities: their embeddings, float16 (n, d), and who they are.

    `places` says where in this order each row stands that was taken from the shards, in their turn; `taken` which rows
    of each shard those are, of how many.
    """

    embeddings: Rows16
    digests: Digests
    keys: pa.LargeStringArray
    places: Numbers
    taken: tuple[tuple[Numbers, int], ...]
    counts: Counter[str]

    def __len__(self) -> int:
        return len(self.embeddings)

    def of_shards(self) -> Iterator[tuple[Numbers, Numbers, int]]:
        """For each shard: its rows that are here, where in the order they stand, and how many rows it has."""
        start = 0
        for rows, total in self.taken:
            yield rows, self.places[start : start + len(rows)], total
            start += len(rows)

    def ranks(self, shards: Sequence[Shard], order: Order) -> Numbers:
        """The place of each row in a user's order among all rows, (n,)."""
        tables = [order.values(shard).take(pa.array(rows)) for shard, (rows, _) in zip(shards, self.taken, strict=True)]
        ranks = np.empty(len(self), np.int64)
        ranks[self.places[order.sort(pa.concat_tables(tables))]] = np.arange(len(self))
        return ranks


def gather(shards: Sequence[Shard], column: str, path: Path, rules: Rules = ()) -> Embedded:
    """The embeddings in a column of all shards, of rows that `rules` keep, in a new file. Reads the column twice.

    A row without an embedding, with one that is not finite, or of length 0, is left out and counted. Raises ShardError
    where shards have embeddings of different lengths.
    """
    counts: Counter[str] = Counter(without_embedding=0, not_finite=0, zero_length=0)
    digests, keys, taken, length = [np.empty((0, 2), np.uint64)], [], [], 0
    for shard in shards:
        table = shard.columns(["key", column])
        rows, chosen = _usable(table[column], kept_rows(shard, rules), counts)
        if length not in (0, rows.shape[1]):
            raise ShardError(
                f"shard {shard.id}: {column} has embeddings of {rows.shape[1]} numbers, and those before it of "
                f"{length}; score all shards with one model"
            )
        length = rows.shape[1]
        digests.append(identities(shard)[chosen])
        keys.append(table["key"].cast(pa.large_string()).filter(pa.array(chosen)).combine_chunks())
        taken.append((np.flatnonzero(chosen), len(table)))
    of_all = np.concatenate(digests)
    order = np.lexsort((of_all[:, 1], of_all[:, 0]))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    chosen_rows = [rows for rows, _ in taken]
    embeddings = _written(shards, column, chosen_rows, places, (len(order), length), path)
    in_order = pa.chunked_array(keys, pa.large_string()).combine_chunks().take(pa.array(order))
    return Embedded(embeddings, of_all[order], in_order, places, tuple(taken), counts)


def _written(
    shards: Sequence[Shard],
    column: str,
    taken: Sequence[Numbers],
    places: Numbers,
    shape: tuple[int, int],
    path: Path,
) -> Rows16:
    if not shape[0]:
        return np.empty(shape, np.float16)
    gathered = np.memmap(path, np.float16, "w+", shape=shape)
    start = 0
    for shard, chosen in zip(shards, taken, strict=True):
        own = embeddings_of(shard.columns([column])[column])[0][chosen]
        gathered[places[start : start + len(own)]] = own
        start += len(own)
    return gathered


def _usable(
    column: pa.ChunkedArray, asked: npt.NDArray[np.bool_], counts: Counter[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The embeddings of a shard, and which of those that are `asked` have a direction."""
    rows, finite = embeddings_of(column)
    there = np.asarray(column.is_valid()) & asked
    finite &= asked
    with np.errstate(over="ignore"):
        stored = rows.astype(np.float16)
    finite &= np.isfinite(stored).all(axis=1)
    chosen = finite & stored.any(axis=1)
    counts["without_embedding"] += int(asked.sum() - there.sum())
    counts["not_finite"] += int(there.sum() - finite.sum())
    counts["zero_length"] += int(finite.sum() - chosen.sum())
    return rows, chosen
