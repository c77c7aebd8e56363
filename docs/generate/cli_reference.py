"""The CLI reference, from the parsers that the program uses.

Not the text of `--help`, whose layout changes with the version of Python and the width of the terminal: the arguments
themselves, one row each.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
from collections.abc import Iterator

import curate.cli
from docs.generate.markdown import code, table, words

__all__ = ["commands", "parsers"]

SKIPPED = (argparse._HelpAction, argparse._SubParsersAction)


def parsers() -> dict[str, argparse.ArgumentParser]:
    """`curate run`, `curate train filter` ... with the parser of each; a verb comes before its kinds."""
    found: dict[str, argparse.ArgumentParser] = {}
    for verb in sorted(m.name for m in pkgutil.iter_modules(curate.cli.__path__) if not m.name.startswith("_")):
        module = importlib.import_module(f"curate.cli.{verb}")
        parser = argparse.ArgumentParser(prog=f"curate {verb}", description=module.__doc__)
        module.add_arguments(parser)
        found[f"curate {verb}"] = parser
        for name, kind in _kinds(parser).items():
            found[f"curate {verb} {name}"] = kind
    return found


def commands() -> str:
    """Each command with a section: what it does, how it is called, its arguments."""
    return "\n\n".join(_section(name, parser) for name, parser in parsers().items())


def _kinds(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers below a parser, as of `curate train`."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: kind for action in below for name, kind in action._name_parser_map.items()}


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    level = "##" if name.count(" ") == 1 else "###"
    about = "\n\n".join(map(_paragraph, (parser.description or "").strip().split("\n\n")))
    about = about[:1].upper() + about[1:]
    parts = [f"{level} {name}", about]
    if _kinds(parser):
        parts.append("\n".join(f"- [`{name} {kind}`](#{name.replace(' ', '-')}-{kind})" for kind in _kinds(parser)))
    else:
        parts.append(f"```\n{_usage(name, parser)}\n```")
    return "\n\n".join(part for part in (*parts, *_arguments(parser)) if part)


def _paragraph(text: str) -> str:
    """A paragraph in one line; lines of examples as a block, with what they do behind `#`."""
    if all(line.startswith("curate ") for line in text.splitlines()):
        return "```\n" + re.sub(r"^(curate .*?) {2,}(?=\S)", r"\1   # ", text, flags=re.MULTILINE) + "\n```"
    return words(text)


def _arguments(parser: argparse.ArgumentParser) -> list[str]:
    """A table of the arguments, and one more for each group that has a title of its own."""
    tables: dict[str, list[list[str]]] = {}
    for group in parser._action_groups:
        title = "" if group.title in (None, "positional arguments", "options") else str(group.title)
        rows = [_row(parser, action) for action in group._group_actions if not isinstance(action, SKIPPED)]
        tables.setdefault(title, []).extend(rows)
    return [
        part
        for title, rows in tables.items()
        if rows
        for part in (f"{title[:1].upper()}{title[1:]}:" if title else "", table(["argument", "what it is"], rows))
    ]


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    """How it is called: what must be there; all else are options."""
    actions = [action for action in parser._actions if not isinstance(action, SKIPPED)]
    must = [_call(action) for action in actions if action.required and action.option_strings]
    places = [_call(action) for action in actions if not action.option_strings]
    more = ["[OPTIONS]"] if any(action.option_strings and not action.required for action in actions) else []
    return " ".join([name, *places, *must, *more])


def _call(action: argparse.Action) -> str:
    """One argument as a user types it."""
    return " ".join([*action.option_strings[-1:], *_values(action)])


def _values(action: argparse.Action) -> Iterator[str]:
    if action.nargs == 0:
        return
    named = "|".join(map(str, action.choices)) if action.choices else None
    metavar = action.metavar if isinstance(action.metavar, str) else None
    value = metavar or named or action.dest.upper()
    many = {"*": f"[{value} ...]", "+": f"{value} [{value} ...]", "?": f"[{value}]"}
    yield many.get(str(action.nargs), value)


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    told = parser._get_formatter()._expand_help(action) if action.help else ""
    default = f" (`{action.default}`)" if action.choices and isinstance(action.default, str) else ""
    return [code(_call(action)), f"{told}{default}"]
