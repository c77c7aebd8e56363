"""The funnel: for each filter and reason, how many samples came in, were dropped there, and went on.

It is read from the manifest alone, so it costs one small file at any data size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from curate.manifest import Entry

__all__ = ["FunnelRow", "funnel"]


@dataclass(frozen=True)
class FunnelRow:
    """One line of the funnel. `came_in` counts samples that no earlier filter dropped; `also` those that an earlier
    reason had dropped already and that this one would have dropped too."""

    stage: str
    reason: str
    came_in: int
    dropped: int
    kept: int
    also: int


def funnel(entries: Iterable[Entry], reasons: Mapping[str, Sequence[str]]) -> list[FunnelRow]:
    """Lines in the order of the filters. `reasons` maps each filter to its reasons; those never given are left out."""
    total: Counter[str] = Counter()
    for entry in entries:
        total.update(entry.counts)
    rows = []
    left = total["in"]
    for stage, names in reasons.items():
        for reason in names:
            dropped, flagged = total[f"dropped.{reason}"], total[f"flagged.{reason}"]
            if not flagged:
                continue
            rows.append(FunnelRow(stage, reason, left, dropped, left - dropped, flagged - dropped))
            left -= dropped
    return rows
