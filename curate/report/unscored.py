"""Rows that a scorer gave no value: pictures of the tar that cannot be decoded, and rows that it failed on.

Their columns are null, which most filters keep, so that they must be told: they are found as rows whose picture was
fetched and whose column is null. Read from the manifest alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from curate.manifest import Entry
from curate.score import FAILED, UNDECODED

__all__ = ["UnscoredRow", "unscored"]


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
        return f"{self.step} has no values for {left}: its columns are null there, which most filters keep"


def unscored(entries: Iterable[Entry]) -> list[UnscoredRow]:
    """A row for every step that left any out, in the order of the entries."""
    total: dict[str, Counter[str]] = {}
    for entry in entries:
        total.setdefault(entry.stage, Counter()).update(entry.counts)
    return [
        UnscoredRow(step, counts[FAILED], counts[UNDECODED])
        for step, counts in total.items()
        if counts[FAILED] or counts[UNDECODED]
    ]
