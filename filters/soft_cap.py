"""Drops rows that soft-cap sampling does not draw; those that it draws more than once get a multiplicity (FLYT).

By a score column, such as one that was brought in by `imported`: the better the score the oftener a row is drawn, and
each draw makes the next less likely (`curate.balance.soft_cap`). FLYT's list for DataComp's medium scale has as many
draws as the pool has rows (`fraction = 1.0`). Exports write a row as often as its `multiplicity` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from curate.balance.metaclip import MULTIPLICITY
from curate.balance.soft_cap import DrawBySoftCap
from curate.config import require_range
from curate.filter import Filter, Rules, Verdict, verdict
from curate.stage import Work


@dataclass(frozen=True)
class SoftCap(Filter):
    """Keeps rows that are drawn by the column `score`, divided by `temperature`.

    `count` draws in all, or `fraction` times as many as rows with a score (above 1 if need be). `batch` rows are drawn
    at a time (0: a 1,280th of all draws, as FLYT); each draw takes `penalty` off, and none is drawn more than `max`
    times. `among`: rows that the `earlier` filters of the config keep, or `all`. CLIP similarities differ by a few
    hundredths: with a temperature of 1 they make hardly any difference, .02 is a place to begin.
    """

    score: str = ""
    count: int | None = None
    fraction: float | None = None
    batch: int = 0
    penalty: float = 0.15
    max: int = 15
    temperature: float = 1.0
    among: Literal["earlier", "all"] = "earlier"
    seed: int = 0

    reads: ClassVar[tuple[str, ...]] = ("score", MULTIPLICITY)
    reasons: ClassVar[Mapping[str, str]] = {
        "draw_score_unknown": "the score to draw by is not known",
        "not_drawn": "others were drawn, most of them with a better score",
    }

    def __post_init__(self) -> None:
        if not self.score:
            raise ValueError('needs score = "a column of numbers"')
        if (self.count is None) == (self.fraction is None):
            raise ValueError("needs one of count and fraction")
        require_range("count", self.count, 0, 2**62)
        require_range("fraction", self.fraction, 0, 65_535)
        require_range("batch", self.batch, 0, 2**62)
        require_range("penalty", self.penalty, 0, 1e9)
        require_range("max", self.max, 1, 65_535)
        require_range("temperature", self.temperature, 1e-9, 1e9)
        require_range("seed", self.seed, 0, (1 << 63) - 1)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.score, MULTIPLICITY)

    def identity(self) -> Any:
        """Settings count in the step that draws; the verdict follows from the columns alone."""
        return {"filter": type(self).__name__, "version": self.version, "score": self.score}

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        draw = DrawBySoftCap(
            self.score,
            self.count,
            self.fraction,
            self.batch,
            self.penalty,
            self.max,
            self.temperature,
            earlier if self.among == "earlier" else None,
            self.seed,
        )
        return (draw,)

    def judge(self, columns: pa.Table) -> Verdict:
        unknown = pc.is_null(columns[self.score], nan_is_null=True)
        return verdict(len(columns), ("draw_score_unknown", unknown), ("not_drawn", pc.equal(columns[MULTIPLICITY], 0)))
