"""Drops samples by a score that somebody else computed: a column of Parquet files by uid, or one of the source.

With `path` the column is brought in by `curate.imported.Import`; without, it is one that came with the source, such as
LAION's `similarity`. Several stand side by side as `[filters.imported-LABEL]`. A row for which the files have no score
is dropped, for nobody knows whether it is good; how many that are stands in the report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.cut import Cut
from curate.errors import ConfigError
from curate.filter import Rules, Verdict
from curate.imported import By, Import, score_type
from curate.source.url_table import RESERVED
from curate.stage import Work

TAKEN = RESERVED | {"image", "source", "uid"}


@dataclass(frozen=True)
class Imported(Cut):
    """Bounds as `curate.cut.Cut` has them. `path`, `column`, `id_column` and `by` as `curate.imported.Import` has them;
    `name` is what the column is called here, where the files' own name is taken or cannot be one."""

    path: str = ""
    column: str = ""
    id_column: str = "uid"
    by: By = "uid"
    name: str = ""

    reads: ClassVar[tuple[str, ...]] = ("score",)
    too_low: ClassVar[str] = "imported_score_too_low"
    too_high: ClassVar[str] = "imported_score_too_high"
    not_best: ClassVar[str] = "imported_score_not_among_best"
    unknown: ClassVar[str] = "imported_score_unknown"
    reasons: ClassVar[Mapping[str, str]] = {
        "imported_score_unknown": "no score was brought along for it",
        "imported_score_too_low": "a score that was brought along is too low",
        "imported_score_too_high": "a score that was brought along is too high",
        "imported_score_not_among_best": "others have a better score that was brought along",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.column:
            raise ValueError("needs a value for 'column': the score that is judged")
        if self.name and not self.path:
            raise ValueError(f"name = {self.name!r}: a column of the source keeps its name; leave `name` out")
        if self.id_column == self.column:
            raise ValueError(f"column = {self.column!r} is the id_column too; a score is a number and an id is text")
        if (self.path or self.ranks) and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", self.score):
            remedy = "say another `name`" if self.path else "rename it in the source"
            raise ValueError(f"{self.score!r} cannot name a file: letters, digits and _ alone do; {remedy}")
        if self.path and self.score in TAKEN:
            raise ValueError(f"{self.score!r} is a column that is there already; say another `name`")

    @property
    def score(self) -> str:
        return self.name or self.column

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        if not self.path:
            return super().steps(earlier)
        step = Import(self.path, self.column, self.score, self.id_column, self.by)
        return (step, *super().steps(earlier))

    def judge(self, columns: pa.Table) -> Verdict:
        values = columns[self.score]
        kind = score_type(values.type)
        if kind is None:
            raise ConfigError(
                f"[filters.imported] column = {self.score!r} is a column of {values.type}, and a score is a number; "
                'name another, or say in [source.types] that it is "float"'
            )
        floats = values.cast(kind, safe=False)
        return super().judge(columns.set_column(columns.schema.get_field_index(self.score), self.score, floats))
