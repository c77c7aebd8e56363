"""Measures filters and fetch against the labels: what was dropped, what should have been, and what was rightly so.

Precision: of the rows a filter dropped, the share it was right about (`must` or `may` names it). Recall: of the rows
it ought to catch (`must`), the share it dropped. A row whose picture did not arrive is left out of both for filters
that look at pictures, since they never saw it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.fetch.status import FetchStatus
from curate.toyweb.defects import DEFECTS

__all__ = ["PICTURE_FILTERS", "Score", "contamination", "score", "surprises"]

PICTURE_FILTERS = frozenset(
    {
        "animated",
        "aspect_ratio",
        "blur",
        "clip_similarity",
        "image_size",
        "match_probability",
        "single_color",
        "text_in_image",
    }
)


@dataclass(frozen=True)
class Score:
    """One filter against the truth: `right` of the `dropped`, and `caught` of those `wanted`."""

    filter: str
    dropped: int
    right: int
    wanted: int
    caught: int

    @property
    def precision(self) -> float | None:
        """right / dropped, 0 to 1; None when nothing was dropped."""
        return self.right / self.dropped if self.dropped else None

    @property
    def recall(self) -> float | None:
        """caught / wanted, 0 to 1; None when there was nothing to catch."""
        return self.caught / self.wanted if self.wanted else None


def score(
    defects: Iterable[Any],
    reasons: Iterable[Any],
    statuses: Iterable[Any],
    filters: Mapping[str, Collection[str]],
) -> list[Score]:
    """One Score per filter, in the order of `filters`.

    `defects`, `reasons` and `statuses` are parallel, as lists or Arrow columns: a row's label, its reasons to be
    dropped (a list, or None), its `fetch_status`. `filters` says which reasons belong to which filter.
    """
    rows = [
        (DEFECTS[defect], set(why or ()), status == FetchStatus.SUCCESS)
        for defect, why, status in zip(_plain(defects), _plain(reasons), _plain(statuses), strict=True)
    ]
    table = []
    for name, own in filters.items():
        seen = [(defect, why) for defect, why, arrived in rows if arrived or name not in PICTURE_FILTERS]
        dropped = [defect for defect, why in seen if not why.isdisjoint(own)]
        wanted = [why for defect, why in seen if name in defect.must]
        right = sum(name in defect.must or name in defect.may for defect in dropped)
        table.append(Score(name, len(dropped), right, len(wanted), sum(not why.isdisjoint(own) for why in wanted)))
    return table


def surprises(defects: Iterable[Any], statuses: Iterable[Any]) -> list[tuple[int, str, str | None]]:
    """Rows whose fetch did not end as their label says: (place in the table, label, status)."""
    pairs = zip(_plain(defects), _plain(statuses), strict=True)
    return [
        (place, defect, status) for place, (defect, status) in enumerate(pairs) if status not in DEFECTS[defect].fetch
    ]


def contamination(defects: Iterable[Any], kept: Iterable[Any]) -> Counter[str]:
    """Labels of the bad rows that were kept after all, with their counts."""
    pairs = zip(_plain(defects), _plain(kept), strict=True)
    return Counter(defect for defect, keep in pairs if keep and DEFECTS[defect].kind == "bad")


def _plain(values: Iterable[Any]) -> Sequence[Any]:
    """Python values of a list or an Arrow column."""
    listed: Sequence[Any] = values.to_pylist() if hasattr(values, "to_pylist") else list(values)
    return listed
