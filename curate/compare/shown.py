"""Samples gained and lost as galleries, with the numbers that the reason's filter looked at below each picture.

The picture is of the side that keeps the row, for the other may never have fetched it. What must not be shown is asked
of both sides, and of what a config would decide: a picture that a new hash list drops is withheld, although the data
set that still keeps it knows of no list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curate.compare.compare import Comparison, UnitChange
from curate.compare.drawn import GAINED, Drawn
from curate.compare.sides import Side
from curate.compare.who import DOCUMENTS, PARTS
from curate.dedup.scatter import Ids, split_ids
from curate.report.facts import Gallery, Tile
from curate.report.pictures.drawing import UNREADABLE, Draw
from curate.report.pictures.drawing import Drawn as Row
from curate.report.pictures.tiles import fitted_galleries, read_tiles
from curate.report.pictures.withholding import SAFETY, Watch, watch, withheld_keys
from curate.report.pictures.words import told
from curate.run_record import FilterRecord
from curate.shard import Shard

__all__ = ["Shown", "shown"]

Flags: TypeAlias = npt.NDArray[np.bool_]

MOST_GALLERIES = 24
"""Of all units together; the most frequent changes of each are shown."""
MOST_NUMBERS = 4
MOST_LETTERS = 120


@dataclass(frozen=True)
class Shown:
    """The galleries of one unit; `left_out`: changes that have none, because there are too many."""

    unit: str
    gained: tuple[Gallery, ...]
    lost: tuple[Gallery, ...]
    left_out: int = 0


def shown(found: Comparison, draw: Draw) -> tuple[Shown, ...]:
    """The galleries of every unit, with `draw.picture_bytes` of thumbnails together at most."""
    watches = tuple(_Watched.of(side) for side in (found.a, found.b))
    own = replace(draw, picture_bytes=draw.picture_bytes // len(found.units))
    return tuple(_unit(found, unit, own, watches) for unit in found.units)


def _unit(found: Comparison, unit: UnitChange, draw: Draw, watches: tuple[_Watched, ...]) -> Shown:
    frequent = sorted(unit.drawn, key=lambda one: -one.rows)[: MOST_GALLERIES // len(found.units)]
    chosen = sorted(frequent, key=lambda one: one.change)
    made = [_gallery(found, unit, one, draw, watches) for one in chosen]
    fitted = fitted_galleries(made, draw, draw.picture_bytes)
    gained = sum(one.change == GAINED for one in chosen)
    return Shown(unit.name, fitted[:gained], fitted[gained:], len(unit.drawn) - len(chosen))


def _gallery(found: Comparison, unit: UnitChange, drawn: Drawn, draw: Draw, watches: tuple[_Watched, ...]) -> Gallery:
    is_gain = drawn.change == GAINED
    side, places = (found.b, drawn.places_b) if is_gain else (found.a, drawn.places_a)
    flagged = watches[0].flagged(drawn.places_a, unit.name) | watches[1].flagged(drawn.places_b, unit.name)
    rows = [one for one, hide in zip(_rows(places), flagged.tolist(), strict=True) if not hide]
    tiles = read_tiles(side.shards, rows, draw, watches[is_gain].seen, unit.name == PARTS)
    reason = unit.verdicts[drawn.reason]
    dropping = found.a if is_gain else found.b
    numbers = _numbers(side, unit.name, rows, _columns(dropping, unit.name, reason))
    title, words = told(reason, MOST_LETTERS), (unit.words or {}).get(reason, "")
    gallery = tiles.gallery("kept" if is_gain else "dropped", title, rows, drawn.rows, words)
    own = tuple(_with(tile, numbers.get((tile.shard, tile.key), {}), reason) for tile in gallery.tiles)
    return replace(gallery, tiles=own, withheld=gallery.withheld + int(flagged.sum()))


def _with(tile: Tile, numbers: Mapping[str, str], reason: str) -> Tile:
    """A tile with what the filter looked at, and the reason of the side that drops it."""
    return replace(tile, numbers={**numbers, **tile.numbers}, reasons=(told(reason),))


def _rows(places: Ids) -> list[Row]:
    _, shards, rows = split_ids(places)
    return [Row(0, shard, row, float("nan")) for shard, row in zip(shards.tolist(), rows.tolist(), strict=True)]


def _columns(side: Side, unit: str, reason: str) -> Sequence[str]:
    """What the filter looked at that gives a reason."""
    filters = side.record.filters(unit) if side.record is not None else ()
    return next((one.columns for one in filters if reason in one.reasons), ())


def _numbers(side: Side, unit: str, rows: Sequence[Row], names: Sequence[str]) -> dict[tuple[str, str], dict[str, str]]:
    """The numbers of these rows in some columns, by shard and key; of what cannot be read none."""
    by_shard: dict[int, list[int]] = {}
    for one in rows:
        by_shard.setdefault(one.shard, []).append(one.row)
    found: dict[tuple[str, str], dict[str, str]] = {}
    for number, own in by_shard.items():
        shard = side.shards[number]
        table = shard.parts if unit == PARTS else shard
        try:
            there = [name for name in names if name in table.column_files][:MOST_NUMBERS]
            read = table.columns(["key", *there]).take(pa.array(own))
            for row in _numeric(read).to_pylist():
                told_row = {
                    name: f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
                    for name, value in row.items()
                    if _is_number(value)
                }
                found[told(shard.id, MOST_LETTERS), told(row["key"], MOST_LETTERS)] = told_row
        except UNREADABLE:  # a tile without numbers
            continue
    return found


def _numeric(table: pa.Table) -> pa.Table:
    kinds = {own.name: own.type for own in table.schema}
    return table.select(["key", *(n for n, kind in kinds.items() if pt.is_integer(kind) or pt.is_floating(kind))])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


@dataclass(frozen=True)
class _Watched:
    """What must not be shown of one side: what its data set flags, and what its config would."""

    side: Side
    seen: Watch
    known: dict[tuple[int, str], Flags | None] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, side: Side) -> _Watched:
        seen = watch(side.shards)
        decisions = side.record.decisions if side.record is not None else ()
        own = {r for decision in decisions for one in decision.filters if _is_safety(one) for r in one.reasons}
        return cls(side, replace(seen, reasons=seen.reasons | own))

    def flagged(self, places: Ids, unit: str) -> Flags:
        """Which of these rows must not be shown, bool (rows,)."""
        flags = [self._of_shard(one.shard, unit) for one in _rows(places)]
        rows = [one.row for one in _rows(places)]
        return np.array([own is None or own[row] for own, row in zip(flags, rows, strict=True)], bool)

    def _of_shard(self, number: int, unit: str) -> Flags | None:
        """The flags of a shard's rows; None where it cannot be checked any more."""
        if (number, unit) not in self.known:
            shard = self.side.shards[number]
            try:
                tables = [shard] if self.side.decisions is None else [shard, self.side.decided(shard)]
                flags = [self._parts(one) if unit == PARTS else self._rows(one, unit) for one in tables]
                self.known[number, unit] = np.logical_or.reduce(flags)
            except UNREADABLE:
                self.known[number, unit] = None
        return self.known[number, unit]

    def _rows(self, table: Shard, unit: str) -> Flags:
        """Of a document any of its pictures may stand for it, so all of them must be fit to be shown."""
        flags = self._flags(table)
        if unit == DOCUMENTS:
            owners = np.asarray(table.parts.columns(["document"])["document"], np.int64)[self._parts(table)]
            flags[owners] = True
        return flags

    def _parts(self, table: Shard) -> Flags:
        return self._flags(table.parts)

    def _flags(self, table: Shard) -> Flags:
        hidden = pa.array(withheld_keys(table, self.seen), pa.string())
        return np.array(pc.fill_null(pc.is_in(table.columns(["key"])["key"], value_set=hidden), True), bool)


def _is_safety(one: FilterRecord) -> bool:
    return one.name.partition("-")[0] in SAFETY
