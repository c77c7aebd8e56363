"""A comparison as one page in the look of the report: what changed in numbers, and samples gained and lost.

The page holds its pictures and asks for nothing. It stays under 5 MB at any data size: thumbnails have 2.6 MB together
(a third more as text), there are 24 galleries of 12 samples, texts are cut and tables have 100 rows: 3.9 MB at worst.
"""

from __future__ import annotations

from typing import Any

from curate.compare.compare import Comparison
from curate.compare.shown import shown
from curate.compare.told import told
from curate.report.page import environment
from curate.report.pictures.drawing import Draw

__all__ = ["page"]

MOST_ROWS = 100
"""Of a table; the JSON has all."""
PICTURE_BYTES = 2_600_000


def page(found: Comparison) -> str:
    """The page. Raises ConfigError where jinja2 is not installed."""
    template = environment("curate.compare").get_template("compare/page.html")
    tables = told(found)
    galleries = {one.unit: one for one in shown(found, Draw(picture_bytes=PICTURE_BYTES))}
    units = [_unit(summary, tables, galleries[summary["unit"]]) for summary in tables["summary"]]
    page: str = template.render(found=tables, units=units, most=MOST_ROWS)
    return page


def _unit(summary: dict[str, Any], tables: dict[str, Any], galleries: Any) -> dict[str, Any]:
    """What the page tells of one unit: its rows of each table, cut, and how many they were."""
    name = summary["unit"]
    own = {
        table: [row for row in tables[table] if row["unit"] == name]
        for table in ("reasons", "changes", "scores", "columns", "views")
    }
    cut = {table: rows[:MOST_ROWS] for table, rows in own.items()}
    whole = {table: len(rows) for table, rows in own.items()}
    return {"summary": summary, **cut, "all": whole, "galleries": galleries, "id": name}
