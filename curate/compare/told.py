"""A comparison as tables of plain values: what is printed, as JSON or aligned, and what the page draws its tables from.

Names of reasons, filters and columns come from a data set's folder, so from anybody: control characters and marks that
turn the writing direction are taken out, line ends become blanks, and a name has at most 200 letters.
"""

from __future__ import annotations

from typing import Any

from curate.compare.compare import Comparison, UnitChange
from curate.compare.verdicts import ABSENT, KEPT, UNDECIDED
from curate.document.render import plain

__all__ = ["COUNTED", "Row", "clean", "summary", "told"]

MOST_LETTERS = 200
DIGITS = 6
"""Of differences of scores, that matter."""

Row = dict[str, Any]


def told(found: Comparison) -> dict[str, Any]:
    """All that a comparison found, without pictures. Tables are lists of rows; those of nothing are empty."""
    return {
        "a": clean(found.a.name),
        "b": clean(found.b.name),
        "differ": found.differs,
        "summary": [summary(unit) for unit in found.units],
        "reasons": [row for unit in found.units for row in reason_rows(unit)],
        "changes": [row for unit in found.units for row in change_rows(unit)],
        "settings": setting_rows(found),
        "scores": [row for unit in found.units for row in score_rows(unit)],
        "columns": [row for unit in found.units for row in column_rows(unit)],
        "views": [row for unit in found.units for row in view_rows(unit)],
        "not_judged": left_out_rows(found),
        "outdated": [
            {"side": clean(side.name), "step": clean(step)} for side in (found.a, found.b) for step in side.outdated
        ],
        "troubles": [clean(text, 1_000) for text in found.troubles],
    }


def summary(unit: UnitChange) -> Row:
    """How many rows each side has and keeps, how many both have, and what became of these.

    `other_reason`: dropped by both, for another reason. `other_picture`: of `in_both`, matched by URL and caption.
    """
    in_both = sum(rows for (a, b), rows in unit.cells.items() if ABSENT not in (a, b))
    other = sum(rows for (a, b), rows in unit.cells.items() if a != b and min(a, b) > ABSENT)
    counts = {f"{name}_{side}": unit.rows(n, verdict) for name, verdict in COUNTED for n, side in ((0, "a"), (1, "b"))}
    return {
        "unit": unit.name,
        **counts,
        "in_both": in_both,
        "only_in_a": unit.only(0),
        "only_in_b": unit.only(1),
        "kept_in_both": unit.cells.get((KEPT, KEPT), 0),
        "gained": unit.gained,
        "lost": unit.lost,
        "other_reason": other,
        "other_picture": unit.by_url,
    }


COUNTED = (("rows", None), ("kept", KEPT), ("undecided", UNDECIDED))
"""What a summary counts of each side, and by which verdict."""


def reason_rows(unit: UnitChange) -> list[Row]:
    """Rows dropped for each reason (a row's first) by A and by B, the largest difference first."""
    rows = []
    for number, name in enumerate(unit.verdicts):
        a, b = unit.rows(0, number), unit.rows(1, number)
        if number > ABSENT and a + b:
            words = clean((unit.words or {}).get(name, ""))
            rows.append({"unit": unit.name, "reason": clean(name), "words": words, "a": a, "b": b, "difference": b - a})
    return sorted(rows, key=lambda row: (-abs(row["difference"]), -row["a"] - row["b"], row["reason"]))


def change_rows(unit: UnitChange) -> list[Row]:
    """Rows whose verdict is another, by the verdict in A and in B: gained, lost, and then all other changes, the most
    frequent first."""
    rows = [
        {
            "unit": unit.name,
            "change": _change(a, b),
            "in_a": clean(unit.verdicts[a]),
            "in_b": clean(unit.verdicts[b]),
            "rows": count,
        }
        for (a, b), count in unit.cells.items()
        if a != b
    ]
    return sorted(rows, key=lambda row: (_CHANGES.index(row["change"]), -row["rows"], row["in_a"], row["in_b"]))


_CHANGES = ("gained", "lost", "other reason", "only in A", "only in B", "not decided in both")


def _change(a: int, b: int) -> str:
    if ABSENT in (a, b):
        return "only in B" if a == ABSENT else "only in A"
    if UNDECIDED in (a, b):
        return "not decided in both"
    return "gained" if b == KEPT else "lost" if a == KEPT else "other reason"


def setting_rows(found: Comparison) -> list[Row]:
    """Settings that differ; one row in words where a side does not tell its settings."""
    if found.settings is None:
        without = [side.name for side in (found.a, found.b) if side.record is None]
        words = f"{' and '.join(without)} has no run.json, so settings are not known; run its config again to get one"
        return [{"where": clean(words), "setting": "", "change": "unknown", "a": "", "b": ""}]
    return [
        {
            "where": clean(one.where),
            "setting": clean(one.setting),
            "change": one.change,
            "a": clean(one.a),
            "b": clean(one.b),
        }
        for one in found.settings
    ]


def score_rows(unit: UnitChange) -> list[Row]:
    """Columns of scores that both have and that differ, as `curate.compare.scores.ScoreChange` has them."""
    return [
        {
            "unit": unit.name,
            "column": clean(one.column),
            "compared": one.rows,
            "differ": one.differ,
            "only_a": one.only_a,
            "only_b": one.only_b,
            "largest_difference": _short(one.largest),
            "mean_difference": _short(one.mean),
            "mean_shift": _short(one.shift),
            "model_a": clean(one.model_a),
            "model_b": clean(one.model_b),
        }
        for one in unit.scores
        if not one.only
    ]


def column_rows(unit: UnitChange) -> list[Row]:
    """Columns of scores that only one side has."""
    found = {side: [clean(one.column) for one in unit.scores if one.only == side] for side in "AB"}
    return [{"unit": unit.name, "only_in": side, "columns": names} for side, names in found.items() if names]


def view_rows(unit: UnitChange) -> list[Row]:
    """Texts of views of captions, of the web and synthetic ones."""
    return [
        {
            "unit": unit.name,
            "view": clean(one.view),
            "texts": one.kind,
            "a": one.a,
            "b": one.b,
            "in_both": one.both,
            "gained": one.gained,
            "lost": one.lost,
        }
        for one in unit.views
    ]


def left_out_rows(found: Comparison) -> list[Row]:
    """Filters that did not judge, because columns are not there, and the steps that would have to run first."""
    return [
        {
            "side": clean(name),
            "step": clean(one.step),
            "filter": clean(one.filter),
            "columns": [clean(column) for column in one.columns],
            "would_run": [clean(step) for step in one.steps] or ["the source has to have them"],
        }
        for name, one in found.left_out
    ]


def clean(text: object, letters: int = MOST_LETTERS) -> str:
    """A stranger's word on one line, cut."""
    words = " ".join(plain(str(text)).split())
    return words if len(words) <= letters else f"{words[: letters - 4]} ..."


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
