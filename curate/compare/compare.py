"""The comparison itself: rows of both sides by their verdicts, settings, scores, and which rows to show.

Where both sides have the very same rows (a config on a data set; two data sets whose sample tables have the same
digests) they are compared shard by shard and row by row, which is what matching them would give: 1 M rows take 2 s
instead of 6. Otherwise rows are matched by what they are (`curate.compare.matching`).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.compare.drawn import Drawing, Drawn
from curate.compare.judging import LeftOut
from curate.compare.matching import Pairs, matched
from curate.compare.scores import MOST_PAIRS, ScoreChange, SomePairs, score_changes
from curate.compare.settings import SettingChange, setting_changes
from curate.compare.sides import Reader, Side, Troubles, not_ended
from curate.compare.verdicts import ABSENT, KEPT, UNDECIDED, Verdicts
from curate.compare.views import ViewChange, view_changes
from curate.compare.who import PARTS, SAMPLES, who
from curate.dedup.scatter import row_ids
from curate.errors import ConfigError, CurateError, ShardError, StorageError
from curate.manifest import Manifest

__all__ = ["Comparison", "UnitChange", "compare"]

WIDE = np.int64(1 << 31)


@dataclass(frozen=True)
class UnitChange:
    """What changed among samples, documents or parts.

    `verdicts`: names of KEPT, UNDECIDED, ABSENT and of all reasons; `cells`: rows by the numbers of their verdicts in A
    and in B. `by_url`: rows matched by URL and caption, whose picture is another. `words`: of reasons. `scores`:
    columns that differ, from `compared` pairs of rows of `pairs`. `views`: texts of views of captions. `drawn`: rows to
    show, where they were asked for."""

    name: str
    verdicts: tuple[str, ...]
    cells: Mapping[tuple[int, int], int]
    by_url: int = 0
    words: Mapping[str, str] | None = None
    scores: tuple[ScoreChange, ...] = ()
    pairs: int = 0
    compared: int = 0
    views: tuple[ViewChange, ...] = ()
    drawn: tuple[Drawn, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether any row is decided otherwise, or is in one side only."""
        return any(a != b for a, b in self.cells)

    @property
    def gained(self) -> int:
        """Rows that A drops and B keeps."""
        return sum(rows for (a, b), rows in self.cells.items() if b == KEPT and a > ABSENT)

    @property
    def lost(self) -> int:
        """Rows that A keeps and B drops."""
        return sum(rows for (a, b), rows in self.cells.items() if a == KEPT and b > ABSENT)

    def rows(self, side: int, verdict: int | None = None) -> int:
        """Rows of A (side 0) or B (side 1): all, or those of one verdict."""
        return sum(rows for own, rows in self._of(side) if own == verdict or (verdict is None and own != ABSENT))

    def only(self, side: int) -> int:
        """Rows that the other side does not have."""
        return sum(rows for cell, rows in self.cells.items() if cell[1 - side] == ABSENT)

    def _of(self, side: int) -> Iterator[tuple[int, int]]:
        return ((cell[side], rows) for cell, rows in self.cells.items())


@dataclass(frozen=True)
class Comparison:
    """All that is told of two sides. `settings`: None where a side has no `run.json`. `troubles`: what could not be
    read, or not be relied on, in words."""

    a: Side
    b: Side
    units: tuple[UnitChange, ...]
    settings: tuple[SettingChange, ...] | None
    troubles: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether any row is decided otherwise, or is in one side only."""
        return any(unit.differs for unit in self.units)

    @property
    def left_out(self) -> tuple[tuple[str, LeftOut], ...]:
        """Filters that could not judge, each with the name of its side."""
        return tuple((side.name, one) for side in (self.a, self.b) for one in side.left_out)


def compare(a: Side, b: Side, draw: int = 0) -> Comparison:
    """Compare two sides. `draw`: how many rows of each change to draw, so that they can be shown; none for 0.

    Raises ConfigError where they decide on different things, ShardError where a side has decided nothing, StorageError
    for a damaged `run.json`.
    """
    names = [unit for unit in a.units if unit in b.units]
    if not names:
        told = " and ".join(f"{side.name} on {', '.join(side.units)}" for side in (a, b))
        raise ConfigError(f"nothing to compare: {told} were decided; compare data sets of one kind")
    troubles = Troubles()
    for side in (a, b):
        if (stopped := not_ended(side)) is not None:
            troubles.add(side, stopped)
    units = tuple(_unit(a, b, name, draw, troubles) for name in names)
    return Comparison(a, b, units, _settings(a, b), tuple(troubles.told))


def _settings(a: Side, b: Side) -> tuple[SettingChange, ...] | None:
    if a.record is None or b.record is None:
        return None
    try:
        return setting_changes(a.record, b.record)
    except RecursionError as error:
        raise StorageError(f"run.json of {a.name} or {b.name} is damaged: {error}; run its config again") from error


def _unit(a: Side, b: Side, name: str, draw: int, troubles: Troubles) -> UnitChange:
    verdicts, cells, drawing, some = Verdicts(), Counter[tuple[int, int]](), Drawing(draw), SomePairs(MOST_PAIRS)
    sides = Reader(a, name, verdicts, troubles), Reader(b, name, verdicts, troubles)
    by_url = 0
    aligned = _same_rows(a, b, name)
    with nullcontext("") if aligned else tempfile.TemporaryDirectory(prefix="curate-compare-") as folder:
        pairs = _aligned(*sides, draw > 0) if aligned else _matched(*sides, Path(folder))
        for some_pairs in pairs:
            _count(cells, some_pairs)
            by_url += some_pairs.by_url
            drawing.add(some_pairs)
            if a.storage != b.storage:
                some.add(some_pairs)
    for side, reader in enumerate(sides):
        _require_decided(reader, side, cells)
    places = some.take()
    apart = a.storage != b.storage
    return UnitChange(
        name,
        tuple(verdicts.names),
        dict(cells),
        by_url,
        {**b.words(name), **a.words(name)},
        score_changes(*sides, *places) if apart else (),
        some.of,
        len(places[0]),
        view_changes(*sides) if apart and name == SAMPLES else (),
        drawing.take(),
    )


def _matched(a: Reader, b: Reader, folder: Path) -> Iterator[Pairs]:
    return matched(a.rows(), b.rows(), a.count() + b.count(), folder)


def _aligned(a: Reader, b: Reader, keys: bool) -> Iterator[Pairs]:
    """Pairs of the same rows, shard by shard. Who they are is only read where some are drawn: of changed ones where
    `keys` are asked for, of two data sets where there are too many to compare the scores of all."""
    many = a.side.storage != b.side.storage and a.count() > MOST_PAIRS
    for number, shard in enumerate(a.side.shards):
        one, other = a.codes(number), b.codes(number)
        if one is None or other is None:
            continue
        places = row_ids(number, np.arange(len(one)))
        try:
            if len(one) != len(other):
                raise ShardError(f"shard {shard.id} has {len(one)} rows here and {len(other)} there; run it again")
            own = who(shard, a.unit)[1] if many or (keys and (one != other).any()) else None
            yield Pairs(one, other, places, places, own)
        except CurateError as error:
            a.troubles.add(a.side, error)


def _same_rows(a: Side, b: Side, unit: str) -> bool:
    """Whether both sides have the same rows in the same shards, as far as their manifests tell."""
    if a.storage == b.storage:
        return True
    if [shard.id for shard in a.shards] != [shard.id for shard in b.shards]:
        return False
    digests = [_digests(side, unit) for side in (a, b)]
    return digests[0] is not None and digests[0] == digests[1]


def _digests(side: Side, unit: str) -> list[tuple[int, str]] | None:
    """Bytes and digests of the tables that say who rows are; None where one is not told, or not there as told."""
    told = {file.name: file for entry in Manifest.read(side.storage).entries for file in entry.files}
    there = side.storage.files()
    names = [shard.table_name() for shard in side.shards]
    if unit == PARTS:
        names += [shard.parts.table_name() for shard in side.shards]
    if not all(name in told and there.get(name) == told[name].bytes for name in names):
        return None
    return [(told[name].bytes, told[name].sha256) for name in names]


def _count(cells: Counter[tuple[int, int]], pairs: Pairs) -> None:
    joined, rows = np.unique(pairs.a * WIDE + pairs.b, return_counts=True)
    for cell, count in zip(joined.tolist(), rows.tolist(), strict=True):
        cells[divmod(cell, int(WIDE))] += count


def _require_decided(reader: Reader, side: int, cells: Mapping[tuple[int, int], int]) -> None:
    """Raise ShardError when a side has rows and no decision on any."""
    found = {cell[side] for cell in cells} - {ABSENT}
    if found == {UNDECIDED} or (not found and cells):
        own, prefix = reader.side, reader.side.prefix(reader.unit)
        first = next((text for text in reader.troubles.told if text.startswith(own.name)), "it has no rows")
        raise ShardError(
            f"no {reader.unit} of {own.name} are decided ({prefix}keep, {prefix}drop_reason): {first}; "
            "run its config to the end"
        )
