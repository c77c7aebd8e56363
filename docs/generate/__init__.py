"""The parts of docs/ that are made from the code: the CLI reference, the filters, columns and presets.

A page is written by hand and has places in it: what stands between `<!-- made: NAME -->` and `<!-- end: NAME -->` is
made anew by `python -m docs.generate`, and a test fails where it is stale. So prose and facts stand on one page, and
no template language is needed. Nothing here runs a model or reads a data set; all of it takes two seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate import cli_reference, filter_page, format_tables, metric_table, preset_table, tree

__all__ = ["ROOT", "made_anew", "pages", "stale"]

ROOT = Path(__file__).resolve().parents[2]
PLACE = re.compile(r"(<!-- made: ([a-z ]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


def _columns(name: str) -> Callable[[Path], str]:
    return lambda root: format_tables.columns(name)


PARTS: Mapping[str, Callable[[Path], str]] = {
    "commands": lambda root: cli_reference.commands(),
    "filters": lambda root: filter_page.filters(),
    "shared settings": lambda root: filter_page.shared(),
    "scorers": lambda root: format_tables.scorers(),
    **{f"columns {name}": _columns(name) for name in format_tables.TABLES},
    "metrics": lambda root: metric_table.metrics(),
    "tree": tree.tree,
    "presets": lambda root: preset_table.presets(root / "configs"),
    "stages": lambda root: preset_table.stages(root / "configs/stages"),
    "pipelines": lambda root: preset_table.pipelines(),
}
"""What can be made, by the name of its place."""


def pages(root: Path = ROOT) -> list[Path]:
    """The pages with a place in them."""
    return [page for page in sorted((root / "docs").glob("*.md")) if PLACE.search(page.read_text("utf-8"))]


def made_anew(text: str, root: Path = ROOT) -> str:
    """A page with all its places made anew. Raises KeyError for a place of an unknown name."""
    return PLACE.sub(lambda found: f"{found[1]}\n{PARTS[found[2]](root).strip()}\n\n{found[3]}", text)


def stale(root: Path = ROOT) -> dict[Path, str]:
    """The pages that say something else than the code, and what they should be."""
    anew = {page: made_anew(page.read_text("utf-8"), root) for page in pages(root)}
    return {page: text for page, text in anew.items() if text != page.read_text("utf-8")}
