"""Finds a source by its `kind`: the file of that name in this folder, and the one Source class in it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.config import build
from curate.errors import ConfigError
from curate.registry import nearest
from curate.source.source import Source

__all__ = ["build_source", "source_kinds"]


def source_kinds() -> list[str]:
    """Names that `[source] kind` can have, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if _class(m.name) is not None)


def build_source(table: Mapping[str, Any]) -> Source:
    """The source of a `[source]` table. Raises ConfigError for an unknown kind or key."""
    kind, known = table.get("kind"), source_kinds()
    if kind is None:
        raise ConfigError(f"[source] does not say which; add `kind = ...`, one of {', '.join(known)}")
    if kind not in known:
        raise ConfigError(f"[source] kind = {kind!r} is not one of them; {nearest(str(kind), known)}")
    cls = _class(str(kind))
    assert cls is not None
    source: Source = build(cls, {k: v for k, v in table.items() if k != "kind"}, "source")
    return source


def _class(kind: str) -> type[Any] | None:
    module = importlib.import_module(f"curate.source.{kind}")
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    sources = [v for v in own if {"parts", "identity", "serve"} <= set(dir(v)) and v is not Source]
    return sources[0] if sources else None
