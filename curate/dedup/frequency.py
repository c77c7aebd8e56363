"""How often a part occurs in the data set: one count of its occurrences, one of the documents that have it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from curate.config import require_range
from curate.dedup.digest import Digests
from curate.dedup.exchange import BIN_ROWS, Exchange
from curate.dedup.groups import Groups, Rows
from curate.dedup.population import Population
from curate.document.columns import part_names
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Barrier

__all__ = ["PartFrequency"]

OCCURRENCES, DOCUMENTS = "occurrences", "documents"


@dataclass(frozen=True)
class PartFrequency(Barrier):
    """Counts equal parts of all shards. A subclass says which parts it looks at, and when two are equal.

    It looks at parts that `parts_round` keeps, in documents that `documents_round` keeps; where `distinct_urls` is
    set, not in copies of another document by URL. The counts of all other parts are null. `bin_rows`: rows that are
    in memory together, some 100 to 200 bytes each.
    """

    documents_round: str = "read"
    parts_round: str = "read"
    distinct_urls: bool = True
    bin_rows: int = field(default=BIN_ROWS, metadata={"runtime": True})

    def __post_init__(self) -> None:
        require_range("bin_rows", self.bin_rows, 1, 1_000_000_000)

    @property
    @abstractmethod
    def population(self) -> Population:
        """The parts that are counted."""

    @property
    @abstractmethod
    def counted(self) -> tuple[str, str]:
        """What the two columns are called: occurrences, and documents."""

    @abstractmethod
    def digests(self, shard: Shard) -> tuple[int, Rows, Rows, Digests]:
        """How many parts a shard has; of those looked at their rows, their documents, and the digest of what counts
        as equal."""

    @property
    def writes(self) -> tuple[str, ...]:
        return part_names(self.counted)

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        rows = sum(shard.parts.rows() for shard in shards)
        with Exchange(attempt.scratch / "exchange", rows, self.bin_rows) as exchange:
            for shard in shards:
                total, chosen, documents, digests = self.digests(shard)
                exchange.ask(total, chosen, digests, partial(_within_shard, documents))
                attempt.counts["counted"] += len(chosen)
            answers = exchange.answers(partial(_over_shards, attempt))
            for shard, answer in zip(shards, answers, strict=True):
                table = answer.rename_columns(self.counted)
                key = shard.parts.columns(["key"])["key"]
                attempt.write_table(shard.parts.table_name(self.name), table.add_column(0, "key", key))


def _within_shard(documents: Rows, groups: Groups) -> pa.Table:
    """A document is in one shard only, so the numbers of documents add up."""
    of = documents[groups.order]
    new = np.ones(len(of), np.int64)
    new[1:] = of[1:] != of[:-1]
    new[groups.starts] = 1
    several = np.add.reduceat(new, groups.starts) if len(groups) else groups.starts
    return pa.table({OCCURRENCES: groups.sizes, DOCUMENTS: several})


def _over_shards(attempt: Attempt, groups: Groups, found: pa.Table) -> pa.Table:
    attempt.counts["distinct"] += len(groups)
    return pa.table({name: groups.sum(np.asarray(found[name])) for name in (OCCURRENCES, DOCUMENTS)})
