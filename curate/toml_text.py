"""Names and values as TOML has them, for every page and file that shows or writes a config: one definition of what must
be escaped. A whole table is written in two forms, by `curate.handover.plan_stages` and `curate.report.page.toml`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["toml_key", "toml_value"]

BARE = re.compile("[A-Za-z0-9_-]+")


def toml_key(name: str) -> str:
    """A name: bare where it can be."""
    return name if BARE.fullmatch(name) else toml_value(name)


def toml_value(value: Any) -> str:
    """A value on one line. TOML has no null; what it has no type for is told as text."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{toml_key(str(name))} = {toml_value(own)}' for name, own in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")
