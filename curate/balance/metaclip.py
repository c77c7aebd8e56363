"""MetaCLIP's balance: a concept that more than `cap` rows have gets about `cap` of them, a rarer one gets all.

    count[e]  rows that have concept e        p[e] = cap / max(count[e], cap)        P(row) = 1 - product of 1 - p[e]

A row is kept when any of its concepts takes it. Where MetaCLIP (Xu et al. 2023) asks a random generator for each row
and concept of it, a hash of the row's identity, the concept and a seed is asked, so order, packing and workers change
nothing, and a larger cap only adds rows. Copies of one row (same URL, caption and picture) are drawn together.

The size can be given instead of the cap: the sum of P is known before anything is drawn. Three passes over the column
of concepts then become about eight, one for every 32 caps that are tried at once. Memory is 8 bytes for each entry, and
one shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.balance.curve import balance_curve
from curate.balance.extras import require_modules
from curate.balance.matching import CONCEPTS
from curate.balance.metadata import read_metadata
from curate.dedup.identity import IDENTITY, identities, keyed
from curate.errors import ShardError
from curate.filter import Rules
from curate.manifest import Attempt
from curate.rank import require_one_model
from curate.select import columns_of, decide
from curate.shard import Shard
from curate.stage import Barrier, Runtime

__all__ = ["KEEP_PROBABILITY", "MULTIPLICITY", "BalanceConcepts"]

KEEP_PROBABILITY = "keep_probability"
MULTIPLICITY = "multiplicity"
Counts = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
CURVE = "metaclip_balance/curve.json"


class _Rows(NamedTuple):
    """The rows of a shard that are balanced, and the concepts of each: numbers[offsets[i]:offsets[i + 1]]."""

    total: int
    rows: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.uint32]


@dataclass(frozen=True)
class BalanceConcepts(Barrier):
    """Writes `keep_probability` (float64) and `multiplicity` (uint16: 1 is kept, 0 is not), and the balance curve.

    By `cap`, or so that about `count` rows stay, or a `fraction` of the rows that are balanced. These are the ones that
    `rules` keep, all where it is None; the others have null in both columns. `metadata` is the file of entries.
    """

    metadata: str
    cap: float | None = None
    count: int | None = None
    fraction: float | None = None
    rules: Rules | None = None
    seed: int = 0
    option: str = field(default="metadata", metadata={"runtime": True})

    name: ClassVar[str] = "metaclip_balance"

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((CONCEPTS, *IDENTITY, *columns_of(self.rules or ()))))

    @property
    def writes(self) -> tuple[str, ...]:
        return (KEEP_PROBABILITY, MULTIPLICITY)

    def identity(self) -> Any:
        rules = None if self.rules is None else [[name, rule.identity()] for name, rule in self.rules]
        settings = {"cap": self.cap, "count": self.count, "fraction": self.fraction, "seed": self.seed}
        digest = read_metadata(self.metadata, self.option).digest
        return {"stage": self.label, "version": self.version, "metadata": digest, "among": rules, **settings}

    def require(self, runtime: Runtime) -> None:
        require_modules("[filters.metaclip_balance]", "dedup", "numba")
        read_metadata(self.metadata, self.option)

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        require_one_model(shards, CONCEPTS)
        entries = read_metadata(self.metadata, self.option).entries
        before, after = np.zeros(len(entries), np.int64), np.zeros(len(entries), np.int64)
        for own in self._each(shards):
            before += np.bincount(own.numbers, minlength=len(entries))
            attempt.counts.update({"in": len(own.rows), "with_concept": int((np.diff(own.offsets) > 0).sum())})
        cap = self.cap if self.cap is not None else self._solved(shards, before, attempt.counts["in"])
        expected = 0
        for shard, own in zip(shards, self._each(shards), strict=True):
            probability, taken = self._drawn(shard, own, before, cap)
            after += np.bincount(own.numbers[np.repeat(taken, np.diff(own.offsets))], minlength=len(entries))
            attempt.write_table(shard.table_name(self.label), _table(shard, own, probability, taken))
            attempt.counts["kept"] += int(taken.sum())
            expected += int(np.rint(probability * 2**30).sum())
        counts = {f"{name}_rows": attempt.counts[name] for name in ("in", "with_concept", "kept")}
        sums = {"incidences": int(before.sum()), "expected_rows": round(expected / 2**30, 3)}
        about = {"cap": cap, "entries": len(entries), **sums, **counts}
        attempt.write_bytes(CURVE, balance_curve(entries, before, after, about))

    def _each(self, shards: Sequence[Shard]) -> Iterator[_Rows]:
        return (self._balanced(shard) for shard in shards)

    def _balanced(self, shard: Shard) -> _Rows:
        columns = shard.columns(list(dict.fromkeys((CONCEPTS, *columns_of(self.rules or ())))))
        concepts = _lists(columns[CONCEPTS], shard)
        rows = np.arange(len(columns))
        if self.rules:
            rows = np.flatnonzero(np.asarray(decide(columns, self.rules)["keep"]))
            concepts = concepts.take(pa.array(rows))
        lengths = np.asarray(pc.fill_null(pc.list_value_length(concepts), 0))
        numbers = np.asarray(pc.list_flatten(concepts))
        entries = len(read_metadata(self.metadata, self.option).entries)
        if len(numbers) and numbers.max() >= entries:
            raise ShardError(
                f"shard {shard.id}: {CONCEPTS} has number {numbers.max()}, and {self.option} = {self.metadata!r} has "
                f"{entries} entries; it was matched with another list, delete the column and run again"
            )
        return _Rows(len(columns), rows, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), numbers)

    def _solved(self, shards: Sequence[Shard], counts: Counts, rows: int) -> float:
        """The cap for the size that is asked for; `rows` are those that are balanced."""
        from curate.balance.draws import UNIT, probe_sums, solve_cap

        def expected(caps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            sums = np.zeros(len(caps), np.uint64)
            for own in self._each(shards):
                sums += probe_sums(own.offsets, own.numbers, counts, caps)
            return sums / UNIT

        target = self.count if self.count is not None else int((self.fraction or 0.0) * rows)
        return solve_cap(target, float(counts.max(initial=1)), expected)[0]

    def _drawn(self, shard: Shard, own: _Rows, counts: Counts, cap: float) -> tuple[Reals, npt.NDArray[np.bool_]]:
        """The chance of each row that is balanced, and whether it is taken."""
        from curate.balance.draws import chances, drawn, keep_probabilities

        chance = chances(counts, cap)
        keys = keyed(identities(shard)[own.rows], self.seed)
        return (
            keep_probabilities(own.offsets, own.numbers, chance),
            drawn(own.offsets, own.numbers, chance, keys),
        )


def _table(shard: Shard, own: _Rows, probability: Reals, taken: npt.NDArray[np.bool_]) -> pa.Table:
    missing = np.ones(own.total, bool)
    missing[own.rows] = False
    table = {"key": shard.columns(["key"])["key"]}
    for name, values, kind in ((KEEP_PROBABILITY, probability, np.float64), (MULTIPLICITY, taken, np.uint16)):
        column = np.zeros(own.total, kind)
        column[own.rows] = values
        table[name] = pa.array(column, mask=missing)
    return pa.table(table)


def _lists(values: pa.ChunkedArray, shard: Shard) -> pa.Array:
    """The concepts of each row. Raises ShardError for a column of anything else."""
    kind = values.type
    if not (pa.types.is_list(kind) and pa.types.is_uint32(kind.value_type)) or pc.list_flatten(values).null_count:
        raise ShardError(f"shard {shard.id}: {CONCEPTS} is a column of {kind}, not lists of uint32 without nulls")
    return values.combine_chunks() if values.num_chunks else pa.array([], kind)
