"""The tables of presets, of stages of models and of pipelines: from the heads of the files, one row each."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

from curate.registry import pipeline, pipeline_names
from docs.generate.markdown import code, table, words

__all__ = ["header", "pipelines", "presets", "stages"]

FIELD = re.compile(r"^([a-z][a-z ]{0,6}[a-z])  +(\S.*)$")


def header(config: Path) -> tuple[str, dict[str, str]]:
    """The first sentence of a config's head, and its fields (source, out, hours ...)."""
    lines: list[str] = []
    for line in config.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    first, _, rest = "\n".join(lines).partition("\n\n")
    fields: dict[str, str] = {}
    last = ""
    for line in rest.partition("\n\n")[0].splitlines():
        named = FIELD.match(line)
        last = named[1] if named else last
        if last:
            fields[last] = words(f"{fields.get(last, '')} {named[2] if named else line}")
    return words(first), fields


def presets(folder: Path) -> str:
    """A table for each pipeline, a row for each config: what it is, what goes in, what comes out, hours."""
    tables: dict[str, list[list[str]]] = {}
    for config in sorted(folder.glob("*.toml")):
        what, told = header(config)
        named = f"[`{config.stem}`](../configs/{config.name})"
        given = told.get("source", "") + (f"; {told['size in']}" if "size in" in told else "")
        row = [named, what, given, told.get("out", ""), told.get("hours", "")]
        tables.setdefault(tomllib.loads(config.read_text("utf-8"))["pipeline"], []).append(row)
    head = ["preset", "what it makes", "goes in", "comes out", "hours"]
    return "\n\n".join(f"### {name}\n\n{table(head, tables[name])}" for name in sorted(tables))


def stages(folder: Path) -> str:
    """A row for each model's recipe: what it is, its paper, its data."""
    rows = []
    for config in sorted(folder.glob("*.toml")):
        what, told = header(config)
        named = f"[`{config.name}`](../configs/stages/{config.name})"
        rows.append([named, what, told.get("paper", "").partition(";")[0], told.get("data", "")])
    return table(["stages", "what it is", "paper", "data there"], rows)


def pipelines() -> str:
    """A row for each pipeline, from its docstring."""
    rows = [[code(name), _first(name)] for name in pipeline_names()]
    return table(["pipeline", "what it does"], rows)


def _first(name: str) -> str:
    module = importlib.import_module(pipeline(name).__module__)
    return words((module.__doc__ or "").partition("\n\n")[0])
