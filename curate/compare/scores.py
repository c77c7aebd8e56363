"""Columns of scores that differ between two data sets on the same rows: another model, another resize, another library.

Numbers that scorers wrote are compared pair by pair; how far apart they are tells whether a changed threshold or a
changed model moved a row. All pairs are compared up to two million, beyond that as many drawn by what the rows are, so
memory stays under 100 MB at any size. A family of columns is read at a time, each file once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from curate.compare.matching import NOWHERE, Pairs
from curate.compare.sides import Reader
from curate.dedup.identity import keyed
from curate.dedup.scatter import Ids, split_ids
from curate.errors import CurateError
from curate.shard import Shard

__all__ = ["MOST_PAIRS", "ScoreChange", "SomePairs", "score_changes"]

MOST_PAIRS = 2_000_000
SEED = 8
FINGERPRINT = "model_fingerprint"
PLAIN = ("", "index", "fetch", "fetch_log", "pages", "pages_log", "file_digests")
"""Families that no scorer wrote."""
DECIDED = ("select", "counts")
"""What the families of decisions end with."""

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoreChange:
    """One column. `rows`: compared ones that have a number in both; `differ`: how many of them are not equal; `only_a`,
    `only_b`: rows with a number in one alone. `largest`, `mean`: of |B - A| over `rows`; `shift`: mean of B - A.
    `model_a`, `model_b`: the models' fingerprints where they differ, else empty. A column that only one side has tells
    so in `only`, and nothing else."""

    column: str
    rows: int = 0
    differ: int = 0
    only_a: int = 0
    only_b: int = 0
    largest: float = 0.0
    mean: float = 0.0
    shift: float = 0.0
    model_a: str = ""
    model_b: str = ""
    only: str = ""

    @property
    def changed(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.only or self.differ or self.only_a or self.only_b or self.model_a != self.model_b)


@dataclass
class SomePairs:
    """Rows that both sides have, at most `most`: beyond that those with the smallest keys. `of`: how many there are."""

    most: int
    of: int = 0
    _kept: list[tuple[Ids, Ids, npt.NDArray[np.uint64]]] = field(default_factory=list)
    _count: int = 0

    def add(self, pairs: Pairs) -> None:
        """Look at some pairs."""
        both = np.flatnonzero((pairs.places_a != NOWHERE) & (pairs.places_b != NOWHERE))
        self.of += len(both)
        keys = np.zeros(len(both), np.uint64) if pairs.keys is None else keyed(pairs.keys[both], SEED)
        self._kept.append((pairs.places_a[both], pairs.places_b[both], keys))
        self._count += len(both)
        if self._count > 2 * self.most:
            self._cut()

    def take(self) -> tuple[Ids, Ids]:
        """Their places in A and in B."""
        self._cut()
        return self._kept[0][:2] if self._kept else (np.empty(0, np.uint64), np.empty(0, np.uint64))

    def _cut(self) -> None:
        if not self._kept:
            return
        a, b, keys = (np.concatenate([one[place] for one in self._kept]) for place in (0, 1, 2))
        if len(keys) > self.most:
            best = np.sort(np.argpartition(keys, self.most)[: self.most])
            a, b, keys = a[best], b[best], keys[best]
        self._kept, self._count = [(a, b, keys)], len(keys)


def score_changes(a: Reader, b: Reader, places_a: Ids, places_b: Ids) -> tuple[ScoreChange, ...]:
    """What differs in the columns of scores on these pairs of rows, in the order of A's columns and then of B's. Shards
    that cannot be read are told to the readers' troubles, and their rows have no numbers."""
    here, there = _scores(a), _scores(b)
    found: dict[str, ScoreChange] = {}
    together: dict[tuple[str, str], list[str]] = {}
    for name in {**here, **there}:
        if name not in here or name not in there:
            found[name] = ScoreChange(name, only="A" if name in here else "B")
            continue
        one, other = here[name], there[name]
        models = (one.model, other.model) if one.model != other.model else ("", "")
        found[name] = ScoreChange(name, model_a=models[0], model_b=models[1])
        if one.numbers and other.numbers:
            together.setdefault((one.family, other.family), []).append(name)
    for (family, other_family), names in together.items():
        values, others = _values(a, places_a, family, names), _values(b, places_b, other_family, names)
        for name in names:
            found[name] = _measured(found[name], values[name], others[name])
    return tuple(change for change in found.values() if change.changed)


@dataclass(frozen=True)
class _Score:
    """A column that a scorer wrote: its family, whether it holds numbers that can be subtracted, and its model."""

    family: str
    numbers: bool
    model: str


def _scores(side: Reader) -> dict[str, _Score]:
    """The columns that scorers wrote, as the first shard has them that can be read."""
    for shard in side.side.shards:
        try:
            return dict(_listed(side.table(shard)))
        except CurateError as error:
            side.troubles.add(side.side, error)
    return {}


def _listed(table: Shard) -> Iterator[tuple[str, _Score]]:
    schemas: dict[str, pa.Schema] = {}
    for name, family in table.column_files.items():
        if name == "key" or family in PLAIN or family.endswith(DECIDED):
            continue
        schema = schemas.setdefault(family, table.schema(family))
        own = schema.field(name)
        model = (own.metadata or {}).get(FINGERPRINT.encode(), b"").decode("utf-8", "replace")
        yield name, _Score(family, pt.is_integer(own.type) or pt.is_floating(own.type), model)


def _values(side: Reader, places: Ids, family: str, columns: Sequence[str]) -> dict[str, Values]:
    """Numbers of these rows, not-a-number for none and for infinity, float64 (rows,) each."""
    values = {name: np.full(len(places), np.nan) for name in columns}
    if not len(places):
        return values
    _, shards, rows = split_ids(places)
    order = np.argsort(shards, kind="stable")
    numbers, starts = np.unique(shards[order], return_index=True)
    for number, own in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        table = side.table(side.side.shards[number])
        try:
            read = table.table(family, columns)
            for name in columns:
                values[name][own] = _numbers(read[name])[rows[own]]
        except (CurateError, pa.ArrowException, KeyError, IndexError) as error:
            side.troubles.add(side.side, _as_error(error, table, family))
    return values


def _numbers(column: pa.ChunkedArray) -> Values:
    plain = column.cast(pa.float64(), safe=False).to_numpy()
    return np.where(np.isfinite(plain), plain, np.nan)


def _as_error(error: Exception, table: Shard, family: str) -> CurateError:
    if isinstance(error, CurateError):
        return error
    return CurateError(f"{table.table_name(family)} in {table.storage.root} cannot be compared: {error}")


def _measured(change: ScoreChange, a: Values, b: Values) -> ScoreChange:
    has_a, has_b = ~np.isnan(a), ~np.isnan(b)
    both = has_a & has_b
    step = b[both] - a[both]
    apart = np.abs(step)
    rows = len(step)
    return ScoreChange(
        change.column,
        rows,
        int(np.count_nonzero(step)),
        int(np.count_nonzero(has_a & ~has_b)),
        int(np.count_nonzero(has_b & ~has_a)),
        float(apart.max()) if rows else 0.0,
        float(apart.mean()) if rows else 0.0,
        float(step.mean()) if rows else 0.0,
        change.model_a,
        change.model_b,
    )
