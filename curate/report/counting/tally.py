"""How often each value occurs, in bounded memory.

The web has 100 million hosts and a page shows thirty. Up to `most` values are counted at once; when there are more, the
rarer half is forgotten, and the count of the most frequent one that was is added to `least`: nobody's count is too low
by more than that (lossy counting, after Manku and Motwani 2002, with the error measured instead of bounded beforehand).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.report.facts import Counted

__all__ = ["MOST_SHOWN", "Tally", "by_value", "texts_of"]

MOST_SHOWN = 30
MOST_VALUES = 200_000
"""Counted at once: some 40 MB."""


@dataclass
class Tally:
    """Rows and kept rows of each value. `rows`, `kept`: of all values together; `without`: rows without one."""

    most: int = MOST_VALUES
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    rows: int = 0
    kept: int = 0
    without: int = 0
    least: int = 0

    def add(self, values: pa.Array | pa.ChunkedArray, keep: npt.NDArray[np.bool_]) -> None:
        """Count a value for each row, text or dictionary (n,), null or no letters for none, and whether it is kept."""
        words, rows, kept = by_value(values, keep)
        self.update(zip(words, rows, kept, strict=True))
        self.without += len(keep) - sum(rows)

    def update(self, counts: Iterable[tuple[str, int, int]]) -> None:
        """Add rows and kept rows of some values."""
        for value, rows, kept in counts:
            before = self.counts.get(value, (0, 0))
            self.counts[value] = before[0] + rows, before[1] + kept
            self.rows += rows
            self.kept += kept
        if len(self.counts) > self.most:
            self._forget()

    def counted(self, title: str) -> Counted | None:
        """The most frequent values, ties by the value itself; None where no row has one."""
        if not self.rows:
            return None
        shown = sorted(self.counts.items(), key=lambda one: (-one[1][0], one[0]))[:MOST_SHOWN]
        others = self.rows - sum(own[0] for _, own in shown), self.kept - sum(own[1] for _, own in shown)
        values = tuple((value, rows, kept) for value, (rows, kept) in shown)
        return Counted(title, values, others, self.without, self.least)

    def _forget(self) -> None:
        ordered = sorted(self.counts.items(), key=lambda one: (-one[1][0], one[0]))
        self.least += ordered[self.most // 2][1][0]
        self.counts = dict(ordered[: self.most // 2])


def by_value(values: pa.Array | pa.ChunkedArray, keep: npt.NDArray[np.bool_]) -> tuple[list[str], list[int], list[int]]:
    """The different values of a column, and the rows and kept rows of each; empty text is no value."""
    flat = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    coded = flat if pa.types.is_dictionary(flat.type) else flat.dictionary_encode()
    words = texts_of(coded.dictionary)
    places = np.asarray(coded.indices.fill_null(len(words))).astype(np.int64)
    rows, kept = (np.bincount(own, minlength=len(words) + 1)[:-1] for own in (places, places[keep]))
    found: dict[str, tuple[int, int]] = {}
    for word, own, left in zip(words, rows.tolist(), kept.tolist(), strict=True):
        if own and word:
            before = found.get(word, (0, 0))
            found[word] = before[0] + own, before[1] + left
    return list(found), [own[0] for own in found.values()], [own[1] for own in found.values()]


def texts_of(values: pa.Array) -> list[str]:
    """Text, or numbers as text, as Python's, broken UTF-8 and all; null as no letters."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        values = values.cast(pa.string())
    return [(raw or b"").decode("utf-8", "replace") for raw in values.cast(pa.large_binary()).to_pylist()]
