"""What a run was told to do, kept beside what it made: `run.json`.

Commits say what was done and how often each reason was given; the reasons' words, the filters' bounds and the config
are here, so that a report, a comparison and a browser need nothing but the data set's folder: neither the config file
nor the filters themselves. It holds no clock: the same config on the same code writes the same bytes. Secrets are left
out. The last run's record is kept.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from curate.errors import StorageError
from curate.filter import MOST_WHOLE
from curate.gauge import Gauge
from curate.handover.created_by import created_by, told_config
from curate.select import Decision
from curate.stage import Step, settings_of
from curate.storage import Storage

__all__ = [
    "RUN_RECORD",
    "DecisionRecord",
    "FilterRecord",
    "RunRecord",
    "keep_record",
    "read_record",
    "record_of",
    "write_record",
]

RUN_RECORD = "run.json"
MOST_BYTES = 1 << 26
"""Of a record that is read."""
EARLIER = "earlier"
"""The name under which a round of documents has the verdict of the one before."""


@dataclass(frozen=True)
class FilterRecord:
    """A filter as a config had it: `reasons` with their words, the `columns` it read, `settings`, gauges."""

    name: str
    reasons: Mapping[str, str]
    columns: tuple[str, ...]
    settings: Mapping[str, Any]
    gauges: tuple[Gauge, ...] = ()


@dataclass(frozen=True)
class DecisionRecord:
    """A step that decided. `unit`: on what, in the plural (samples, documents, parts); parts lie in `Shard.parts`.
    `keep`: the boolean column that it wrote; `drop_reason` and `drop_reasons` have the same beginning."""

    step: str
    unit: str
    keep: str
    filters: tuple[FilterRecord, ...]

    @property
    def prefix(self) -> str:
        """What the decision's columns begin with: `""`, or a round's such as `"read_"`."""
        return self.keep.removesuffix("keep")


@dataclass(frozen=True)
class RunRecord:
    """The last run's. `name`: of the config. `created_by`: package, version, commit, config (without secrets and
    `[run]`). `versions`: of Python and of the libraries that decide bytes. `steps`: their labels, in order."""

    name: str
    created_by: Mapping[str, Any]
    versions: Mapping[str, str]
    steps: tuple[str, ...]
    decisions: tuple[DecisionRecord, ...] = ()
    record_version: int = field(default=1, kw_only=True)

    @property
    def config(self) -> Mapping[str, Any]:
        """The config's tables, without secrets."""
        found: Mapping[str, Any] = self.created_by.get("config", {})
        return found

    def last(self, unit: str) -> DecisionRecord | None:
        """The decision that tells the whole story of a unit: its last one; None where nothing decides on it."""
        return next((one for one in reversed(self.decisions) if one.unit == unit), None)

    def filters(self, unit: str) -> tuple[FilterRecord, ...]:
        """Every filter that had a say on a unit, in the order of the rounds, each once."""
        found: dict[str, FilterRecord] = {}
        for decision in self.decisions:
            if decision.unit == unit:
                found |= {one.name: one for one in decision.filters}
        return tuple(found.values())


def record_of(name: str, config: Mapping[str, Any], steps: Sequence[Step]) -> RunRecord:
    """The record of a job that is about to run."""
    decisions = tuple(_decision(step) for step in steps if isinstance(step, Decision))
    labels = tuple(step.label for step in steps)
    return RunRecord(name, created_by(told_config(config)), _versions(), labels, decisions)


def write_record(storage: Storage, record: RunRecord) -> None:
    """Keep a run's record; nothing is written where it is there already. A bound at infinity is none: JSON has no such
    number (RFC 8259)."""
    told = json.loads(json.dumps(asdict(record), default=str), parse_constant=lambda name: None)
    data = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False).encode()
    try:
        there = storage.read(RUN_RECORD)
    except FileNotFoundError:
        there = b""
    if there != data:
        storage.write(RUN_RECORD, data)


def keep_record(name: str, config: Mapping[str, Any], steps: Sequence[Step], storage: Storage) -> None:
    """Make a job's record and keep it in its data set."""
    write_record(storage, record_of(name, config, steps))


def read_record(storage: Storage) -> RunRecord | None:
    """The last run's record; None where there is none. Raises StorageError for one that is damaged or too large."""
    place = f"{RUN_RECORD} in {storage.root}"
    try:
        if storage.size(RUN_RECORD) > MOST_BYTES:
            raise StorageError(f"{place} is larger than {MOST_BYTES} bytes; run the config again to write it anew")
        record = _record(json.loads(storage.read(RUN_RECORD), parse_constant=lambda name: None))
        if not _is_sound(record):
            raise ValueError("a value in it is of another type than runs write")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StorageError(f"{place} is damaged: {error}; run the config again to write it anew") from error
    return record


def _decision(step: Decision) -> DecisionRecord:
    keep = next(name for name in step.writes if name.endswith("keep")).rpartition(".")[2]
    rules = [(name, rule) for name, rule in step.rules if name != EARLIER]
    told = told_config({name: settings_of(rule) for name, rule in rules})
    filters = (
        FilterRecord(name, dict(rule.reasons), tuple(rule.columns), told.get(name, {}), tuple(rule.gauges))
        for name, rule in rules
    )
    return DecisionRecord(step.label, step.unit, keep, tuple(filters))


def _versions() -> dict[str, str]:
    import numpy as np
    import PIL
    import pyarrow as pa

    named = {"numpy": np.__version__, "pillow": PIL.__version__, "pyarrow": pa.__version__}
    return {"python": platform.python_version(), **named}


def _is_sound(record: RunRecord) -> bool:
    """Whether a record holds what one should: it may have been written by anybody."""
    filters = [one for decision in record.decisions for one in decision.filters]
    gauges = [gauge for one in filters for gauge in one.gauges]
    tables = [record.created_by, record.config, record.versions]
    tables += [table for one in filters for table in (one.reasons, one.settings)]
    words: list[object] = [record.name, *record.steps]
    words += [own for one in filters for own in (one.name, *one.columns, *one.reasons)]
    words += [own for decision in record.decisions for own in (decision.step, decision.unit, decision.keep)]
    words += [text for one in filters if isinstance(one.reasons, Mapping) for text in one.reasons.values()]
    words += [own for g in gauges for own in (g.name, g.kind, g.too_low, g.too_high, g.min_setting, g.max_setting)]
    words += [name for gauge in gauges for name in gauge.columns]
    bounds = [bound for gauge in gauges for bound in (gauge.min, gauge.max) if bound is not None]
    return (
        all(isinstance(one, Mapping) for one in tables)
        and all(isinstance(one, str) for one in words)
        and all(_is_bound(one) for one in bounds)
    )


def _is_bound(value: object) -> bool:
    return math.isfinite(value) if isinstance(value, float) else isinstance(value, int) and abs(value) <= MOST_WHOLE


def _record(told: Mapping[str, Any]) -> RunRecord:
    decisions = tuple(
        DecisionRecord(one["step"], one["unit"], one["keep"], tuple(map(_filter, one["filters"])))
        for one in told["decisions"]
    )
    return RunRecord(told["name"], told["created_by"], told["versions"], tuple(told["steps"]), decisions)


def _filter(told: Mapping[str, Any]) -> FilterRecord:
    gauges = tuple(Gauge(**{**one, "columns": tuple(one["columns"])}) for one in told["gauges"])
    return FilterRecord(told["name"], told["reasons"], tuple(told["columns"]), told["settings"], gauges)
