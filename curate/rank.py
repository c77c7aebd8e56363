"""The place of every row among all of them by a score: what "the best 30 %" needs, at any number of shards.

A threshold by quantile is a number that only all shards together know. Writing each row's *place* instead of a
threshold keeps the rule of the house: the slow step runs once, and any share or count afterwards is a bound on a
column.

Rows are sorted into bins by their score (one pass for a histogram, one to fill the bins), each bin is sorted alone, and
the places go back to their shards; memory is that of a bin and of the largest shard, about 100 bytes a row. Scores
that differ by less than 0.8 % may share a bin however small bins are to be: of CLIP's, 0.9 % do, which is 1.1 GB for
1.28 billion rows. Equal scores are ordered by what the row is (`curate.dedup.identity`), so how rows are packed into
shards changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.config import require_range
from curate.dedup.bins import Bins
from curate.dedup.identity import IDENTITY, identities
from curate.errors import ShardError
from curate.filter import Rules
from curate.manifest import Attempt
from curate.select import columns_of, decide
from curate.shard import Shard
from curate.stage import Barrier

__all__ = ["BIN_ROWS", "Rank", "rank_columns"]

BIN_ROWS = 4_000_000
"""Some 400 MB while a bin is sorted."""

BUCKETS = 1 << 16
Scores = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def rank_columns(column: str, among_kept: bool) -> tuple[str, str, str]:
    """What is written for a score: place (0 is the best), how many rows score more, and how many have a score."""
    stem = f"{column}_left" if among_kept else column
    return f"{stem}_rank", f"{stem}_above", f"{stem}_total"


@dataclass(frozen=True)
class Rank(Barrier):
    """The place of each row by the score `column`, the highest first; null for a row that has none, or not a number.

    Infinity is a number, and -0 is 0. With `rules`, which may be empty, places are given among the rows that these
    filters keep, and are null for the others. The total counts all rows with a score, or those with a place where
    `of_the_left` is set. int64 each.
    """

    column: str
    rules: Rules | None = None
    bin_rows: int = field(default=BIN_ROWS, metadata={"runtime": True})
    of_the_left: bool = False

    name: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        require_range("bin_rows", self.bin_rows, 1, 1_000_000_000)

    @property
    def label(self) -> str:
        return f"{self.name}_{self.column}" + ("_left" if self.rules is not None else "")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.column, *IDENTITY, *columns_of(self.rules or ()))))

    @property
    def writes(self) -> tuple[str, ...]:
        return rank_columns(self.column, self.rules is not None)

    def identity(self) -> Any:
        rules = None if self.rules is None else [[name, rule.identity()] for name, rule in self.rules]
        settings = {"column": self.column, "among": rules, "of_the_left": self.of_the_left}
        return {"stage": self.label, "version": self.version, **settings}

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        require_one_model(shards, self.column)
        scratch = attempt.scratch / "rank"
        counts = np.zeros(BUCKETS, np.int64)
        total = 0
        for shard in shards:
            scores, rows = self._ranked(shard)
            total += len(rows) if self.of_the_left else int((~np.isnan(scores)).sum())
            counts += np.bincount(_bucket(scores[rows]), minlength=BUCKETS)
        bin_of = np.minimum(np.cumsum(counts) - counts, max(counts.sum() - 1, 0)) // self.bin_rows
        back = self._places(shards, bin_of, scratch)
        for shard, answer in zip(shards, back, strict=True):
            attempt.write_table(shard.table_name(self.label), _table(shard, self.writes, answer, total))
        attempt.counts["ranked"] = int(counts.sum())

    def _ranked(self, shard: Shard) -> tuple[Scores, Rows]:
        """The scores of a shard, not-a-number where there is none, and which of its rows get a place."""
        columns = shard.columns(list(dict.fromkeys((self.column, *columns_of(self.rules or ())))))
        scores = _floats(columns[self.column], shard, self.column)
        chosen = ~np.isnan(scores)
        if self.rules:
            chosen &= np.asarray(decide(columns, self.rules)["keep"])
        return scores, np.flatnonzero(chosen)

    def _places(self, shards: Sequence[Shard], bin_of: Rows, scratch: Path) -> Iterator[tuple[int, Rows, Rows, Rows]]:
        """For each shard in its turn: its rows in all, those with a place, the place, and how many score more."""
        by_score, by_shard = Bins(scratch / "scores"), Bins(scratch / "shards")
        sizes = []
        for number, shard in enumerate(shards):
            scores, rows = self._ranked(shard)
            sizes.append(len(scores))
            high, low = identities(shard)[rows].T
            owner = np.full(len(rows), number, np.int32)
            own = pa.table({"score": scores[rows], "high": high, "low": low, "shard": owner, "row": rows})
            by_score.add(bin_of[_bucket(scores[rows])], own)
        base = 0
        for number in range(int(bin_of.max(initial=0)) + 1):
            found = by_score.read(number)
            if found is not None:
                placed = _sorted(found, base)
                by_shard.add(np.asarray(placed["shard"]).astype(np.int64), placed)
                base += len(placed)
        for number, size in enumerate(sizes):
            own = by_shard.read(number)
            rows, rank, above = (
                (np.asarray(own[name]) if own else np.empty(0, np.int64)) for name in ("row", "rank", "above")
            )
            yield size, rows, rank, above


def require_one_model(shards: Sequence[Shard], column: str) -> None:
    """Raise ShardError when a score column was made by different models in different shards, or by one that computed
    in another precision: they do not compare.

    Also when a shard has no such column.
    """
    made_by: dict[Any, str] = {}
    for shard in shards:
        if column not in shard.column_files:
            shard.columns([column])
        told = shard.provenance(column)
        made_by.setdefault((told.get("model_fingerprint"), told.get("model_precision")), shard.id)
    if len(made_by) > 1:
        _refuse(column, *list(made_by.items())[:2])


Made: TypeAlias = tuple[tuple[str | None, str | None], str]


def _refuse(column: str, first: Made, second: Made) -> NoReturn:
    """Raise ShardError about two shards: model and precision, and where."""
    (one, exact), here = first
    (other, rough), there = second
    if one == other:
        raise ShardError(
            f"{column} was computed in {exact or 'an unknown precision'} in shard {here} and in "
            f"{rough or 'an unknown one'} in shard {there}, because not every machine has the precision that was asked "
            'for; score all shards on machines of one kind, or with precision = "fp32"'
        )
    raise ShardError(
        f"{column} was made by model {one or 'an unknown one'} in shard {here} and by {other or 'an unknown one'} in "
        f"shard {there}; scores of different models do not compare: score all shards with one"
    )


def _floats(values: pa.ChunkedArray, shard: Shard, column: str) -> Scores:
    """The column as float64, not a number where it is null; -0 becomes 0, for they are equal and their bits differ."""
    kind = values.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise ShardError(f"shard {shard.id}: {column} is a column of {kind}; a rank needs numbers")
    flat = values.cast(pa.float64(), safe=False).combine_chunks()
    return np.asarray(flat.fill_null(np.nan)) + 0.0 if len(flat) else np.empty(0)


def _bucket(scores: Scores) -> Rows:
    """The top 16 bits of the score in single precision, turned so that higher scores have lower numbers."""
    with np.errstate(over="ignore"):
        bits = scores.astype(np.float32).view(np.uint32)
    rising = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))
    return (BUCKETS - 1 - (rising >> np.uint32(16)).astype(np.int64)).astype(np.int64)


def _sorted(found: pa.Table, base: int) -> pa.Table:
    """The rows of a bin with their places; `base` rows score more than all of them."""
    scores, high, low = (np.asarray(found[name]) for name in ("score", "high", "low"))
    order = np.lexsort((low, high, -scores))
    ordered = scores[order]
    new = np.ones(len(order), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(new)
    above = base + np.repeat(starts, np.diff(np.append(starts, len(order))))
    own = found.take(order).select(["shard", "row"])
    return own.append_column("rank", pa.array(base + np.arange(len(order)))).append_column("above", pa.array(above))


def _table(shard: Shard, names: Sequence[str], answer: tuple[int, Rows, Rows, Rows], total: int) -> pa.Table:
    size, rows, rank, above = answer
    table = {"key": shard.columns(["key"])["key"]}
    for name, values in zip(names, (rank, above), strict=False):
        column = np.zeros(size, np.int64)
        column[rows] = values
        missing = np.ones(size, bool)
        missing[rows] = False
        table[name] = pa.array(column, mask=missing)
    table[names[2]] = pa.array(np.full(size, total, np.int64))
    return pa.table(table)
