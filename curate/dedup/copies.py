"""Of documents that are equal in something, one is kept, and the others say which."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.dedup.digest import Digests
from curate.dedup.exchange import BIN_ROWS, Exchange
from curate.dedup.groups import Groups, Rows
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Barrier

__all__ = ["Copies", "Keep", "first_of"]

Keep = Literal["latest", "earliest"]
CANDIDATE = ("crawl_date", "source_file", "key")
"""What decides between copies, the first difference first."""


@dataclass(frozen=True)
class Copies(Barrier):
    """Finds documents that are equal. A subclass says which ones it looks at, and when two are equal.

    `keep`: "latest" keeps the one with the last `crawl_date` (ISO 8601, compared as text), of equal dates the one of
    the last `source_file`, then the one with the last key; "earliest" the first by the same three. A document without
    a date, or without a file, yields to one that has it, either way. `bin_rows`: rows that are in memory together,
    some 200 to 400 bytes each.
    """

    keep: Keep = "latest"
    documents_round: str = "read"
    bin_rows: int = field(default=BIN_ROWS, metadata={"runtime": True})

    def __post_init__(self) -> None:
        require_range("bin_rows", self.bin_rows, 1, 1_000_000_000)

    @property
    @abstractmethod
    def column(self) -> str:
        """What the column is called that has the key of the document kept."""

    @abstractmethod
    def digests(self, shard: Shard) -> tuple[Rows, Digests]:
        """The documents that are looked at, each row at most once, and the digest of what counts as equal."""

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.column,)

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        rows = sum(shard.rows() for shard in shards)
        with Exchange(attempt.scratch / "exchange", rows, self.bin_rows) as exchange:
            for shard in shards:
                chosen, digests = self.digests(shard)
                candidates = _candidates(shard)
                exchange.ask(
                    len(candidates), chosen, digests, partial(_best, self.keep, candidates=candidates.take(chosen))
                )
                attempt.counts["compared"] += len(chosen)
            answers = exchange.answers(partial(_best, self.keep))
            for shard, answer in zip(shards, answers, strict=True):
                key = shard.columns(["key"])["key"]
                copy_of = pc.if_else(pc.equal(answer["key"], key), pa.scalar(None, pa.string()), answer["key"])
                attempt.write_table(shard.table_name(self.name), pa.table({"key": key, self.column: copy_of}))
                attempt.counts["copies"] += len(copy_of) - copy_of.null_count


def first_of(keep: Keep, groups: Groups, candidates: pa.Table) -> Rows:
    """The row of each group that is to be kept. `candidates` has the columns that decide; keys differ.

    Arrow puts nulls last, whichever way it sorts.
    """
    several = groups.sizes > 1
    best = groups.order[groups.starts]
    of, rows = groups.numbers, groups.order
    of, rows = of[several[of]], rows[several[of]]
    direction = "descending" if keep == "latest" else "ascending"
    table = candidates.take(rows).append_column("group", pa.array(of))
    ranking = [("group", "ascending"), *((name, direction) for name in CANDIDATE)]
    ranked = np.asarray(pc.sort_indices(table, sort_keys=ranking))
    best[several] = rows[ranked[np.unique(of, return_index=True)[1]]]
    return best


def _best(keep: Keep, groups: Groups, candidates: pa.Table) -> pa.Table:
    return candidates.take(first_of(keep, groups, candidates))


def _candidates(shard: Shard) -> pa.Table:
    """Text with wide offsets, for a bin of it may have more than 2 GiB."""
    return shard.columns(CANDIDATE).cast(pa.schema([(name, pa.large_string()) for name in CANDIDATE]))
