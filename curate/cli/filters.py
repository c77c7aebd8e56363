"""List the filters: the columns each one reads, the reasons it gives, and what it is for."""

from __future__ import annotations

import argparse

from curate.cli._output import add_format, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    from curate.registry import describe, filter_class, filter_names

    rows = []
    for name in filter_names():
        cls = filter_class(name)
        rows.append({"filter": name, "reads": list(cls.reads), "reasons": list(cls.reasons), "what": describe(name)})
    show({"filters": rows}, options.format)
    return 0
