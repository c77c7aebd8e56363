"""How results are printed: an aligned table on a terminal, JSON when piped."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["add_format", "as_table", "show"]

WIDEST_LIST = 64
"""Letters of a list in a table's cell; the JSON has all of it."""


def add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("auto", "table", "json"), default="auto", help="auto: a table on a terminal"
    )


def show(result: Mapping[str, Any], form: str) -> None:
    """Print a result: `result` maps a title to rows (a list of dicts) or to one value."""
    if form == "json" or (form == "auto" and not sys.stdout.isatty()):
        print(json.dumps(_strict(result), indent=1, ensure_ascii=False, default=str))
        return
    for title, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            print(f"\n{title}\n{as_table(value)}\n")
        else:
            print(f"{title}: {_cell(value) or 'none'}")


def _strict(value: Any) -> Any:
    """The value without not-a-number and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _strict(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as aligned text, with a column for every name that any of them has; numbers to the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    numeric = [all(isinstance(row.get(name), int | float | None) for row in rows) for name in names]

    def line(values: Sequence[str]) -> str:
        pairs = zip(values, widths, numeric, strict=True)
        return "  ".join(v.rjust(w) if right else v.ljust(w) for v, w, right in pairs).rstrip()

    return "\n".join([line(names), line(["-" * w for w in widths]), *map(line, cells)])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        text = ", ".join(map(str, value))
        room = text[: WIDEST_LIST - 3]
        return text if len(text) <= WIDEST_LIST else f"{room.rpartition(', ')[0] or room} ..."
    return str(value)
