"""All that a report says of a data set, counted: `collect` reads the column files once and answers with `Facts`.

A data set is told whatever became of it: of pairs, recaptioned or interleaved, imported without a record of a run, half
finished, damaged. What is not there has no section, and what cannot be read is a line among the troubles. A million
rows take 15 CPU seconds and 0.3 GB (`bench/report.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from curate.config import require_range
from curate.errors import CurateError, ShardError
from curate.listing import Listed
from curate.report.beside import unscored
from curate.report.counting.about import about_of, model_steps, models_of
from curate.report.counting.layout import Layout, drawn, layout_of
from curate.report.counting.ledger import Ledger, ledger_of, set_aside
from curate.report.counting.reading import BROKEN, Troubles
from curate.report.counting.units import Counts, count_unit
from curate.report.facts import Download, Facts, Gallery, Unit
from curate.report.pictures import Draw, captions, copies, documents, galleries, watch, withheld
from curate.report.pictures.withholding import Watch
from curate.run_record import DecisionRecord, FilterRecord, RunRecord, read_record
from curate.storage import Storage

__all__ = ["Look", "collect"]

Shown = TypeVar("Shown")
SELECT = "select"
"""The family, and the step, that decides where no run is on record."""


@dataclass(frozen=True)
class Look:
    """How closely a data set is looked at.

    `shards`: at so many, drawn evenly by `seed`; None for all. Funnel and costs are always of all. `tiles`: of a
    gallery, at most. `cpu_hour`, `gpu_hour`: what an hour of a worker costs, in any currency; the second where a step's
    columns say that a model made them. `title`: of the report; the config's name without one. Raises ValueError for
    what is out of range.
    """

    shards: int | None = None
    seed: int = 0
    tiles: int = 12
    cpu_hour: float | None = None
    gpu_hour: float | None = None
    title: str = ""

    def __post_init__(self) -> None:
        require_range("shards", self.shards, 1)
        require_range("seed", self.seed, 0, (1 << 63) - 1)
        require_range("tiles", self.tiles, 0, 100)
        for name in ("cpu_hour", "gpu_hour"):
            require_range(name, getattr(self, name), 0)


def collect(storage: Storage, look: Look = Look()) -> Facts:
    """The facts of a data set. Raises ShardError where there is none, StorageError where it cannot be listed."""
    troubles = Troubles(storage.root)
    layout = layout_of(storage, troubles)
    if not layout.samples:
        raise ShardError(f"{storage.root} has no shard; name the folder of a data set, where 00000.parquet lies")
    record = _record(storage, troubles)
    ledger = ledger_of(storage, record, layout.left_over, troubles)
    shards = drawn(layout.samples, look.shards, look.seed)
    draw = Draw(look.seed, look.tiles)
    seen = _Seen(layout.only(shards), draw, troubles)
    units, downloads = _units(seen, record, ledger)
    models = models_of(storage, troubles)
    set_aside(storage, troubles)
    for row in unscored(entry for own in ledger.entries.values() for entry in own):
        troubles.add(row.words)
    withheld_rows: Mapping[str, int] = _shown(lambda: withheld(shards, seen.watch), {}, troubles)
    return Facts(
        title=look.title or (record.name if record else "") or storage.root.rstrip("/").rpartition("/")[2],
        looked_at=(len(shards), len(layout.samples)),
        units=units,
        downloads=downloads,
        copies=_shown(lambda: copies(shards, draw, seen.watch), (), troubles),
        captions=_shown(lambda: captions(shards, draw, troubles.add, seen.watch), (), troubles),
        shown=_shown(lambda: documents(shards, draw, seen.watch), (), troubles),
        withheld=withheld_rows,
        costs=ledger.costs(_rates(ledger, look, model_steps(storage, models))),
        wall_s=ledger.wall_s(),
        about=about_of(record, models, {"shards": len(layout.samples)} | {one.name: one.rows for one in units}),
        config=record.config if record else {},
        troubles=troubles.told(),
    )


def _record(storage: Storage, troubles: Troubles) -> RunRecord | None:
    try:
        return read_record(storage)
    except CurateError as error:
        troubles.add(f"{error}; the report is of the columns alone")
    return None


@dataclass(frozen=True)
class _Seen:
    """The shards that are looked at, and how galleries are drawn from them."""

    layout: Layout
    draw: Draw
    troubles: Troubles

    @cached_property
    def watch(self) -> Watch | None:
        """What hides pictures; known once the footers are, which counting reads anyway."""
        return _shown(lambda: watch(self.layout.samples), None, self.troubles)


def _units(seen: _Seen, record: RunRecord | None, ledger: Ledger) -> tuple[tuple[Unit, ...], Download | None]:
    samples, parts = seen.layout.samples, seen.layout.parts
    tables = {"documents": samples, "parts": parts} if parts else {"samples": samples}
    asked = {name: _asked(name, own, record) for name, own in tables.items()}
    counts = {
        name: count_unit(own, asked[name].prefix, asked[name].filters, seen.troubles) for name, own in tables.items()
    }
    units = tuple(_unit(asked[name], counts[name], ledger, seen) for name in tables)
    downloads = {name: own.downloads for name, own in counts.items()}
    return units, downloads[[*tables][-1]].download(downloads.get("documents"))


@dataclass(frozen=True)
class Asked:
    """What is asked of a unit. `decision`: the last one on it, None where no run is on record; `prefix`: of its
    columns, None where nobody decided; `filters`: all that had a say, a name more than once where it had several."""

    unit: str
    decision: DecisionRecord | None
    prefix: str | None
    filters: tuple[FilterRecord, ...]

    @property
    def reasons(self) -> dict[str, tuple[str, ...]]:
        """Those of each filter, in order."""
        told: dict[str, dict[str, None]] = {}
        for one in self.filters:
            told.setdefault(one.name, {}).update(dict.fromkeys(one.reasons))
        return {name: tuple(own) for name, own in told.items()}

    @property
    def words(self) -> dict[str, str]:
        return {reason: words for one in self.filters for reason, words in one.reasons.items()}


def _asked(unit: str, tables: Sequence[Listed], record: RunRecord | None) -> Asked:
    decision = record.last(unit) if record else None
    if record is None or decision is None:
        return Asked(unit, None, "" if any(SELECT in table.families for table in tables) else None, ())
    every = [one for own in record.decisions if own.unit == unit for one in own.filters]
    filters = tuple(one for place, one in enumerate(every) if one not in every[:place])
    return Asked(unit, decision, decision.prefix, filters)


def _unit(asked: Asked, counts: Counts, ledger: Ledger, seen: _Seen) -> Unit:
    decision, troubles = asked.decision or _found(asked, counts), seen.troubles
    step = decision.step if decision else ""
    reasons = asked.reasons or {name: (name,) for name in counts.reasons.numbers}
    if not ledger.of(step):  # a copy of the columns without commits and manifest
        ledger = replace(ledger, entries={**ledger.entries, step: [counts.entry(step)]})
    if asked.decision and (unknown := ledger.unknown(step, reasons)):
        told = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else "")
        troubles.add(
            f"{asked.unit} were dropped for reasons that no filter of run.json gives ({told}): they were judged by "
            "other settings; run the config again"
        )
    rows, kept = ledger.totals(step)
    if counts.undecided:
        words = f"have no decision on their {asked.unit} that can be read; none of their rows counts as kept"
        troubles.add(f"{counts.undecided:,} shards {words}")
    shown: tuple[Gallery, ...] = ()
    if asked.unit != "documents":
        drawn_from = seen.layout.samples, decision, asked.filters, seen.draw, seen.watch
        shown = _shown(lambda: galleries(*drawn_from), shown, troubles)
    return Unit(
        asked.unit,
        rows,
        kept,
        ledger.funnel(step, reasons),
        asked.words,
        counts.overlap(),
        counts.histograms(troubles),
        counts.counted(),
        shown,
    )


def _found(asked: Asked, counts: Counts) -> DecisionRecord | None:
    """A decision that nobody has on record, by its columns: every reason stands for a filter of its own."""
    if asked.prefix is None:
        return None
    filters = tuple(FilterRecord(name, {name: ""}, (), {}) for name in counts.reasons.numbers)
    return DecisionRecord(SELECT, asked.unit, f"{asked.prefix}keep", filters)


def _rates(ledger: Ledger, look: Look, by_model: set[str]) -> dict[str, float | None]:
    gpu_hour = look.cpu_hour if look.gpu_hour is None else look.gpu_hour
    return {step: gpu_hour if step in by_model else look.cpu_hour for step in ledger.entries}


def _shown(draw: Callable[[], Shown], nothing: Shown, troubles: Troubles) -> Shown:
    """What is drawn; nothing, and a word, where it cannot be."""
    try:
        return draw()
    except BROKEN as error:
        troubles.add(f"some pictures are not shown: {error}")
        return nothing
