"""A config as TOML with dotted names, one setting a line: what a reader can copy, and search for a name in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from curate.toml_text import toml_key, toml_value

__all__ = ["toml_lines"]


def toml_lines(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """`filters.clip_similarity.min = 0.28` and so on, in the order of the table."""
    for name, value in table.items():
        inner = (*path, toml_key(str(name)))
        if isinstance(value, Mapping) and value:
            yield from toml_lines(value, inner)
        else:
            yield f"{'.'.join(inner)} = {toml_value(value)}"
