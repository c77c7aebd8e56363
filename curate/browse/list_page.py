"""The list: a box for a condition, and the rows that it is true of, page by page.

All that was asked stands in the address, so a page can be kept, sent and gone back to. A condition that cannot be is
told beside the box, with what was typed still in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from curate.browse.cards import card_of
from curate.browse.catalog import Catalog, Column
from curate.browse.find import Finder
from curate.browse.picture_shelf import PictureShelf
from curate.errors import ConfigError

__all__ = ["SIZES", "Question", "list_context", "quoted", "read_question", "sortable"]

SIZES = (24, 60, 120)
"""Rows of a page."""
MOST_PAGES = 1_000_000


@dataclass(frozen=True)
class Question:
    """What a list shows: rows of `unit` for which `where` is true, by the column `by` (downwards with `down`), the
    `page`th page of `size`, from 0."""

    unit: str
    where: str = ""
    by: str = ""
    down: bool = False
    page: int = 0
    size: int = SIZES[1]

    @property
    def order(self) -> str:
        """As `Finder.find` has it."""
        return f"{self.by}{' desc' if self.down else ''}" if self.by else ""

    def address(self, path: str = "/samples", **changed: Any) -> str:
        """Where a question is answered, with some of it changed."""
        new = replace(self, **changed)
        told = {"unit": new.unit, "where": new.where, "by": new.by, "down": "1" if new.down and new.by else ""}
        told |= {"page": str(new.page) if new.page else "", "size": str(new.size) if new.size != SIZES[1] else ""}
        return f"{path}?{urlencode({name: value for name, value in told.items() if value})}"


def read_question(query: Mapping[str, str], catalog: Catalog) -> Question:
    """What an address asks. Raises ConfigError for a unit that is not there and a page that is no number."""
    units = catalog.units()
    unit = query.get("unit") or units[0]
    if unit not in units:
        raise ConfigError(f"unit = {unit!r} is not in this data set; it has {' and '.join(units)}")
    size = _number("size", query.get("size"), SIZES[1], SIZES[-1])
    page = _number("page", query.get("page"), 0, MOST_PAGES)
    where, by = query.get("where", "").strip(), query.get("by", "")
    return Question(unit, where, by, query.get("down") == "1", page, size if size in SIZES else SIZES[1])


def list_context(finder: Finder, shelf: PictureShelf, question: Question) -> dict[str, Any]:
    """What the template `list.html` shows."""
    columns = finder.catalog.columns(question.unit)
    told: dict[str, Any] = {"question": question, "columns": columns, "sizes": SIZES, "examples": examples(columns)}
    told["orders"] = [column.name for column in columns if sortable(column)]
    told |= {"error": "", "found": None, "cards": ()}
    try:
        found = finder.find(question.unit, question.where, page=question.page, size=question.size, order=question.order)
    except ConfigError as error:
        return told | {"error": str(error)}
    cards = [card_of(row, question.unit, shelf) for row in found.rows]
    first = question.page * question.size + 1
    return told | {"found": found, "cards": cards, "span": (first, first + len(cards) - 1)}


def examples(columns: tuple[Column, ...]) -> list[tuple[str, str]]:
    """Conditions that can be asked of these columns, and what they mean."""
    there = {column.name for column in columns}
    return [(words, condition) for needs, words, condition in EXAMPLES if needs in there]


EXAMPLES = (
    ("keep", "everything that was dropped", "not keep"),
    ("drop_reasons", "dropped for more than one reason", "len(drop_reasons) > 1"),
    ("caption", "a word in the caption", "caption ilike '%cat%'"),
    ("text", "a word in the text", "text ilike '%cat%'"),
    ("title", "a word in the title", "title ilike '%news%'"),
    ("clip_similarity", "picture and caption hardly agree", "clip_similarity < 0.2"),
    ("width", "wide pictures", "width > 2 * height"),
    ("language", "other languages", "language <> 'en'"),
    ("image_count", "many pictures", "image_count >= 3"),
    ("kind", "pictures of documents", "kind = 'image'"),
    ("fetch_status", "what was not fetched", "fetch_status <> 'success'"),
    ("url", "one site", "url like '%://example.org/%'"),
)
"""The column that is needed, what is asked in words, the condition."""


def sortable(column: Column) -> bool:
    """Whether rows can be ordered by a column: lists and maps have no order."""
    return column.askable and not column.type.startswith(("list", "map", "struct"))


def quoted(name: str) -> str:
    """A column's name as SQL has it; in quotes always, for it may be one of SQL's own words."""
    return '"' + name.replace('"', '""') + '"'


def _number(name: str, told: str | None, default: int, most: int) -> int:
    if not told:
        return default
    if not (told.isascii() and told.isdigit() and len(told) < 10 and int(told) <= most):
        raise ConfigError(f"{name} = {told[:40]!r} is no number from 0 to {most:,}")
    return int(told)
