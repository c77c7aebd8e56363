"""What every step said of one row: values that it wrote, and where it decided, its verdict with reasons and bounds.

The steps and their words stand in `run.json`, which files a step wrote in its commits, and the values in the column
files; so the story is complete without the config or the filters. Some forty small files are read for it, 20 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pyarrow as pa

from curate.column_files import ColumnFiles, is_vector, plain_column
from curate.errors import StorageError
from curate.fetch.members import python_values
from curate.gauge import Gauge, measured
from curate.manifest import CommitLog, commit_name
from curate.run_record import DecisionRecord, FilterRecord, RunRecord, read_record
from curate.shard import Shard
from curate.storage import Storage

__all__ = ["Event", "history", "record_or_trouble"]

MOST_LETTERS = 2_000
"""Of a value that is told."""
CUT = " ..."
CLOCKS = ("fetch_log", "pages_log")
"""Families of times, which tell nothing of the row."""


@dataclass(frozen=True)
class Event:
    """What one step said of a row: `what` are (name, text) pairs, all text of anybody's; `reasons` are
    (reason, its words) that this step gave against it; `kept` is its verdict, None where it gave none."""

    step: str
    what: tuple[tuple[str, str], ...]
    reasons: tuple[tuple[str, str], ...] = ()
    kept: bool | None = None


def record_or_trouble(storage: Storage) -> tuple[RunRecord | None, str]:
    """What the run was told to do, None where that is not there; and what is wrong with it, else nothing."""
    try:
        return read_record(storage), ""
    except StorageError as error:
        return None, str(error)


def history(files: ColumnFiles, unit: str, id: str, row: int) -> tuple[Event, ...]:
    """The events of a row, in the order of the steps. Raises ShardError and StorageError for what cannot be read."""
    shard, (record, _) = files.shard(id), record_or_trouble(files.storage)
    values = _values(shard, row)
    log = CommitLog(files.storage)
    given: set[str] = set()
    told: set[str] = set()
    events: list[Event] = []
    for step in record.steps if record else files.storage.folders("commits"):
        families = _written(log, step, id, shard.id) - told
        decision = _decision(record, step, unit)
        what = [pair for family in sorted(families) for pair in values.get(family, ()) if family not in CLOCKS]
        told |= families
        if decision is not None:
            event = _decided(decision, record, shard, row, given)
            given.update(reason for reason, _ in event.reasons)
            events.append(event)
        elif what:
            events.append(Event(step, tuple(what)))
    left = sorted(values.keys() - told - {*CLOCKS})
    return (*events, *(Event(shard.table_name(family), tuple(values[family])) for family in left if values[family]))


def _values(shard: Shard, row: int) -> dict[str, list[tuple[str, str]]]:
    """Of each family what it has of a row, as text."""
    found: dict[str, list[tuple[str, str]]] = {}
    for family in dict.fromkeys(shard.column_files.values()):
        table = shard.table(family).slice(row, 1)
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name == "key" or shard.column_files[name] != family or not column[0].is_valid:
                continue
            text = f"{column.type.list_size} numbers" if is_vector(column.type) else _text(_value(column))
            found.setdefault(family, []).append((name, text))
    return found


def _value(column: pa.ChunkedArray) -> Any:
    return python_values(plain_column(column))[0]


def _text(value: Any) -> str:
    """A value for people: numbers to five digits, lists with commas, long texts cut."""
    if isinstance(value, float):
        text = f"{value:.5g}"
    elif isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        text = ", ".join(map(_text, value))
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - len(CUT)] + CUT


def _written(log: CommitLog, step: str, id: str, own: str) -> set[str]:
    """The families of a shard (`own`: with `_parts`) that a step wrote."""
    done = log.names(step)
    commits = [(id, mark) for mark in done.get(id, ())] or [(s, mark) for s, marks in done.items() for mark in marks]
    for shard, mark in commits:
        try:
            names = [record.name for record in log.read(commit_name(step, shard, mark)).files]
        except (FileNotFoundError, StorageError):
            continue
        tables = [name.removesuffix(".parquet") for name in names if name.endswith(".parquet")]
        families = {name.removeprefix(own).removeprefix(".") for name in tables if name.partition(".")[0] == own}
        if families:
            return families
    return set()


def _decision(record: RunRecord | None, step: str, unit: str) -> DecisionRecord | None:
    decisions = record.decisions if record else ()
    return next((one for one in decisions if one.step == step and one.unit == unit), None)


def _decided(decision: DecisionRecord, record: RunRecord | None, shard: Shard, row: int, given: set[str]) -> Event:
    """The verdict of a round: what it measured with its bounds, and the reasons that no round before gave."""
    words = {
        reason: said
        for one in (record.filters(decision.unit) if record else ())
        for reason, said in one.reasons.items()
    }
    names = [
        name for name in (f"{decision.prefix}keep", f"{decision.prefix}drop_reasons") if name in shard.column_files
    ]
    found = {name: _value(column) for name, column in _row(shard, names, row).items()}
    reasons = [one for one in found.get(f"{decision.prefix}drop_reasons") or () if one not in given]
    what = tuple(pair for one in decision.filters for pair in _measured(one, shard, row, decision.prefix))
    return Event(decision.step, what, tuple((r, words.get(r, "")) for r in reasons), found.get(decision.keep))


def _row(shard: Shard, names: list[str], row: int) -> Mapping[str, pa.ChunkedArray]:
    table = shard.columns(names).slice(row, 1) if names else pa.table({})
    return dict(zip(table.column_names, table.columns, strict=True))


def _measured(rule: FilterRecord, shard: Shard, row: int, prefix: str) -> Iterator[tuple[str, str]]:
    """What a filter holds between bounds, of this row; nothing where there is no number. Counts are those of the round,
    which has them under its prefix."""
    there = shard.column_files.keys()
    for gauge in rule.gauges:
        own = {name: prefix + name if prefix + name in there else name for name in gauge.columns}
        kind = ("kind",) if gauge.kind else ()
        if not {*own.values(), *kind} <= there:
            continue
        found = _row(shard, list(dict.fromkeys((*own.values(), *kind))), row)
        if gauge.kind and _value(found["kind"]) != gauge.kind:
            continue
        number = measured(gauge, pa.table({name: found[column] for name, column in own.items()}))[0].as_py()
        if number is not None:
            yield gauge.name, f"{_text(number)} ({_bounds(gauge)}: {rule.name})"


def _bounds(gauge: Gauge) -> str:
    """`kept from 0.25`, `kept up to 3`, `kept from 1 to 3`."""
    low = f" from {gauge.min:g}" if gauge.min is not None and isfinite(gauge.min) else ""
    high = f" {'to' if low else 'up to'} {gauge.max:g}" if gauge.max is not None and isfinite(gauge.max) else ""
    return f"kept{low}{high}" if low or high else "no bound"
