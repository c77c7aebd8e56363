"""Copies against the truth, where the truth is known: on the toy web, whose rows say which picture they show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from curate.shard import Shard
from curate.toyweb.defects import NEAR_COPIES

__all__ = ["against_copies"]

LABEL, PICTURE = "toy_defect", "toy_picture"
KINDS: Mapping[str, Sequence[str]] = {
    "bytes": ("exact_copy",),
    "pixels": ("exact_copy",),
    "near_image": ("exact_copy", *NEAR_COPIES),
    "semantic": ("exact_copy", *NEAR_COPIES),
}
"""What looks for copies of pictures, and which planted copies it may be asked for."""

Row = Mapping[str, Any]


def against_copies(shards: Iterable[Shard]) -> list[dict[str, Any]]:
    """Precision and recall of each kind of copy, then how many of each planted sort were found; empty without labels.

    `dropped` are rows that are a copy of another, `rightly` those whose picture is that of the row kept. Among the rows
    that took part, all but one of each picture are `to_catch`.
    """
    listed = list(shards)
    answer = []
    for kind, planted in KINDS.items():
        columns = ["key", LABEL, PICTURE, f"{kind}_duplicate_of", f"{kind}_cluster_size"]
        if not listed or any(not set(columns) <= set(shard.column_files) for shard in listed):
            continue
        if f"{kind}_duplicate_in" in listed[0].column_files:
            continue  # what earlier data sets show is not known here
        rows = [row for shard in listed for row in shard.columns(columns).rename_columns(_NAMES).to_pylist()]
        answer += _against(kind, planted, [row for row in rows if row["size"] is not None])
    return answer


_NAMES = ["key", "label", "picture", "copy_of", "size"]


def _against(kind: str, planted: Sequence[str], rows: Sequence[Row]) -> list[dict[str, Any]]:
    picture_of = {row["key"]: row["picture"] for row in rows}
    dropped = [row for row in rows if row["copy_of"]]
    right = sum(picture_of.get(row["copy_of"]) == row["picture"] for row in dropped)
    asked = [row for row in rows if row["label"] in planted or row["label"] not in ("exact_copy", *NEAR_COPIES)]
    families = Counter(row["picture"] for row in asked)
    wanted = sum(families.values()) - len(families)
    caught = sum(picture_of.get(row["copy_of"]) == row["picture"] for row in asked if row["copy_of"])
    answer = [_row(kind, "all", len(dropped), right, wanted, caught)]
    for label in planted if len(planted) > 1 else ():
        own = [row for row in asked if row["label"] == label and families[row["picture"]] > 1]
        answer.append(_row(kind, label, None, None, len(own), sum(row["size"] > 1 for row in own)))
    return answer


def _row(kind: str, label: str, dropped: int | None, right: int | None, wanted: int, caught: int) -> dict[str, Any]:
    return {
        "copies_by": kind,
        "planted": label,
        "dropped": dropped,
        "rightly": right,
        "precision": right / dropped if dropped and right is not None else None,
        "to_catch": wanted,
        "caught": caught,
        "recall": caught / wanted if wanted else None,
    }
