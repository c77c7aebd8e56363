"""Drops pictures that another one shows as well: SemDeDup (Abbas et al. 2023), near duplicates by their embeddings.

`max` is the paper's 1 - eps: by its authors' table .97 keeps 72 % of LAION-440M, .93 63 % and .876 half, which is a
matter of the model and of the data. `keep = "middle"` was better than the paper's "farthest" in an independent
replication (66.7 % of ImageNet instead of 66.3, github.com/Isaachhe/Dataset-Pruning). `mode = "paper"` judges a column
that no bound has gone into, so another `max` costs a `select`; the two others compare again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.semantic import Keep, Mode, SemanticDuplicates, semantic_columns
from curate.filter import Filter, Rules, Verdict, above, check_bounds, verdict
from curate.gauge import Gauge
from curate.stage import Work


@dataclass(frozen=True)
class SemanticDuplicate(Filter):
    """Keeps pictures whose cosine with those before them in their cell is at most `max`, included.

    `model` made the embeddings. `mode`: `paper`, where a dropped picture still stands for those behind it; `greedy`,
    where only kept ones count; `components`, where one is kept of all that are connected by cosines above `max`. `keep`
    and `prefer` say which one comes first, `among` whether only rows that the `earlier` filters keep are compared, so
    that none falls to a copy that is dropped itself. `cells`, `iterations`, `sample_rows` and `seed`: how cells are
    found and what they miss (`curate.dedup.semantic`).
    """

    max: float = 0.95
    model: str = "clip"
    mode: Mode = "paper"
    keep: Keep = "farthest"
    prefer: tuple[str, ...] = ()
    cells: int = 0
    iterations: int = 20
    sample_rows: int = 1_000
    seed: int = 0
    among: Literal["earlier", "all"] = "earlier"

    reads: ClassVar[tuple[str, ...]] = tuple(
        column for mode in ("paper", "greedy", "components") for column in semantic_columns(mode)
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "semantic_duplicate": "another picture shows nearly the same",
        "semantic_similarity_unknown": "the picture has no embedding that could be compared with others",
    }

    def __post_init__(self) -> None:
        check_bounds(None, self.max, most=1)
        self._step()

    @property
    def columns(self) -> tuple[str, ...]:
        return semantic_columns(self.mode) if self.mode == "components" else semantic_columns(self.mode)[:1]

    def identity(self) -> Any:
        """Settings count in the step that uses them; the verdict follows from the columns and the bound."""
        return {"filter": type(self).__name__, "version": self.version, "mode": self.mode, "max": self.max}

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        return (self._step(earlier if self.among == "earlier" else ()),)

    def _step(self, rules: Rules = ()) -> SemanticDuplicates:
        limit = None if self.mode == "paper" else self.max
        return SemanticDuplicates(
            self.model,
            self.mode,
            limit,
            self.keep,
            self.prefer,
            self.cells,
            self.iterations,
            self.sample_rows,
            self.seed,
            rules,
        )

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """None where the bound has gone into the column: with another one, other rows would stand for a picture."""
        own = Gauge(self.columns[0], self.columns[:1], max=self.max, too_high="semantic_duplicate")
        return (own,) if self.mode == "paper" else ()

    def judge(self, columns: pa.Table) -> Verdict:
        number = columns[self.columns[0]]
        if self.mode == "components":
            unknown, near = pc.equal(number, 0), pc.is_valid(columns[self.columns[1]])
        else:
            unknown, near = pc.is_nan(number), above(number, self.max)
        return verdict(len(columns), ("semantic_similarity_unknown", unknown), ("semantic_duplicate", near))
