"""Finds filters and pipelines by file name: the folder is the list, so adding one touches no other file.

`filters` and `pipelines` are import packages of their own. Their names stand here, as strings, and nowhere else in
`curate`. Another distribution on the package index installs a `filters` package too; before anything is loaded from
ours, we ask who owns the name. Third parties add filters through the entry point group `curate.filters`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from types import ModuleType
from typing import Any

from curate.errors import PluginError
from curate.filter import Filter

__all__ = ["describe", "filter_class", "filter_names", "nearest", "pipeline", "pipeline_names"]

FILTERS = "filters"
PIPELINES = "pipelines"
ENTRY_POINTS = "curate.filters"
DISTRIBUTION = "curate-vl"


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, or the whole list when none is close."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def filter_names() -> list[str]:
    """Every filter that can be named in a config, sorted."""
    return sorted({*_modules(FILTERS), *_third_party()})


def pipeline_names() -> list[str]:
    """Every pipeline that can be named in a config, sorted."""
    return sorted(_modules(PIPELINES))


@cache
def filter_class(name: str) -> type[Filter]:
    """The Filter subclass of `filters/<name>.py` or of an entry point. Raises PluginError."""
    third_party = _third_party()
    if name in third_party:
        found = third_party[name].load()
        return _checked(name, found if isinstance(found, type) else None, str(third_party[name].value))
    if name not in _modules(FILTERS):
        raise PluginError(f"no filter {name!r}; {nearest(name, filter_names())}")
    module = _load(FILTERS, name)
    own = [
        v
        for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, Filter) and v.__module__ == module.__name__
    ]
    return _checked(name, own[0] if len(own) == 1 else None, f"{FILTERS}/{name}.py")


@cache
def pipeline(name: str) -> Callable[..., Any]:
    """The function of `pipelines/<name>.py` that carries the file's name. Raises PluginError."""
    if name not in pipeline_names():
        raise PluginError(f"no pipeline {name!r}; {nearest(name, pipeline_names())}")
    build = getattr(_load(PIPELINES, name), name, None)
    if not callable(build):
        raise PluginError(f"{PIPELINES}/{name}.py has no function {name!r}")
    return build  # type: ignore[no-any-return]


def describe(name: str) -> str:
    """The first sentence of a filter's module docstring."""
    module = importlib.import_module(filter_class(name).__module__)
    text = (module.__doc__ or "").strip().split("\n\n", 1)[0]
    return " ".join(text.split())


def _checked(name: str, found: type | None, place: str) -> type[Filter]:
    if found is None or not issubclass(found, Filter):
        raise PluginError(f"{place} must hold one Filter subclass for {name!r}")
    return found


def _load(package: str, name: str) -> ModuleType:
    _owned(package)
    return importlib.import_module(f"{package}.{name}")


@cache
def _owned(package: str) -> None:
    """Raise PluginError when the import name belongs to somebody else's distribution."""
    strangers = sorted(_owners(package) - {DISTRIBUTION})
    if strangers:
        raise PluginError(
            f"the import package {package!r} is also installed by {strangers[0]}, which overwrites ours; "
            f"run `pip uninstall {strangers[0]}` and reinstall {DISTRIBUTION}"
        )


def _owners(package: str) -> set[str]:
    """Distributions that say they install this import package.

    As importlib's packages_distributions, which parses the metadata of everything installed and takes 0.2 s.
    """
    found = set()
    for distribution in importlib.metadata.distributions():
        declared = (distribution.read_text("top_level.txt") or "").split()
        installed = f"\n{package}/" in "\n" + (distribution.read_text("RECORD") or "")
        if package in declared or installed:
            found.add(distribution.name)
    return found


@cache
def _modules(package: str) -> tuple[str, ...]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise PluginError(f"the package {package!r} of {DISTRIBUTION} is not installed")
    found = pkgutil.iter_modules(spec.submodule_search_locations)
    return tuple(sorted(m.name for m in found if not m.ispkg and not m.name.startswith("_")))


@cache
def _third_party() -> dict[str, importlib.metadata.EntryPoint]:
    return {e.name: e for e in importlib.metadata.entry_points(group=ENTRY_POINTS)}
