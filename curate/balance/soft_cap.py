"""Soft-cap sampling: the better a row scores the oftener it is drawn, and each draw makes the next one less likely.

Of FLYT (Shechter and Carmon 2025), whose list for DataComp's medium scale is the best published one: logits are scores;
100,000 rows at a time are drawn without replacement by softmax, 0.15 is taken off the logits of those drawn, until 128
million draws of 128 million rows are made; none is drawn more than 15 times. The result is a list with multiplicities.

Draws are a hash of the row's identity, the round and a seed, so order and packing change nothing. Rounds follow one
another, so all rows are in memory together: some 90 bytes each while they are sorted, 11.5 GB for 128 million. Copies
of a row have the same noise, so they are drawn in the same rounds or one round apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.balance.caps import numbers_of
from curate.balance.extras import require_modules
from curate.balance.metaclip import MULTIPLICITY
from curate.config import require_range
from curate.dedup.identity import IDENTITY, identities, keyed
from curate.filter import Rules
from curate.manifest import Attempt
from curate.rank import require_one_model
from curate.select import columns_of, decide
from curate.shard import Shard
from curate.stage import Barrier, Runtime

__all__ = ["ROUNDS", "DrawBySoftCap"]

ROUNDS = 1_280
"""Rounds of FLYT: draws over the batch, where no batch is given."""


@dataclass(frozen=True)
class DrawBySoftCap(Barrier):
    """Writes `multiplicity`, uint16: how often a row was drawn, 0 also for one without a finite score.

    Among the rows that `rules` keep, all where it is None; null for the others. `count` draws in all, or `fraction`
    times as many as there are rows with a score. `batch` 0: so many that there are ROUNDS rounds. `temperature` divides
    the scores.
    """

    score: str
    count: int | None = None
    fraction: float | None = None
    batch: int = 0
    penalty: float = 0.15
    most: int = 15
    temperature: float = 1.0
    rules: Rules | None = None
    seed: int = 0

    name: ClassVar[str] = "soft_cap"

    def __post_init__(self) -> None:
        require_range("most", self.most, 1, (1 << 16) - 1)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.score, *IDENTITY, *columns_of(self.rules or ()))))

    @property
    def writes(self) -> tuple[str, ...]:
        return (MULTIPLICITY,)

    def identity(self) -> Any:
        rules = None if self.rules is None else [[name, rule.identity()] for name, rule in self.rules]
        names = ("score", "count", "fraction", "batch", "penalty", "most", "temperature", "seed")
        settings = {name: getattr(self, name) for name in names}
        return {"stage": self.label, "version": self.version, "among": rules, **settings}

    def require(self, runtime: Runtime) -> None:
        require_modules("[filters.soft_cap]", "dedup", "numba")

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        require_one_model(shards, self.score)
        scores, digests = [np.empty(0)], [np.empty((0, 2), np.uint64)]
        for shard in shards:
            values, among = self._scores(shard)
            rows = np.flatnonzero(among & np.isfinite(values))
            scores.append(values[rows])
            digests.append(identities(shard)[rows])
        ends = np.cumsum([len(part) for part in scores])
        taken = self._drawn(np.concatenate(scores), np.concatenate(digests))
        for shard, start, end in zip(shards, ends[:-1], ends[1:], strict=True):
            attempt.write_table(shard.table_name(self.name), self._table(shard, taken[start:end]))
        drawn = {"drawn": int(taken.sum()), "kept": int((taken > 0).sum()), "scored": len(taken)}
        attempt.counts.update(drawn)

    def _scores(self, shard: Shard) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """The scores of a shard, and which rows may be drawn if they have one."""
        columns = shard.columns(list(dict.fromkeys((self.score, *columns_of(self.rules or ())))))
        among = np.ones(len(columns), bool)
        if self.rules:
            among = np.asarray(decide(columns, self.rules)["keep"])
        return numbers_of(columns[self.score], shard, self.score), among

    def _drawn(self, scores: npt.NDArray[np.float64], digests: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint16]:
        """How often each row is drawn, in the order of what rows are: the first of equals is always the same."""
        from curate.balance.rounds import Rounds, draw_rounds

        order = np.lexsort((scores, digests[:, 1], digests[:, 0]))
        draws = self.count if self.count is not None else int((self.fraction or 0.0) * len(scores))
        batch = self.batch or max(1, -(-draws // ROUNDS))
        plan = Rounds(draws, batch, self.penalty, self.most)
        taken = np.empty(len(scores), np.uint16)
        taken[order] = draw_rounds(scores[order] / self.temperature, keyed(digests, self.seed)[order], plan)
        return taken

    def _table(self, shard: Shard, taken: npt.NDArray[np.uint16]) -> pa.Table:
        values, among = self._scores(shard)
        column = np.zeros(len(values), np.uint16)
        column[among & np.isfinite(values)] = taken
        return pa.table({"key": shard.columns(["key"])["key"], MULTIPLICITY: pa.array(column, mask=~among)})
