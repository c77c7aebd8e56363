"""Drops rows whose concepts are everywhere, so that rare ones weigh more: MetaCLIP's balance (Xu et al. 2023).

Captions are matched with a list of concepts (`curate.balance.matching`); a concept that more than `cap` rows have gets
about `cap` of them, a rarer one gets all (`curate.balance.metaclip`). MetaCLIP takes 20,000 (its t) for 400 million
pairs and 170,000 for 2.5 billion, always as the last step. The list is the user's own, for theirs is not free;
`curate.balance.vocabulary` builds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from curate.balance.matching import MatchConcepts
from curate.balance.metaclip import KEEP_PROBABILITY, MULTIPLICITY, BalanceConcepts
from curate.config import require_range
from curate.filter import Filter, Rules, Scorer, Verdict, verdict
from curate.stage import Work

OPTION = "[filters.metaclip_balance] metadata"


@dataclass(frozen=True)
class MetaclipBalance(Filter):
    """Keeps rows that a draw by their concepts keeps; rows without a concept are dropped.

    `metadata`: a file of concepts, one a line or a JSON list. One of: `cap`, rows that a concept gets; `count`, about
    how many rows stay in all; `fraction` (0 to 1), the same as a share of the rows that are balanced. `among`: those
    that the `earlier` filters of the config keep, or `all`. `seed` draws others.
    """

    metadata: str = field(default="", metadata={"runtime": True})
    cap: float | None = None
    count: int | None = None
    fraction: float | None = None
    among: Literal["earlier", "all"] = "earlier"
    seed: int = 0

    reads: ClassVar[tuple[str, ...]] = (KEEP_PROBABILITY, MULTIPLICITY)
    reasons: ClassVar[Mapping[str, str]] = {
        "no_concept": "the caption has no concept of the list, or there is none",
        "frequent_concepts_sampled_out": "all its concepts have more rows than they may keep, and the draw took others",
    }

    def __post_init__(self) -> None:
        if not self.metadata:
            raise ValueError('needs metadata = "a file of concepts"')
        if sum(value is not None for value in (self.cap, self.count, self.fraction)) != 1:
            raise ValueError("needs one of cap, count and fraction")
        require_range("cap", self.cap, 1, 1e15)
        require_range("count", self.count, 0, 2**62)
        require_range("fraction", self.fraction, 0, 1)
        require_range("seed", self.seed, 0, (1 << 63) - 1)

    def identity(self) -> Any:
        """Settings count in the steps that use them; the verdict follows from the columns alone."""
        return {"filter": type(self).__name__, "version": self.version}

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        return (MatchConcepts(self.metadata, OPTION),)

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        rules = earlier if self.among == "earlier" else None
        return (BalanceConcepts(self.metadata, self.cap, self.count, self.fraction, rules, self.seed, OPTION),)

    def judge(self, columns: pa.Table) -> Verdict:
        never = pc.equal(columns[KEEP_PROBABILITY], 0.0)
        out = pc.equal(columns[MULTIPLICITY], 0)
        return verdict(len(columns), ("no_concept", never), ("frequent_concepts_sampled_out", out))
