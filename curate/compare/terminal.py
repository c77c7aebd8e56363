"""A comparison on a terminal: the summary first, then narrow tables of what there is to tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curate.compare.compare import Comparison
from curate.compare.told import COUNTED, Row, clean, told

__all__ = ["terminal"]

WIDEST = 60
"""Letters of a cell."""


def terminal(found: Comparison, most: int = 40) -> Iterator[tuple[str, Any]]:
    """Titles and tables of `most` rows each, as `curate.cli` prints them; empty ones are left out."""
    tables = told(found)
    yield "a", tables["a"]
    yield "b", tables["b"]
    for row in tables["summary"]:
        yield row["unit"], _narrow(row)
    for name in ("reasons", "changes", "settings", "scores", "columns", "views", "not_judged", "outdated"):
        rows = tables[name]
        if rows:
            more = f" ({most} of {len(rows):,}; all of them in JSON)" if len(rows) > most else ""
            silent = _silent(rows, len(found.units) == 1)
            cut = [{column: _cell(value) for column, value in row.items() if column not in silent} for row in rows]
            yield f"{_TITLES[name]}{more}", cut[:most]
    if tables["troubles"]:
        yield "troubles", [{"what": text} for text in tables["troubles"]]


_TITLES = {
    "reasons": "dropped, by reason",
    "changes": "rows whose verdict changed",
    "settings": "settings that differ",
    "scores": "columns of scores that differ",
    "columns": "columns of scores that one side alone has",
    "views": "texts kept by views of captions",
    "not_judged": "filters that did not judge: their columns are not there",
    "outdated": "judged by columns as they are; these steps would make theirs anew",
}


def _narrow(row: Row) -> list[Row]:
    sides = [
        {"rows": name, "a": row[f"{name}_a"], "b": row[f"{name}_b"], "difference": row[f"{name}_b"] - row[f"{name}_a"]}
        for name, _ in COUNTED
        if name != "undecided" or row["undecided_a"] or row["undecided_b"]
    ]
    sides[0]["rows"] = "all"
    sides.append({"rows": "in one only", "a": row["only_in_a"], "b": row["only_in_b"]})
    both = ("in_both", "kept_in_both", "gained", "lost", "other_reason", "other_picture")
    return [*sides, *({"rows": name.replace("_", " "), "both": row[name]} for name in both)]


def _cell(value: Any) -> Any:
    return clean(value, WIDEST) if isinstance(value, str) else value


def _silent(rows: list[Row], one_unit: bool) -> set[str]:
    """The columns of a table in which no row has anything, and that of the unit where there is but one."""
    empty = {name for name in rows[0] if all(row[name] in ("", None, 0, 0.0) for row in rows)}
    return empty | ({"unit"} if one_unit else set())
