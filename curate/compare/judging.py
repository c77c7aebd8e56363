"""What a config would decide in a data set as it is: its decisions run on the columns that are there, in memory.

The steps are the config's own, run as a run would run them (rounds of documents read the rounds before), so the answer
is that of a real run wherever the columns would be the same. Nothing is written: what a step writes goes into a table
that the next one sees instead of the data set's. A filter whose columns no shard has cannot judge; it is left out and
named, with the steps that would have to run for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyarrow as pa

from curate.document.columns import PART, part_names
from curate.document.select import SelectDocuments, SelectParts, rounded
from curate.errors import CurateError, ShardError
from curate.filter import Filter, Rules
from curate.manifest import Attempt
from curate.select import Decision
from curate.shard import PARTS, Shard
from curate.stage import Runtime, Step

__all__ = ["LeftOut", "judge", "judgeable"]


@dataclass(frozen=True)
class LeftOut:
    """A filter that could not judge: the `columns` that no shard has, and the labels of the `steps` that write them;
    no step where the source would have to have them."""

    step: str
    filter: str
    columns: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Judged(Shard):
    """The shard `under`, with tables that were made in memory, by file name, in place of its files of that name."""

    under: Shard
    made: dict[str, pa.Table] = field(default_factory=dict, compare=False, repr=False)

    @property
    def parts(self) -> Judged:
        return Judged(self.storage, self.id + PARTS, self.under.parts, self.made)

    def schema(self, family: str = "") -> pa.Schema:
        made = self.made.get(self.table_name(family))
        return self.under.schema(family) if made is None else made.schema

    def table(self, family: str = "", columns: Sequence[str] | None = None) -> pa.Table:
        made = self.made.get(self.table_name(family))
        if made is None:
            return self.under.table(family, columns)
        return made if columns is None else made.select(list(columns))

    def _families(self) -> list[str]:
        own = (name for name in self.made if name.startswith(f"{self.id}."))
        there = self.under.column_files.values()
        return sorted({*there, *(n.removeprefix(f"{self.id}.").removesuffix(".parquet") for n in own)})


@dataclass
class Kept(Attempt):
    """An attempt whose tables stay in memory."""

    tables: dict[str, pa.Table] = field(default_factory=dict)

    def write_table(self, name: str, table: pa.Table, *, clock: bool = False) -> None:
        self.tables[name] = table


def judge(shard: Shard, decisions: Sequence[Decision]) -> Shard:
    """The shard as it would be: with the columns of these decisions, in their order, in place of its own. Raises
    ShardError where a column is missing, damaged, or nothing that a filter can judge."""
    made: dict[str, pa.Table] = {}
    for step in decisions:
        try:
            attempt = Kept(shard.storage, step.label, shard.id, "", tables=made)
            step.run(Judged(shard.storage, shard.id, shard, made), attempt, Runtime())
        except CurateError:
            raise
        except (pa.ArrowException, ValueError, TypeError, LookupError) as error:
            words = f"step {step.label} cannot judge shard {shard.id} of {shard.storage.root}: {error}"
            raise ShardError(f"{words}; run the config to make its columns anew") from error
    return Judged(shard.storage, shard.id, shard, made)


def judgeable(steps: Sequence[Step], shards: Sequence[Shard]) -> tuple[tuple[Decision, ...], tuple[LeftOut, ...]]:
    """The decisions of a config without the filters whose columns no shard has, and these filters."""
    missing = _Missing(shards)
    decisions: list[Decision] = []
    for number, step in enumerate(steps):
        if isinstance(step, Decision):
            decisions.append(missing.pruned(step, steps[:number]))
    return tuple(decisions), tuple(missing.found)


@dataclass
class _Missing:
    shards: Sequence[Shard]
    found: list[LeftOut] = field(default_factory=list)
    known: dict[str, bool] = field(default_factory=dict)

    def pruned(self, step: Decision, before: Sequence[Step]) -> Decision:
        written = {column for one in before if isinstance(one, Decision) for column in one.writes}
        kept: dict[str, Any] = {}
        for name, rules in _rule_fields(step):
            kept[name] = tuple(rule for rule in rules if self._can(step, rule, written, before))
        return replace(step, **kept)  # type: ignore[type-var]

    def _can(self, step: Decision, named: tuple[str, Filter], written: set[str], before: Sequence[Step]) -> bool:
        columns = [c for c in _as_read(step, named[1].columns) if c not in written and not self._there(c)]
        if columns:
            writers = {c: one.label for one in before for c in one.writes}
            labels = dict.fromkeys(writers[c] for c in columns if c in writers)
            self.found.append(LeftOut(step.label, named[0], tuple(columns), tuple(labels)))
        return not columns

    def _there(self, column: str) -> bool:
        if column not in self.known:
            self.known[column] = any(_has(shard, column) for shard in self.shards)
        return self.known[column]


def _has(shard: Shard, column: str) -> bool:
    table = shard.parts if column.startswith(PART) else shard
    try:
        return column.removeprefix(PART) in table.column_files
    except CurateError:
        return False


def _as_read(step: Decision, columns: Sequence[str]) -> tuple[str, ...]:
    """Columns as the step reads them: those of parts with their prefix, counts with that of the round."""
    if isinstance(step, SelectParts):
        return part_names(columns)
    return rounded(columns, step.round) if isinstance(step, SelectDocuments) else tuple(columns)


def _rule_fields(step: Decision) -> Iterator[tuple[str, Rules]]:
    """The settings of a decision that are filters."""
    for own in fields(step):  # type: ignore[arg-type]
        value = getattr(step, own.name)
        if isinstance(value, tuple) and value and all(_is_rule(one) for one in value):
            yield own.name, value


def _is_rule(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Filter)
