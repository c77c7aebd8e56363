"""Drops rows for which a condition in SQL, on any columns that are there, is not true.

For a rule that no other filter has, and for what was found in `curate browse`, which writes this table:

    [filters.condition]
    sql = "clip_similarity >= 0.3 and not list_contains(drop_reasons, 'blurred')"
    data_set = "data/openstax"

Without `data_set` the columns are those of this run; with it, those that lie beside the tars of `[source]` in that data
set of ours. The condition is checked piece by piece (`curate.condition`); where it is NULL, the row is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.condition import Condition, holds, read_condition
from curate.errors import ConfigError
from curate.filter import Filter, Rules, Verdict, verdict
from curate.source.own_columns import OWN, WITHHELD, OwnColumns
from curate.stage import Work
from curate.storage import Storage


@dataclass(frozen=True)
class SqlCondition(Filter):
    """`sql`: the condition; `data_set`: the folder or fsspec URL whose columns it names, empty for those of this run.
    Needs DuckDB (the extra `report`)."""

    sql: str
    data_set: str = ""

    reads: ClassVar[tuple[str, ...]] = ("score",)
    reasons: ClassVar[Mapping[str, str]] = {
        "withheld_at_its_source": "it was taken back, or is on a hash list, in the data set that it comes from",
        "condition_not_met": "the condition is not true of it",
    }

    def __post_init__(self) -> None:
        try:
            names = self._condition.columns
        except ConfigError as error:
            raise ValueError(f"sql: {error}") from None
        if not names:
            raise ValueError(f"sql = {self.sql!r} names no column, so it says nothing of a row")

    @cached_property
    def _condition(self) -> Condition:
        return read_condition(self.sql)

    @property
    def columns(self) -> tuple[str, ...]:
        names = self._condition.columns
        return (*(OWN + name for name in names), WITHHELD) if self.data_set else names

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        if not self.data_set:
            return ()
        return (OwnColumns(Storage(self.data_set).root, self._condition.columns),)

    def judge(self, columns: pa.Table) -> Verdict:
        names = self._condition.columns
        met = holds(self._condition, columns.select(range(len(names))).rename_columns(list(names)))
        withheld = columns[WITHHELD] if self.data_set else pa.nulls(len(columns), pa.bool_())
        return verdict(
            len(columns), ("withheld_at_its_source", withheld), ("condition_not_met", pc.invert(pa.array(met)))
        )
