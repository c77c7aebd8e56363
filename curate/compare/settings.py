"""Which settings of two runs differ: of each filter, of the rest of the config, and of the code that read it.

Filters are told by what they came to (defaults included), so that a default that changed between two versions shows;
the rest by what the config says. The order of filters counts, because the first one names a row's reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from curate.run_record import FilterRecord, RunRecord

__all__ = ["SettingChange", "setting_changes"]

WRAPPERS = ("OfKind", "Labelled")
"""Filters around a filter: of parts of one kind, or one with a label."""

Flat = dict[str, Any]
Filters = dict[tuple[str, str], Flat]


@dataclass(frozen=True)
class SettingChange:
    """One setting. `where`: a filter, a table of the config, `versions` or `code`. `setting`: its dotted name there,
    empty where a whole filter was added or removed. `change`: added, removed or changed, on the way from A to B. `a`,
    `b`: the values as JSON (all settings of a filter that was added or removed), empty where there is none."""

    where: str
    setting: str
    change: str
    a: str = ""
    b: str = ""


def setting_changes(a: RunRecord, b: RunRecord) -> tuple[SettingChange, ...]:
    """All that differs, filters first, in the order of A and then of B."""
    return (
        *_filters(_judges(a), _judges(b)),
        *_orders(a, b),
        *_tables(_rest(a), _rest(b)),
        *_flat("versions", dict(a.versions), dict(b.versions)),
        *_flat("code", _code(a), _code(b)),
    )


def _filters(a: Filters, b: Filters) -> Iterator[SettingChange]:
    for (name, unit), own in {**a, **b}.items():
        where = f"filter {name} ({unit})"
        if (name, unit) not in b:
            yield SettingChange(where, "", "removed", a=_all(own))
        elif (name, unit) not in a:
            yield SettingChange(where, "", "added", b=_all(own))
        else:
            yield from _flat(where, a[name, unit], b[name, unit])


def _orders(a: RunRecord, b: RunRecord) -> Iterator[SettingChange]:
    for unit in dict.fromkeys(one.unit for one in a.decisions):
        both = [[one.name for one in side.filters(unit)] for side in (a, b)]
        first, second = ([name for name in names if name in both[0] and name in both[1]] for names in both)
        if first != second:
            yield SettingChange(f"filters ({unit})", "order", "changed", ", ".join(first), ", ".join(second))


def _tables(a: Mapping[str, Flat], b: Mapping[str, Flat]) -> Iterator[SettingChange]:
    for where in sorted({**a, **b}):
        yield from _flat(where, a.get(where, {}), b.get(where, {}))


def _flat(where: str, a: Flat, b: Flat) -> Iterator[SettingChange]:
    for name in {**a, **b}:
        one, other = (_told(side[name]) if name in side else "" for side in (a, b))
        change = "added" if name not in a else "removed" if name not in b else "changed"
        if change != "changed" or a[name] != b[name]:
            yield SettingChange(where, name, change, one, other)


def _judges(record: RunRecord) -> Filters:
    """The settings of every filter, by its name and what it judges."""
    found: Filters = {}
    for decision in record.decisions:
        for one in decision.filters:
            settings, kind = _unwrapped(one)
            unit = f"{decision.unit}, {kind}" if kind else decision.unit
            found[one.name, unit] = _flattened(settings)
    return found


def _unwrapped(one: FilterRecord) -> tuple[Mapping[str, Any], str]:
    """A filter's own settings, and the kind of parts that it judges."""
    settings, kind = one.settings, ""
    while settings.get("") in WRAPPERS and isinstance(settings.get("rule"), Mapping):
        kind = str(settings.get("kind", kind))
        settings = settings["rule"]
    return settings, kind


def _rest(record: RunRecord) -> dict[str, Flat]:
    """The tables of the config, without those of filters; what stands above all tables is `config`."""
    tables: dict[str, Flat] = {}
    for name, value in record.config.items():
        if isinstance(value, Mapping):
            if not name.endswith("filters"):
                tables[name] = _flattened(value)
        else:
            tables.setdefault("config", {})[name] = value
    return tables


def _code(record: RunRecord) -> Flat:
    return {name: value for name, value in record.created_by.items() if name in ("version", "commit")}


def _flattened(table: Mapping[str, Any], before: str = "") -> Flat:
    """Dotted names to plain values, sorted; the class of a filter is called `class`."""
    flat: Flat = {}
    for name, value in sorted(table.items()):
        if isinstance(value, Mapping) and value:
            flat |= _flattened(value, f"{before}{name}.")
        elif name or not before:
            flat[f"{before}{name}" if name else "class"] = value
    return flat


def _all(settings: Flat) -> str:
    """A filter's settings on one line, without those that say nothing."""
    said = {name: value for name, value in settings.items() if name != "class" and value not in (None, "None", [])}
    return ", ".join(f"{name} = {_told(value)}" for name, value in said.items()) or "without settings"


def _told(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
