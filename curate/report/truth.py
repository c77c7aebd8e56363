"""Each filter against the truth, where the truth is known: on the toy web, whose rows carry their label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from curate.shard import Shard
from curate.toyweb.defects import DEFECTS
from curate.toyweb.truth import score

__all__ = ["against_truth"]

LABEL = "toy_defect"
SPOKEN_OF = frozenset({"fetch_status"}.union(*({*defect.must, *defect.may} for defect in DEFECTS.values())))
"""Filters of which some label says whether they are right; copies have a truth of their own (`copies_truth`)."""


def against_truth(shards: Iterable[Shard], reasons: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Precision and recall per filter, rows of a table; empty for a data set without labels."""
    labels: list[str] = []
    given: list[list[str]] = []
    statuses: list[str] = []
    for shard in shards:
        if not {LABEL, "drop_reasons", "fetch_status"} <= set(shard.column_files):
            return []
        columns = shard.columns([LABEL, "drop_reasons", "fetch_status"])
        labels += columns[LABEL].to_pylist()
        given += columns["drop_reasons"].to_pylist()
        statuses += columns["fetch_status"].to_pylist()
    if not labels:
        return []
    return [
        {
            "filter": row.filter,
            "dropped": row.dropped,
            "rightly": row.right,
            "precision": row.precision,
            "to_catch": row.wanted,
            "caught": row.caught,
            "recall": row.recall,
        }
        for row in score(labels, given, statuses, reasons)
        if row.filter in SPOKEN_OF
    ]
