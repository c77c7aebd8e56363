"""The filters: what each reads, gives and takes, from its class and its docstrings.

Bounds of settings stand in no list. Each is asked for by trying: a value far below and one far above, and the error
that the filter answers with says what is allowed, in the words that a user would see.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.filter import Filter
from curate.gauge import Gauge
from curate.registry import filter_class, filter_names
from docs.generate.markdown import cell, code, table

__all__ = ["GROUPS", "example", "filters", "gauges_of", "group_of", "shared"]

GROUPS: Mapping[str, str] = {
    "What arrived, and what must not": "fetch_status|picture_status|document_status|opt_out|url_host|hash_list"
    "|evaluation_overlap",
    "Copies, and what is everywhere": r"\w+_duplicate|caption_frequency|image_url_frequency|line_frequency"
    "|paragraph_frequency",
    "Balance": r"cap|\w+_balance|frequency_sampling|soft_cap",
    "Captions": r"caption_\w+|language|text_synset",
    "Pictures": "image_size|aspect_ratio|animated|blur|single_color|faces|text_in_image|nsfw|nsfw_picture|watermark"
    "|aesthetic|image_cluster|norm_sim",
    "Picture and caption together": "clip_similarity|masked_similarity|match_probability|neg_clip_loss|sieve|vqa_score",
    "Image slots and regions of a page": r"slot_\w+|region",
    "Text of a document": r"text_\w+|paragraph_lengths",
    "Documents as a whole": "image_count|text_count|words_per_image",
    "Any score or condition": r"\w+",
}
"""What filters judge, and the names of those; the first that fits counts, so that a new filter needs no entry."""

GIVEN = "x"
"""The text of an example's setting that must be given."""
BY_SETTINGS = "what its settings name"
FAR = 10**17
MANY = 12
PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false"}
LIMITS = re.compile(r"(?:from (\S+) to (\S+)|at least (\S+)|at most (\S+))")


def group_of(name: str) -> str:
    """What a filter judges."""
    return next(title for title, names in GROUPS.items() if re.fullmatch(names, name))


def shared() -> str:
    """What the classes say that several filters extend: their settings are the same."""
    found: dict[type, list[str]] = {}
    for name in filter_names():
        for base in filter_class(name).__mro__[1:]:
            if issubclass(base, Filter) and "__dataclass_fields__" in vars(base):
                found.setdefault(base, []).append(name)
    parts = []
    for base, names in sorted(found.items(), key=lambda one: (-len(one[1]), one[0].__name__)):
        linked = ", ".join(f"[`{name}`](#{name})" for name in names)
        parts += [f"**{linked}**", *map(_prose, inspect.cleandoc(base.__doc__ or "").split("\n\n"))]
    return "\n\n".join(parts)


def filters() -> str:
    """All groups: a table of the filters in each, then a section for each filter."""
    parts = []
    for title in GROUPS:
        names = [name for name in filter_names() if group_of(name) == title]
        if names:
            rows = [[f"[`{name}`](#{name})", _about(name)[0]] for name in names]
            parts += [f"## {title}", table(["filter", "what it does"], rows), *map(_section, names)]
    return "\n\n".join(parts)


@cache
def example(cls: type[Filter]) -> Filter:
    """A filter with settings that it takes: its defaults, and something for each that must be given. One that wants a
    file of a kind that is not here is made unchecked: its gauges are data, and its bounds are checked before its file.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    must = {f.name: _something(f.name, hints[f.name]) for f in fields if _default(f) is dataclasses.MISSING}
    blanks = {f.name: GIVEN if _default(f) == "" else (GIVEN,) for f in fields if _default(f) in ("", ())}
    bounds = [{name: value} for name, value in (("min", 0.5), ("fraction", 0.5)) if name in hints]
    for given in ({}, blanks, *({name: value} for name, value in blanks.items())):
        for bound in ({}, *bounds):
            try:
                return cls(**{**must, **given, **bound})
            except (ValueError, CurateError):
                continue
    made = object.__new__(cls)
    for f in fields:
        object.__setattr__(made, f.name, must.get(f.name, _default(f)))
    return made


def gauges_of(cls: type[Filter]) -> tuple[Gauge, ...]:
    """Its gauges with every bound set that can be."""
    full = example(cls)
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        if f.name.startswith(("min", "max")) and getattr(full, f.name) is None:
            full = _set(full, f.name, (1, 0.5)) or full
    return full.gauges


def _set(rule: Filter, name: str, values: tuple[float, ...]) -> Filter | None:
    """The filter with the first of these values that it takes; None where it takes none."""
    for value in values:
        try:
            return dataclasses.replace(rule, **{name: value})  # type: ignore[type-var]
        except (ValueError, CurateError):
            continue
    return None


def _something(name: str, hint: Any) -> Any:
    """A value for a setting that must be given; for a list of words one that comes with the filters."""
    if name == "file":
        return str(Path(importlib.import_module("filters").__path__[0]) / "text_stop_words.txt")
    return {str: GIVEN, float: 0.5, int: 1}.get(hint, (GIVEN,))


def _default(f: dataclasses.Field[Any]) -> Any:
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()


def _about(name: str) -> list[str]:
    """The paragraphs of a filter's module docstring; the first says what it drops."""
    module = importlib.import_module(filter_class(name).__module__)
    return (module.__doc__ or "").strip().split("\n\n")


def _section(name: str) -> str:
    cls = filter_class(name)
    first, *rest = _about(name)
    gauges = gauges_of(cls)
    lines = [f"- **Reads** {', '.join(_reads(cls))}"]
    if gauges:
        named = (code(gauge.name) if gauge.name != GIVEN else BY_SETTINGS for gauge in gauges)
        lines.append(f"- **Gauges** {', '.join(named)}")
    lines += _reasons(cls)
    parts = [
        f"### {name}",
        cell(first),
        *map(_prose, rest),
        *map(_prose, inspect.cleandoc(cls.__doc__ or "").split("\n\n")),
    ]
    rows = _settings(cls)
    settings = table(["setting", "kind", "default", "allowed"], rows) if rows else ""
    return "\n\n".join(part for part in (*parts, "\n".join(lines), settings) if part)


def _reads(cls: type[Filter]) -> list[str]:
    """Its columns; in words those that only its settings name."""
    names = example(cls).columns
    if GIVEN not in names:
        return list(map(code, cls.reads))
    return [*(code(name) for name in cls.reads if name in names), BY_SETTINGS]


def _reasons(cls: type[Filter]) -> list[str]:
    """A line each with the words of a report; names alone where there are many, which say it themselves."""
    if len(cls.reasons) > MANY:
        return [f"- **Reasons** {', '.join(map(code, cls.reasons))}"]
    return ["- **Reasons**", *(f"  - `{reason}`: {cell(told)}" for reason, told in cls.reasons.items())]


def _prose(paragraph: str) -> str:
    """A paragraph of a docstring in one line; a table, a list and what is indented stay as they are."""
    lines = paragraph.strip("\n").splitlines()
    if lines and all(line.startswith("    ") for line in lines):
        return "```\n" + inspect.cleandoc("\n" + paragraph) + "\n```"
    if lines and lines[0].startswith(("|", "- ", "1. ")):
        return "\n".join(lines)
    return cell(paragraph).replace("\\|", "|")


def _settings(cls: type[Filter]) -> list[list[str]]:
    hints = typing.get_type_hints(cls)
    rows = []
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        default = _default(f)
        shown = "must be given" if default is dataclasses.MISSING else _shown(default)
        rows.append([code(f.name), _kind(hints[f.name]), shown, _allowed(cls, f.name, hints[f.name])])
    return rows


def _shown(value: Any) -> str:
    """A default as a config would have it; none where there is no bound."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return code(f"[{', '.join(map(_toml, value[:4]))}{', ...' if len(value) > 4 else ''}]")
    return code(_toml(value))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _kind(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if origin is typing.Literal:
        return ", ".join(code(_toml(one)) for one in arguments)
    if origin in (tuple, list):
        return f"list of {_kind(arguments[0])}"
    return " or ".join(_kind(one) for one in arguments if one is not type(None)) or str(hint)


def _allowed(cls: type[Filter], name: str, hint: Any) -> str:
    """What a number may be, by what the filter says when it is far too low and far too high."""
    kinds = {hint, *typing.get_args(hint)}
    if not kinds & {int, float} or typing.get_origin(hint) in (tuple, list):
        return ""
    found = [_limits(cls, name, far if float not in kinds else float(far)) for far in (-FAR, FAR)]
    low, high = (next((pair[place] for pair in found if pair[place]), "") for place in (0, 1))
    if high and float(high) >= FAR / 100:
        high = ""
    if low and high:
        return f"{_number(low)} to {_number(high)}"
    return f"{_number(low)} or more" if low else f"at most {_number(high)}" if high else ""


def _limits(cls: type[Filter], name: str, far: float) -> tuple[str, str]:
    """The least and the most that the error about such a value names; "" for what it does not. Settings that cannot
    stand beside this one are left out."""
    base = example(cls)
    optional = {f.name: None for f in dataclasses.fields(cls) if f.default is None}  # type: ignore[arg-type]
    for others in ({}, optional):
        try:
            dataclasses.replace(base, **{**others, name: far})  # type: ignore[type-var]
        except (ValueError, OverflowError, CurateError) as error:
            found = LIMITS.search(str(error)) if name in str(error) else None
            if found:
                return found[1] or found[3] or "", found[2] or found[4] or ""
    return "", ""


def _number(text: str) -> str:
    """A limit as people write it; the error has six digits of it."""
    value = float(text)
    if value < 1000:
        return text
    if value < 1e6 or f"{value:.0e}" == text:
        return f"{value:,.0f}"
    return f"{value / 1e9:.3g} billion" if value >= 1e9 else f"{value / 1e6:.3g} million"
