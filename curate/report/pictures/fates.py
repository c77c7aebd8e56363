"""Galleries of the rows that were kept, of those that were dropped for each reason, and of those next to each bound.

One pass over the columns of the decision and of the gauges draws for all galleries at once; then the drawn rows alone
are read. A million rows with 24 reasons and 13 bounds take 2.4 s of one core and 200 MB.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ShardError
from curate.gauge import Gauge
from curate.report.counting.bars import numbers_of
from curate.report.counting.reading import Columns, Troubles, in_blocks, joined
from curate.report.facts import Gallery
from curate.report.pictures.decided import rows_by_value
from curate.report.pictures.drawing import (
    UNREADABLE,
    Draw,
    Drawn,
    Lot,
    Numbers,
    Rows,
    row_numbers,
)
from curate.report.pictures.tiles import Tiles, fitted_galleries, read_tiles
from curate.report.pictures.withholding import Watch, watch
from curate.report.pictures.words import number_told, told
from curate.run_record import DecisionRecord, FilterRecord
from curate.shard import Shard

__all__ = ["galleries"]

Floats = npt.NDArray[np.float64]

MOST_REASONS = 100
"""More than the filters of a config give; what a column of strangers has beyond is not shown."""
PARTS, DOCUMENTS = "parts", "documents"
ALL, BORDERLINE = "all rows", "borderline"
NUMBER = "number of the row"
"""The column that rows are drawn by, beside those of the files."""
ONCE = "what is there several times is shown once"


def galleries(
    shards: Sequence[Shard],
    decision: DecisionRecord | None,
    filters: Sequence[FilterRecord],
    draw: Draw,
    seen: Watch | None = None,
) -> tuple[Gallery, ...]:
    """Kept rows, then dropped ones, a gallery a reason in the order of the filters, then borderline ones, a gallery a
    bound. `shards` are those of the samples or documents; with a decision on parts their parts are read, of which
    pictures are shown, and texts where a reason is against them. `decision` None: one gallery of all rows, of documents
    of all slots. A decision on documents has none: see `documents`.

    A gallery of a reason is drawn from the rows that nothing before dropped (their `drop_reason`); where there are
    none, from all that it was given to. Rows of a shard whose columns cannot be read are not among them.
    """
    if decision is not None and decision.unit == DOCUMENTS:
        return ()
    of_parts = decision.unit == PARTS if decision else any(one.storage.exists(one.parts.table_name()) for one in shards)
    lots = _Lots(decision, filters, draw, of_parts)
    for block in in_blocks(lots.read(shards)):
        lots.look(block)
    planned = list(lots.planned())
    every = [one for plan in planned for one in plan.drawn]
    tiles = read_tiles(shards, every, draw, seen or watch(shards), lots.of_parts)
    return fitted_galleries([_gallery(tiles, plan, draw.tiles) for plan in planned], draw, draw.bytes_of("galleries"))


@dataclass(frozen=True)
class _Bound:
    """One end of a gauge."""

    rule: str
    gauge: Gauge
    setting: str
    at: float
    lowest: bool


@dataclass(frozen=True)
class _Planned:
    """A gallery before its tiles are read; `number`: what the drawn rows' values are called."""

    kind: str
    title: str
    drawn: Sequence[Drawn]
    of: int
    words: str
    number: str = ""


class _Lots:
    """What is drawn for each gallery."""

    def __init__(
        self, decision: DecisionRecord | None, filters: Sequence[FilterRecord], draw: Draw, of_parts: bool
    ) -> None:
        self.decision, self.draw, self.of_parts = decision, draw, of_parts
        self.words = {reason: words for rule in filters for reason, words in rule.reasons.items()}
        bounds = (bound for rule in filters for gauge in rule.gauges for bound in _bounds(rule.name, gauge))
        self.bounds = list(dict.fromkeys(bounds))
        self.gauges = {reason: bound.gauge for bound in self.bounds for reason in _reasons(bound)}
        self.kept = Lot(draw.tiles)
        self.first: dict[str, Lot] = {}
        self.given: dict[str, Lot] = {}
        half = draw.tiles // 2
        self.blocks: list[tuple[list[int], list[int]]] = []
        """Of shards that were looked at together: their places, and where the rows of each begin, and the end."""
        self.sides = [(Lot(draw.tiles - half), Lot(half)) for _ in self.bounds]

    def read(self, shards: Sequence[Shard]) -> Iterator[tuple[int, pa.Table]]:
        """The places of the shards that can be read, and their columns."""
        for number, shard in enumerate(shards):
            table = shard.parts if self.of_parts else shard
            try:
                numbers = row_numbers(table, self.draw.seed, "text" if self.of_parts else "caption")
                yield number, self._columns(table).append_column(NUMBER, pa.array(numbers))
            except UNREADABLE:  # whoever counts its rows says that it cannot be read
                continue

    def look(self, block: Sequence[tuple[int, pa.Table]]) -> None:
        """Draw from some shards; one by one, and not from those whose columns are none, where one of them has such."""
        try:
            self._look(joined(block), len(self.blocks))
        except UNREADABLE:
            for one in block if len(block) > 1 else ():
                self.look([one])
        else:
            ends = np.cumsum([len(columns) for _, columns in block])
            self.blocks.append(([number for number, _ in block], [0, *ends.tolist()]))

    def _look(self, columns: pa.Table, block: int) -> None:
        """Nothing is offered before all is known."""
        numbers = np.asarray(columns[NUMBER])
        pictured = _equal(columns["kind"], "image") if self.of_parts else np.ones(len(numbers), bool)
        if self.decision is None:
            self.kept.offer(block, np.flatnonzero(pictured), numbers)
            return
        keep, prefix = np.asarray(pc.fill_null(columns[self.decision.keep], False), bool), self.decision.prefix
        measures = {gauge: _measured(columns, gauge) for gauge in {bound.gauge for bound in self.bounds}}
        first, given = (rows_by_value(columns[f"{prefix}{name}"]) for name in ("drop_reason", "drop_reasons"))
        self.kept.offer(block, np.flatnonzero(keep & pictured), numbers)
        self._offer_reasons(self.first, first, block, numbers, measures)
        self._offer_reasons(self.given, given, block, numbers, measures)
        for bound, sides in zip(self.bounds, self.sides, strict=True):
            values = measures[bound.gauge]
            if values is not None:
                _offer_bound(sides, bound, block, numbers, values)

    def rows(self, lot: Lot) -> list[Drawn]:
        """What was drawn, with the place of the shard and the row there."""
        found = []
        for one in lot.rows():
            shards, starts = self.blocks[one.shard]
            place = bisect_right(starts, one.row) - 1
            found.append(one._replace(shard=shards[place], row=one.row - starts[place]))
        return found

    def planned(self) -> Iterator[_Planned]:
        """Galleries in the order in which they are shown."""
        title, words = ("kept", "") if self.decision else (ALL, "nothing was decided on them")
        if self.kept.seen:
            yield _Planned("kept", title, self.rows(self.kept), self.kept.seen, words)
        for reason in dict.fromkeys([*self.words, *sorted(self.given)]):
            lot = self.first.get(reason) or self.given.get(reason)
            if lot:
                name = self.gauges[reason].name if reason in self.gauges else ""
                yield _Planned("dropped", reason, self.rows(lot), lot.seen, self.words.get(reason, ""), name)
        for bound, (below, above) in zip(self.bounds, self.sides, strict=True):
            near = sorted([*self.rows(below), *self.rows(above)], key=lambda one: (one.value, one.number))
            if near:
                title = f"{bound.gauge.name} near {number_told(bound.at)}"
                words = f"nearest to {bound.rule}.{bound.setting} = {number_told(bound.at)}, on either side"
                yield _Planned(BORDERLINE, title, near, below.seen + above.seen, words, bound.gauge.name)

    def _columns(self, table: Shard) -> pa.Table:
        """The columns of the decision, and those of gauges that can be read, each file opened once."""
        wanted = ["key", *(["kind"] if self.of_parts else [])]
        if self.decision is not None:
            prefix = self.decision.prefix
            wanted += [self.decision.keep, f"{prefix}drop_reason", f"{prefix}drop_reasons"]
        gauged = [name for bound in self.bounds for name in (*bound.gauge.columns, "kind")]
        files: dict[str, list[str]] = {}
        for name in dict.fromkeys([*wanted, *gauged]):
            if name in table.column_files:
                files.setdefault(table.column_files[name], []).append(name)
        found = Columns(files, {}).read(table, files, Troubles())
        if not {*wanted} <= {*found.column_names}:
            raise ShardError(f"shard {table.id} has no decision that can be read")
        return found

    def _offer_reasons(
        self,
        lots: dict[str, Lot],
        reasons: Mapping[str, Rows],
        block: int,
        numbers: Numbers,
        measures: Mapping[Gauge, Floats | None],
    ) -> None:
        for reason, rows in reasons.items():
            if reason in lots or len(lots) < MOST_REASONS:
                values = measures.get(self.gauges[reason]) if reason in self.gauges else None
                lots.setdefault(reason, Lot(self.draw.tiles)).offer(block, rows, numbers, values)


def _bounds(rule: str, gauge: Gauge) -> Iterator[_Bound]:
    ends = ((gauge.min_setting, gauge.min, True), (gauge.max_setting, gauge.max, False))
    for setting, at, lowest in ends:
        if at is not None and np.isfinite(at):
            yield _Bound(rule, gauge, setting, float(at), lowest)


def _reasons(bound: _Bound) -> Iterator[str]:
    return (reason for reason in (bound.gauge.too_low, bound.gauge.too_high) if reason)


def _measured(columns: pa.Table, gauge: Gauge) -> Floats | None:
    """The number of each row, not-a-number where there is none; None where it cannot be measured here."""
    try:
        numbers = numbers_of(gauge, columns)
    except UNREADABLE:
        return None
    return None if numbers is None else np.where(numbers.known, numbers.values, np.nan)


def _equal(column: pa.ChunkedArray, value: str) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(pc.equal(column.cast(pa.string()), value), False), bool)


def _offer_bound(sides: tuple[Lot, Lot], bound: _Bound, number: int, numbers: Numbers, values: Floats) -> None:
    """Rows outside the bound on one side, those inside, the bound included, on the other."""
    known = np.isfinite(values)
    below = known & (values < bound.at if bound.lowest else values <= bound.at)
    distances = np.abs(values - bound.at)
    for lot, side in zip(sides, (below, known & ~below), strict=True):
        lot.offer(number, np.flatnonzero(side), numbers, values, distances)


def _gallery(tiles: Tiles, plan: _Planned, most: int) -> Gallery:
    words = [plan.words] if plan.words else []
    if len(plan.drawn) < min(most, plan.of) and plan.kind != BORDERLINE:
        words.append(ONCE)
    found = tiles.gallery(plan.kind, told(plan.title), plan.drawn, plan.of, told("; ".join(words)))
    if not plan.number:
        return found
    values = [one.value for one in plan.drawn if (one.shard, one.row) in tiles.shown]
    numbered = tuple(
        replace(tile, numbers={told(plan.number): number_told(value), **tile.numbers}) if value == value else tile
        for tile, value in zip(found.tiles, values, strict=True)
    )
    return replace(found, tiles=numbered)
