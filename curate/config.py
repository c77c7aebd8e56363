"""TOML into frozen dataclasses; an unknown key, a wrong type or a value out of range is one clear line.

TOML because YAML reads `languages: [en, no]` as `['en', False]`. One file per data set, no includes, no inheritance.
A section is a dataclass: its fields are the keys, their annotations the types, their defaults the defaults, and
`__post_init__` raises ValueError for a value out of range.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from curate.errors import ConfigError, PluginError
from curate.filter import MOST_WHOLE, Filter, Labelled
from curate.registry import filter_class, nearest

__all__ = ["build", "build_filters", "read_toml", "require_range"]

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """The file as a mapping. Raises ConfigError with line and column."""
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"no config {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror}; name a TOML file") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """A dataclass from a TOML table. `where` names the section, "" is the whole file. Raises ConfigError."""
    section = f"[{where}]" if where else "the config"
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ConfigError(f"{section} has no key {key!r}; {nearest(key, known)}")
    values = {key: convert(value, hints[key], f"{where}.{key}".lstrip(".")) for key, value in table.items()}
    try:
        return cls(**values)
    except TypeError:
        missing = [
            f.name
            for f in dataclasses.fields(cls)  # type: ignore[arg-type]
            if f.init
            and f.name not in values
            and f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
        ]
        raise ConfigError(f"{section} needs a value for {', '.join(map(repr, missing))}") from None
    except (ValueError, OSError) as error:  # the latter of a path that is longer than a path can be
        raise ConfigError(f"{section} {error}") from None


def build_filters(table: Mapping[str, Any], section: str = "filters") -> dict[str, Filter]:
    """The `[filters.*]` tables in their order, or those of another section: name to filter. Raises ConfigError.

    `[filters.NAME-LABEL]` is one more filter of that name, with reasons of its own.
    """
    filters: dict[str, Filter] = {}
    for name, settings in table.items():
        if not isinstance(settings, Mapping):
            raise ConfigError(f"[{section}] {name} must be a table; write [{section}.{name}]")
        plain, dash, label = name.partition("-")
        if dash and not re.fullmatch("[a-z0-9_]+", label):
            raise ConfigError(f"[{section}.{name}]: what follows the dash is of small letters, digits and _")
        try:
            cls = filter_class(plain)
        except PluginError as error:
            raise ConfigError(f"[{section}.{name}] {error}") from None
        rule = build(cls, settings, f"{section}.{name}")
        filters[name] = Labelled(rule, label) if label else rule
    return filters


def require_range(name: str, value: float | None, low: float | None = None, high: float | None = None) -> None:
    """Raise ValueError unless low <= value <= high; None is always inside, not-a-number never."""
    if value is None:
        return
    if not ((low is None or value >= low) and (high is None or value <= high)):
        bounds = (
            f"from {low:g} to {high:g}"
            if low is not None and high is not None
            else f"at least {low:g}"
            if low is not None
            else f"at most {high:g}"
        )
        raise ValueError(f"{name} = {value!r} is out of range: {bounds}")


def convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the annotated type. int goes where float is asked for; bool never passes for a number."""
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, arguments, where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        known = [str(a) for a in arguments if a != ""]
        raise ConfigError(f"{where} = {value!r} is not one of them; {nearest(str(value), known)}")
    if origin in (tuple, list) and isinstance(value, list):
        return tuple(convert(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {k: convert(v, arguments[1], f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return build(hint, value, where)
    if isinstance(value, int) and not -MOST_WHOLE - 1 <= value <= MOST_WHOLE:
        raise ConfigError(f"{where} = {value!s:.20}... is out of range: a whole number has 64 bits at most")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(f"{where} = {value!r} must be {_words(hint)}")


def _convert_union(value: Any, arguments: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in arguments:  # JSON's null; TOML has none
        return None
    errors = []
    for hint in arguments:
        if hint is type(None):
            continue
        try:
            return convert(value, hint, where)
        except ConfigError as error:
            errors.append(error)
    raise (
        errors[0]
        if len(errors) == 1
        else ConfigError(
            f"{where} = {value!r} must be {' or '.join(_words(a) for a in arguments if a is not type(None))}"
        )
    )


def _words(hint: Any) -> str:
    plain = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    if hint in plain:
        return plain[hint]
    if typing.get_origin(hint) in (tuple, list):
        return f"a list, each {_words(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a table"
    return str(hint)
