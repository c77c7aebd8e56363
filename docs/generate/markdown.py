"""Markdown that stays what it is: a table's cells with bars, line breaks and tags in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["cell", "code", "table", "words"]


def words(text: str) -> str:
    """A paragraph in one line."""
    return " ".join(text.split())


def code(text: str) -> str:
    """Text as code, in a cell or outside one."""
    return f"`{text}`"


def cell(text: str) -> str:
    """Words in one cell: bars would end it, and angle brackets outside of code be taken for tags."""
    parts = words(text).replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are words."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)
