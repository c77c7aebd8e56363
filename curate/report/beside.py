"""What steps left out that decide nothing: rows without a score, texts without talk, examples that cannot be packed.

No filter gave these a reason, so that the funnel does not know them; they are counted in commits, and told from the
manifest alone. Rows without a score are null in the scorer's columns, which most filters keep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from curate.manifest import Entry
from curate.score import FAILED, UNDECODED

__all__ = ["CountRow", "UnscoredRow", "counted", "unscored"]


@dataclass(frozen=True)
class UnscoredRow:
    """What one step could not score: rows that it failed on, and pictures that nobody can decode."""

    step: str
    failed: int
    undecoded: int

    @property
    def words(self) -> str:
        """The same for a reader."""
        told = ((self.undecoded, "pictures that cannot be decoded"), (self.failed, "rows that it failed on"))
        left = " and ".join(f"{rows:,} {what}" for rows, what in told if rows)
        return f"{self.step} has no values for {left}: its columns are null there"


@dataclass(frozen=True)
class CountRow:
    """How many rows of a step came to one end."""

    step: str
    outcome: str
    rows: int


def unscored(entries: Iterable[Entry]) -> list[UnscoredRow]:
    """A row for every step that left any out, in the order of the entries."""
    return [
        UnscoredRow(step, counts[FAILED], counts[UNDECODED])
        for step, counts in _totals(entries).items()
        if counts[FAILED] or counts[UNDECODED]
    ]


def counted(entries: Iterable[Entry], opening: str) -> list[CountRow]:
    """What steps counted under names with this opening, the most frequent first: `dropped.` of what cannot be packed,
    `instructions_` of the talk about pictures."""
    return [
        CountRow(step, name.removeprefix(opening), rows)
        for step, counts in _totals(entries).items()
        for name, rows in sorted(counts.items(), key=lambda own: (-own[1], own[0]))
        if name.startswith(opening) and rows
    ]


def _totals(entries: Iterable[Entry]) -> dict[str, Counter[str]]:
    total: dict[str, Counter[str]] = {}
    for entry in entries:
        total.setdefault(entry.stage, Counter()).update(entry.counts)
    return total
