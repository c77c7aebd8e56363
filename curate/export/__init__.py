"""One file per consumer: kept samples leave the data set in the shape that a trainer reads.

A file `curate/export/<format>.py` has one function, `export`; its name is the format's name for `curate export --to`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeAlias

from curate.errors import ConfigError
from curate.plan import Job
from curate.registry import nearest
from curate.storage import Storage

__all__ = ["Exporter", "export_formats", "exporter"]

Exporter: TypeAlias = Callable[[Storage, int, bool, int], tuple[Job, Callable[[Storage], dict[str, Any]]]]
"""`(source, shard_samples, shuffle, seed)` to the job that writes the shards, and what to call when it is done: it
gets the target, writes the files that need all shards, and answers what was written."""


def export_formats() -> list[str]:
    """Every format that can be written, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def exporter(name: str) -> Exporter:
    """The `export` function of a format. Raises ConfigError for an unknown one."""
    if name not in export_formats():
        raise ConfigError(f"no export format {name!r}; {nearest(name, export_formats())}")
    found: Exporter = importlib.import_module(f"curate.export.{name}").export
    return found
