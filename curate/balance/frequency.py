"""DataComp's sampling: a row is drawn the more often, the rarer its concepts, or its cluster, are.

    weight(row) = mean or max over its concepts j of N_j^(alpha - 1)        N_j: rows that have j

So a concept gets about N_j^alpha of the draws: all alike at 0, in proportion to how many there are at 1 (Gadre et al.
2023, text-based and image-based sampling, appendix; the best alpha for clusters of pictures was .2, and none of it beat
their filters). DataComp draws with replacement and discards repeats beyond 100. Here each row is drawn by itself: how
often follows a Poisson law with the mean that its weight gives, which is what drawing with replacement comes to, by a
hash of what the row is, so order, packing and workers change nothing. The number of draws is met on average.

Three passes over one column; memory is a number per different value, and one shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.balance.metaclip import KEEP_PROBABILITY, MULTIPLICITY
from curate.dedup.identity import IDENTITY, identities, keyed
from curate.filter import Rules
from curate.manifest import Attempt
from curate.select import columns_of, decide
from curate.shard import Shard
from curate.stage import Barrier

__all__ = ["DrawByFrequency", "poisson_draws"]

Reals = npt.NDArray[np.float64]
UNIT = 2.0**40
NORMAL_FROM = 500.0
"""Means above which the law is taken for a normal one: its first term is too small for a float soon after."""


@dataclass(frozen=True)
class DrawByFrequency(Barrier):
    """Writes `keep_probability` (float64) and `multiplicity` (uint16) for rows that `rules` keep, all where it is None.

    `column` is a list of concepts a row, or one value (a cluster); a row without a value is never drawn. `count`, or
    `fraction` of the rows, is how many draws there are on average; a row is there at most `most` times.
    """

    column: str
    alpha: float
    over: Literal["mean", "max"] = "mean"
    count: int | None = None
    fraction: float | None = None
    most: int = 100
    rules: Rules | None = None
    seed: int = 0

    name: ClassVar[str] = "frequency_sampling"

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.column, *IDENTITY, *columns_of(self.rules or ()))))

    @property
    def writes(self) -> tuple[str, ...]:
        return (KEEP_PROBABILITY, MULTIPLICITY)

    def identity(self) -> Any:
        rules = None if self.rules is None else [[name, rule.identity()] for name, rule in self.rules]
        settings = [self.column, self.alpha, self.over, self.count, self.fraction, self.most, self.seed]
        return [self.label, self.version, settings, rules]

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        counts: dict[Any, int] = {}
        for shard in shards:
            rows, values, _ = self._values(shard)
            attempt.counts["in"] += len(rows)
            for entry in pc.value_counts(values).to_pylist():
                counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
        rare = pa.array(counts, values.type) if shards and counts else pa.nulls(0)
        weight_of = np.array([float(n) for n in counts.values()]) ** (self.alpha - 1)
        total = sum(int(np.rint(self._weights(shard, rare, weight_of)[1] * UNIT).sum()) for shard in shards)
        draws = self.count if self.count is not None else (self.fraction or 0.0) * attempt.counts["in"]
        for shard in shards:
            rows, weights = self._weights(shard, rare, weight_of)
            means = weights * (draws * UNIT / total if total else 0.0)
            times = poisson_draws(means, keyed(identities(shard)[rows], self.seed), self.most)
            attempt.counts.update({"drawn": int(times.sum()), "kept": int((times > 0).sum())})
            attempt.counts["at_most"] += int((times == self.most).sum())
            attempt.write_table(shard.table_name(self.label), _table(shard, rows, means, times))

    def _values(self, shard: Shard) -> tuple[npt.NDArray[np.int64], pa.Array, npt.NDArray[np.int64]]:
        """The rows that may be drawn, all their values, and whose each value is, as a place in these rows."""
        columns = shard.columns(list(dict.fromkeys((self.column, *columns_of(self.rules or ())))))
        keep = np.ones(len(columns), bool)
        if self.rules:
            keep = np.asarray(decide(columns, self.rules)["keep"], bool)
        rows = np.flatnonzero(keep)
        chunked = columns[self.column].take(pa.array(rows))
        values = chunked.combine_chunks() if chunked.num_chunks else pa.array([], chunked.type)
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            return rows, pc.list_flatten(values), np.asarray(pc.list_parent_indices(values), np.int64)
        there = np.asarray(values.is_valid())
        return rows, values.drop_null(), np.flatnonzero(there)

    def _weights(self, shard: Shard, known: pa.Array, weight_of: Reals) -> tuple[npt.NDArray[np.int64], Reals]:
        """The rows that may be drawn, and the weight of each; 0 for one without a value."""
        rows, values, owner = self._values(shard)
        weights = np.zeros(len(rows))
        if not len(values):
            return rows, weights
        own = weight_of[np.asarray(pc.index_in(values, known), np.int64)]
        if self.over == "max":
            np.maximum.at(weights, owner, own)
            return rows, weights
        each = np.bincount(owner, minlength=len(rows))
        sums = np.bincount(owner, own, len(rows))
        return rows, np.where(each > 0, sums / np.maximum(each, 1), 0.0)


def poisson_draws(means: Reals, keys: npt.NDArray[np.uint64], most: int) -> npt.NDArray[np.int64]:
    """How often each row is drawn, at most `most`: the quantile of Poisson's law at a number that its key gives."""
    uniform = (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53
    times = np.zeros(len(means), np.int64)
    with np.errstate(under="ignore"):
        term = np.exp(-means)
        below = term.copy()
        for number in range(1, most + 1):
            more = uniform >= below
            if not more.any():
                break
            times[more] = number
            term = term * means / number
            below += term
    large = means > NORMAL_FROM
    if large.any():
        place = NormalDist().inv_cdf
        spread = np.sqrt(means[large]) * [place(max(u, 2.0**-53)) for u in uniform[large].tolist()]
        times[large] = np.clip(np.rint(means[large] + spread), 0, most)
    return times


def _table(shard: Shard, rows: npt.NDArray[np.int64], means: Reals, times: npt.NDArray[np.int64]) -> pa.Table:
    key = shard.columns(["key"])["key"]
    missing = np.ones(len(key), bool)
    missing[rows] = False
    table = {"key": key}
    for name, values, kind in ((KEEP_PROBABILITY, -np.expm1(-means), np.float64), (MULTIPLICITY, times, np.uint16)):
        column = np.zeros(len(key), kind)
        column[rows] = values
        table[name] = pa.array(column, mask=missing)
    return pa.table(table)
