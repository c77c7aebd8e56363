"""One file per consumer: kept samples leave the data set in the shape that a trainer reads.

A file `curate/export/<format>.py` has one function, `export`; its name is the format's name for `curate export --to`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from curate.errors import ConfigError
from curate.plan import Job
from curate.registry import nearest
from curate.storage import Storage

__all__ = ["Exporter", "check_options", "export_formats", "exporter"]

Exporter: TypeAlias = Callable[..., tuple[Job, Callable[[Storage], dict[str, Any]]]]
"""`(source, shard_samples, shuffle, seed)` and options by name, where the format has some, to the job that writes the
shards, and what to call when it is done: it gets the target, writes the files that need all shards, and answers what
was written."""


def export_formats() -> list[str]:
    """Every format that can be written, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def exporter(name: str) -> Exporter:
    """The `export` function of a format. Raises ConfigError for an unknown one."""
    if name not in export_formats():
        raise ConfigError(f"no export format {name!r}; {nearest(name, export_formats())}")
    found: Exporter = importlib.import_module(f"curate.export.{name}").export
    return found


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError when a format is given options and has none; the others check their own."""
    kinds = {parameter.kind for parameter in inspect.signature(exporter(name)).parameters.values()}
    if options and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise ConfigError(f"format {name} takes no --{next(iter(options)).replace('_', '-')}")
