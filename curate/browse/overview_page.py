"""The first page: how many rows there are, what became of them, and which columns can be asked.

Counts by reason come from the manifest, so they cost one small file at any size; each reason is a link to its rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.browse.catalog import Column
from curate.browse.find import Finder
from curate.browse.history import record_or_trouble
from curate.browse.list_page import Question, quoted, sortable
from curate.manifest import Manifest
from curate.run_record import RunRecord

__all__ = ["UnitCounts", "overview_context"]


@dataclass(frozen=True)
class UnitCounts:
    """A unit's rows and what was `decided`: `kept` None where nothing was, or it took too long to count; `reasons`:
    (reason, words, filter, rows of which it is the first reason, rows that have it, address of these)."""

    unit: str
    rows: int
    decided: bool
    kept: int | None
    href: str
    kept_href: str
    reasons: tuple[tuple[str, str, str, int, int, str], ...]


def overview_context(finder: Finder) -> dict[str, Any]:
    """What the template `overview.html` shows."""
    (record, trouble), manifest = record_or_trouble(finder.storage), Manifest.read(finder.storage)
    catalog = finder.catalog
    return {
        "shards": len(catalog.shards()),
        "counts": [_counts(unit, finder, record, manifest) for unit in catalog.units()],
        "columns": [(unit, _files(unit, catalog.columns(unit))) for unit in catalog.units()],
        "about": [("trouble", trouble)] if trouble else _about(record),
    }


@dataclass(frozen=True)
class Shown:
    """A column and the address of its rows."""

    name: str
    type: str
    about: str
    askable: bool
    href: str


def _files(unit: str, columns: Sequence[Column]) -> list[tuple[str, list[Shown]]]:
    """The columns by the family of the file that holds them."""
    found: dict[str, list[Shown]] = {}
    for one in columns:
        by = one.name if sortable(one) else ""
        href = Question(unit, f"{quoted(one.name)} is not null", by, bool(by)).address() if one.askable else ""
        found.setdefault(one.family, []).append(Shown(one.name, one.type, one.about, one.askable, href))
    return list(found.items())


def _counts(unit: str, finder: Finder, record: RunRecord | None, manifest: Manifest) -> UnitCounts:
    decided = any((one.name, one.type) == ("keep", "true or false") for one in finder.catalog.columns(unit))
    decision = record.last(unit) if record else None
    total: Counter[str] = Counter()
    for entry in manifest.of(decision.step) if decision else ():
        total.update(entry.counts)
    words = {
        reason: (told, one.name)
        for one in (record.filters(unit) if record else ())
        for reason, told in one.reasons.items()
    }
    named = sorted(name.removeprefix("flagged.") for name in total if name.startswith("flagged."))
    order = sorted(named, key=lambda reason: -total[f"flagged.{reason}"])
    return UnitCounts(
        unit,
        finder.catalog.rows(unit),
        decided,
        _kept(unit, finder, total) if decided else None,
        Question(unit).address(),
        Question(unit, "keep").address(),
        tuple(_reason(unit, reason, words.get(reason, ("", "")), total) for reason in order),
    )


def _kept(unit: str, finder: Finder, total: Mapping[str, int]) -> int | None:
    """From the manifest; where it does not know, by looking."""
    return total["kept"] if total else finder.find(unit, "keep", size=1).total


def _reason(unit: str, reason: str, words: Sequence[str], total: Counter[str]) -> tuple[str, str, str, int, int, str]:
    literal = reason.replace("'", "''")
    href = Question(unit, f"list_contains(drop_reasons, '{literal}')").address()
    return reason, words[0], words[1], total[f"dropped.{reason}"], total[f"flagged.{reason}"], href


def _about(record: RunRecord | None) -> list[tuple[str, str]]:
    """What made the data set."""
    if record is None:
        return []
    made = record.created_by
    told = [("config", record.name), ("made by", " ".join(str(made[n]) for n in ("package", "version") if made.get(n)))]
    return [*told, ("commit", str(made.get("commit") or "")), ("steps", str(len(record.steps)))]
