"""Drops rows that a draw leaves out in which rare concepts, or small clusters, weigh more: DataComp's sampling.

`alpha` = 0 gives every concept the same number of draws, 1 as many as it has rows. With `by = "concepts"` this is its
text-based sampling, with the column of a cluster its image-based one (`curate.balance.frequency`). A row may be drawn
more than once, and is then there as often in `subset` and exports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from curate.balance.frequency import DrawByFrequency
from curate.balance.matching import CONCEPTS, MatchConcepts
from curate.balance.metaclip import KEEP_PROBABILITY, MULTIPLICITY
from curate.config import require_range
from curate.filter import Filter, Rules, Scorer, Verdict, verdict
from curate.stage import Work

OPTION = "[filters.frequency_sampling] metadata"


@dataclass(frozen=True)
class FrequencySampling(Filter):
    """Keeps rows that are drawn at least once.

    `by`: `concepts`, which needs `metadata`, a file of them, one a line or a JSON list; or a column that another filter
    writes or the source has, such as a cluster. `over`: the `mean` or the `max` of a row's concepts. One of `count`,
    draws on average, and `fraction` of the rows. `max`: how often a row may be drawn. `among`: rows that the `earlier`
    filters of the config keep, or `all`. `seed` draws others.
    """

    by: str = CONCEPTS
    metadata: str = field(default="", metadata={"runtime": True})
    alpha: float = 0.2
    over: Literal["mean", "max"] = "mean"
    count: int | None = None
    fraction: float | None = None
    max: int = 100
    among: Literal["earlier", "all"] = "earlier"
    seed: int = 0

    reads: ClassVar[tuple[str, ...]] = (KEEP_PROBABILITY, MULTIPLICITY)
    reasons: ClassVar[Mapping[str, str]] = {
        "sampling_value_unknown": "the row has nothing that its chance could follow from",
        "frequent_not_drawn": "the draw, in which frequent ones weigh less, took others",
    }

    def __post_init__(self) -> None:
        if (self.by == CONCEPTS) != bool(self.metadata):
            raise ValueError(f"by = {self.by!r} with metadata = {self.metadata!r}: concepts need a file, others none")
        if (self.count is None) == (self.fraction is None):
            raise ValueError("needs one of count and fraction")
        require_range("alpha", self.alpha, 0, 1)
        require_range("count", self.count, 0, 2**62)
        require_range("fraction", self.fraction, 0, 65_535)
        require_range("max", self.max, 1, 65_535)
        require_range("seed", self.seed, 0, (1 << 63) - 1)

    def identity(self) -> Any:
        """Settings count in the steps that use them; the verdict follows from the columns alone."""
        return {"filter": type(self).__name__, "version": self.version}

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        return (MatchConcepts(self.metadata, OPTION),) if self.by == CONCEPTS else ()

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        rules = earlier if self.among == "earlier" else None
        return (
            DrawByFrequency(
                self.by, self.alpha, self.over, self.count, self.fraction, self.max, rules=rules, seed=self.seed
            ),
        )

    def judge(self, columns: pa.Table) -> Verdict:
        never = pc.equal(columns[KEEP_PROBABILITY], 0.0)
        out = pc.equal(columns[MULTIPLICITY], 0)
        return verdict(len(columns), ("sampling_value_unknown", never), ("frequent_not_drawn", out))
