"""A config as TOML with dotted names, one setting a line: what a reader can copy, and search for a name in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["toml_key", "toml_lines"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_lines(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """`filters.clip_similarity.min = 0.28` and so on, in the order of the table."""
    for name, value in table.items():
        inner = (*path, toml_key(str(name)))
        if isinstance(value, Mapping) and value:
            yield from toml_lines(value, inner)
        else:
            yield f"{'.'.join(inner)} = {_value(value)}"


def toml_key(name: str) -> str:
    """A name as TOML has it: bare where it can be."""
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{toml_key(str(name))} = {_value(own)}' for name, own in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=str)
