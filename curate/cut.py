"""Filters of one score: by value, by the best share of all rows, or by the best number of rows.

A share or a count needs each row's place among all (`curate.rank`), which is computed once; changing the share
afterwards costs a `select`. DataComp's rule is one of two: of n rows and a fraction f it takes the value at place
int(n * f), counted from 0, as a threshold and keeps what reaches it, so one row more than asked for, and all ties; at
f = 1 it fails. The other keeps exactly int(n * f) rows, with ties broken by what the row is.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.filter import Filter, Rules, Verdict, above, below, check_bounds, verdict
from curate.gauge import Gauge
from curate.rank import Rank, rank_columns
from curate.stage import Work

__all__ = ["Cut"]


@dataclass(frozen=True)
class Cut(Filter):
    """Keeps rows by one score. At least one bound must be given.

    `min`, `max`: by value, both included. `fraction` (0 to 1) or `count`: the best rows. `ties`: `exact` keeps exactly
    that many, `datacomp` also the next one and all that equal it. `among`: places are counted among `all` rows with a
    score, or among those that the `earlier` filters of the config keep. `of`: a fraction is of `all` rows with a score,
    so that "the best 30 % by one, then down to 20 % of the whole by another" can be said, or of what is `left`.

    A row without a score, or whose score is not a number, gets the reason `unknown`: it is never taken for a good one.
    """

    min: float | None = None
    max: float | None = None
    fraction: float | None = None
    count: int | None = None
    ties: Literal["exact", "datacomp"] = "exact"
    among: Literal["all", "earlier"] = "all"
    of: Literal["all", "left"] = "all"

    too_low: ClassVar[str]
    too_high: ClassVar[str]
    not_best: ClassVar[str]
    unknown: ClassVar[str]

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max, least=-float("inf"))
        require_range("fraction", self.fraction, 0, 1)
        require_range("count", self.count, 0, 2**62)
        if self.fraction is not None and self.count is not None:
            raise ValueError(f"fraction = {self.fraction!r} and count = {self.count!r} are both given; keep one")
        if self.of == "left" and self.among == "all":
            raise ValueError('of = "left" needs among = "earlier": without it nothing was taken away')
        if self.min is None and self.max is None and not self.ranks:
            raise ValueError("has no bound; give min, max, fraction or count")

    @property
    @abstractmethod
    def score(self) -> str:
        """The column that is judged."""

    @property
    def ranks(self) -> bool:
        """Whether a place among all rows is needed."""
        return self.fraction is not None or self.count is not None

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.score, *(rank_columns(self.score, self.among == "earlier") if self.ranks else ()))

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """The score, unless places are judged too: a row that a moved bound lets in may be none of the best."""
        own = Gauge(self.score, (self.score,), self.min, self.max, self.too_low, self.too_high)
        return () if self.ranks else (own,)

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        """The rank, after what writes the score (overridden where that is no scorer)."""
        rules = earlier if self.among == "earlier" else None
        return (Rank(self.score, rules, of_the_left=self.of == "left"),) if self.ranks else ()

    def judge(self, columns: pa.Table) -> Verdict:
        values = columns[self.score]
        rules = [
            (self.unknown, pc.is_null(values, nan_is_null=True)),
            (self.too_low, below(values, self.min)),
            (self.too_high, above(values, self.max)),
        ]
        if self.ranks:
            rules.append((self.not_best, self._beyond(columns)))
        return verdict(len(columns), *rules)

    def _beyond(self, columns: pa.Table) -> pa.ChunkedArray:
        """True for a row whose place is past the share or the number; null where it has no place."""
        rank, above_it, total = (columns[name] for name in rank_columns(self.score, self.among == "earlier"))
        if self.count is not None:
            most = pa.chunked_array([pa.array(np.full(len(columns), self.count, np.int64))])
        else:
            most = pc.cast(pc.floor(pc.multiply(total.cast(pa.float64()), self.fraction)), pa.int64())
        return pc.greater(above_it, most) if self.ties == "datacomp" else pc.greater_equal(rank, most)
