"""Who was kept, and what speaks against the others: one shard's decision as numbers.

A row that a single reason speaks against would be kept if that filter let it: nearly all that a report asks of a
decision is answered by that reason's number and by which filters gave one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.run_record import FilterRecord

__all__ = ["Reasons", "Verdicts", "verdicts_of"]

MOST_REASONS = 4_096
"""Different ones of a data set. All filters together have some 150."""
Flags = npt.NDArray[np.bool_]


@dataclass
class Reasons:
    """The reasons met so far, numbered in the order they came, and the filter that gives each; a reason that no filter
    of the record gives stands for a filter of its own name. `filters` are named in the order of the record."""

    filters: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    filter_of: list[int] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, filters: Sequence[FilterRecord]) -> Reasons:
        owners = {reason: one.name for one in filters for reason in one.reasons}
        return cls([one.name for one in filters], owners=owners)

    def number(self, reason: str) -> int:
        """Raises ValueError for too many different ones."""
        if reason not in self.numbers:
            if len(self.numbers) >= MOST_REASONS:
                raise ValueError(f"it has more than {MOST_REASONS:,} different reasons")
            owner = self.owners.get(reason, reason)
            if owner not in self.filters:
                self.filters.append(owner)
            self.numbers[reason] = len(self.numbers)
            self.filter_of.append(self.filters.index(owner))
        return self.numbers[reason]

    def counted(self, numbers: npt.NDArray[np.int64]) -> dict[str, int]:
        """How often each reason is among these numbers."""
        rows = np.bincount(numbers, minlength=len(self.numbers)).tolist()
        return {reason: rows[number] for reason, number in self.numbers.items() if rows[number]}


@dataclass(frozen=True)
class Verdicts:
    """A decision on n rows. `keep`: bool (n,). `decided`: whether there was one; where not, `keep` says which rows have
    what they are made of. `rows`, `reasons`: int (m,), one entry for each reason against a row, in order of rows."""

    keep: Flags
    decided: bool
    rows: npt.NDArray[np.int64]
    reasons: npt.NDArray[np.int64]

    @cached_property
    def only(self) -> npt.NDArray[np.int64]:
        """The number of the one reason against each row, (n,); -1 where there is none, or several."""
        found = np.full(len(self.keep), -1, np.int64)
        single = np.bincount(self.rows, minlength=len(self.keep))[self.rows] == 1
        found[self.rows[single]] = self.reasons[single]
        return found


def verdicts_of(columns: pa.Table, prefix: str | None, reasons: Reasons) -> Verdicts:
    """The decision of a shard from its columns `<prefix>keep` and `<prefix>drop_reasons`; None for a data set on which
    nobody decided: there, rows with a picture are kept. Of a shard that is not decided on yet, nothing is kept. Raises
    ValueError for columns of other types."""
    nothing = np.zeros(0, np.int64)
    if prefix is None:
        return Verdicts(_there(columns), False, nothing, nothing)
    names = f"{prefix}keep", f"{prefix}drop_reasons"
    if names[0] not in columns.column_names:
        return Verdicts(np.zeros(len(columns), bool), False, nothing, nothing)
    keep = columns[names[0]]
    told = columns[names[1]] if names[1] in columns.column_names else pa.nulls(len(keep), pa.list_(pa.string()))
    if not pa.types.is_boolean(keep.type) or not pa.types.is_list(told.type):
        raise ValueError(f"{names[0]} and {names[1]} are {keep.type} and {told.type}, and not a decision")
    rows = np.repeat(np.arange(len(columns)), np.asarray(pc.fill_null(pc.list_value_length(told), 0)))
    chunks = told.chunks if isinstance(told, pa.ChunkedArray) else [told]
    given = np.concatenate([nothing, *(_codes(chunk.flatten(), reasons) for chunk in chunks)])
    if len(given) != len(rows):
        raise ValueError(f"{names[1]} has a null among its reasons")
    return Verdicts(np.asarray(pc.fill_null(keep, False)), True, rows, given)


def _codes(given: pa.Array, reasons: Reasons) -> npt.NDArray[np.int64]:
    given = given if pa.types.is_dictionary(given.type) else given.dictionary_encode()
    used = given.indices.unique().drop_null().to_pylist()
    words: Mapping[int, str] = {place: str(given.dictionary[place].as_py()) for place in sorted(used)}
    own = np.zeros(len(given.dictionary), np.int64)
    for place, word in words.items():
        own[place] = reasons.number(word)
    return own[np.asarray(given.indices.drop_null()).astype(np.int64)]


def _there(columns: pa.Table) -> Flags:
    if "status" in columns.column_names and pa.types.is_string(columns["status"].type):
        return np.asarray(pc.fill_null(pc.equal(columns["status"], "success"), False))
    return np.ones(len(columns), bool)
