"""At most so many rows of one host, one language, or one value of any column.

A stock agency or a shop can be a tenth of a crawl: 200 of its pictures teach what 200,000 would. The place of a row
among those of its value is written, so another cap is decided anew without a pass over all shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.balance.places import BIN_ROWS, Asked, Placed, places_in_groups
from curate.config import require_range
from curate.dedup.digest import digest_strings
from curate.dedup.identity import IDENTITY, identities, keyed
from curate.errors import ShardError
from curate.filter import Rules
from curate.manifest import Attempt
from curate.rank import require_one_model
from curate.select import columns_of, decide
from curate.shard import Shard
from curate.stage import Barrier

__all__ = ["PlaceInGroup", "place_column"]


def place_column(by: str) -> str:
    """What the column of places is called."""
    return f"{by}_place"


@dataclass(frozen=True)
class PlaceInGroup(Barrier):
    """Writes `<by>_place`, int64: which of the rows with its value of the column `by` a row is, from 0.

    In the order of the column `prefer`, the highest first, and of what is drawn by `seed`; by that alone where it is
    "". Among the rows that `rules` keep, all where it is None; null for the others, and where `by` or `prefer` is null
    or not a number. `by` may be text, whole numbers or truth values.
    """

    by: str
    prefer: str = ""
    rules: Rules | None = None
    seed: int = 0
    bin_rows: int = field(default=BIN_ROWS, metadata={"runtime": True})

    name: ClassVar[str] = "place"

    def __post_init__(self) -> None:
        require_range("bin_rows", self.bin_rows, 1, 1_000_000_000)

    @property
    def label(self) -> str:
        return f"{self.name}_{self.by}"

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._own, *IDENTITY, *columns_of(self.rules or ()))))

    @property
    def writes(self) -> tuple[str, ...]:
        return (place_column(self.by),)

    @property
    def _own(self) -> tuple[str, ...]:
        return (self.by, self.prefer) if self.prefer else (self.by,)

    def identity(self) -> Any:
        rules = None if self.rules is None else [[name, rule.identity()] for name, rule in self.rules]
        settings = {"by": self.by, "prefer": self.prefer, "seed": self.seed}
        return {"stage": self.label, "version": self.version, "among": rules, **settings}

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        if self.prefer:
            require_one_model(shards, self.prefer)
        answers = places_in_groups(shards, self._ask, attempt.scratch / "places", self.bin_rows)
        for shard, placed in zip(shards, answers, strict=True):
            table = {"key": shard.columns(["key"])["key"], place_column(self.by): place_array(placed)}
            attempt.write_table(shard.table_name(self.label), pa.table(table))
            attempt.counts.update({"in": placed.total, "placed": len(placed.rows)})

    def _ask(self, shard: Shard) -> Asked:
        columns = shard.columns(list(dict.fromkeys((*self._own, *columns_of(self.rules or ())))))
        values = _texts(columns[self.by], shard, self.by)
        chosen = np.asarray(values.is_valid())
        scores = np.zeros(len(columns))
        if self.prefer:
            scores = numbers_of(columns[self.prefer], shard, self.prefer)
            chosen = chosen & ~np.isnan(scores)
        if self.rules:
            chosen = chosen & np.asarray(decide(columns, self.rules)["keep"])
        rows = np.flatnonzero(chosen)
        groups = digest_strings(values.take(pa.array(rows)))
        return Asked(len(columns), rows, groups, scores[rows], keyed(identities(shard)[rows], self.seed))


def place_array(placed: Placed) -> pa.Array:
    """The places as a column, null where a row has none."""
    column, missing = np.zeros(placed.total, np.int64), np.ones(placed.total, bool)
    column[placed.rows], missing[placed.rows] = placed.places, False
    return pa.array(column, mask=missing)


def _texts(values: pa.ChunkedArray, shard: Shard, column: str) -> pa.Array:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    simple = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
    if not any(test(kind) for test in simple):
        raise ShardError(f"shard {shard.id}: {column} is a column of {kind}; a cap counts texts and whole numbers")
    flat = values.cast(kind).cast(pa.large_string()).combine_chunks()
    return flat if isinstance(flat, pa.Array) else pa.array([], pa.large_string())


def numbers_of(values: pa.ChunkedArray, shard: Shard, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The column as float64, not a number where it is null, -0 as 0. Raises ShardError for anything else."""
    kind = values.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise ShardError(f"shard {shard.id}: {column} is a column of {kind}; an order needs numbers")
    filled = pc.fill_null(values.cast(pa.float64(), safe=False), np.nan)
    return np.asarray(filled, np.float64) + 0.0
