"""Compare two data sets, or what configs would decide in one: rows gained and lost, and the settings that differ.

curate compare data/a data/b              what two runs decided; rows match by URL, caption and picture
curate compare data/a new.toml            what would change in data/a; nothing is run and nothing is written
curate compare a.toml b.toml --on data/a"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from curate.cli._output import add_format, show

if TYPE_CHECKING:
    from curate.compare.sides import Side
    from curate.plan import Job
    from curate.storage import Storage

__all__ = ["add_arguments", "run"]

TILES = 12
"""Samples shown of each change and reason."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a data set's folder or URL, or a config: a file that ends in .toml")
    parser.add_argument("b", metavar="B", help="the same; what is gained is kept by B and dropped by A")
    parser.add_argument("--on", metavar="DIR", help="the data set that two configs are compared on")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with samples gained and lost")
    parser.add_argument(
        "--exit-code", action="store_true", help="exit with 1 when any row is decided otherwise, or is in one side only"
    )
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    from curate.compare.compare import compare
    from curate.compare.terminal import terminal
    from curate.compare.told import told

    found = compare(*_sides(options), TILES if options.html else 0)
    if options.html is not None:
        from curate.compare.page import page
        from curate.report.shard import write

        write(options.html, page(found).encode("utf-8", "replace"), "--html")
    as_json = options.format == "json" or (options.format == "auto" and not sys.stdout.isatty())
    show(told(found) if as_json else dict(terminal(found)), options.format)
    return 1 if options.exit_code and found.differs else 0


def _sides(options: argparse.Namespace) -> tuple[Side, Side]:
    """A and B: data sets, or configs on the data set that is named beside them or by --on."""
    from curate.compare.sides import data_side
    from curate.errors import ConfigError
    from curate.storage import Storage

    configs = [_is_config(name) for name in (options.a, options.b)]
    if all(configs) and options.on is None:
        raise ConfigError(f"{options.a} and {options.b} are configs; name the data set to compare them on: --on DIR")
    if not all(configs) and options.on is not None:
        raise ConfigError("--on is for two configs; a data set is compared on itself: leave it out")
    on = options.on or (options.b if configs[0] else options.a)
    a, b = (
        _config_side(name, on, both=all(configs)) if is_config else data_side(name, Storage(name))
        for name, is_config in zip((options.a, options.b), configs, strict=True)
    )
    return a, b


def _is_config(name: str) -> bool:
    return name.endswith(".toml") and not Path(name).is_dir()


def _config_side(name: str, on: str, both: bool) -> Side:
    from curate.compare.sides import config_side
    from curate.job import load_job
    from curate.storage import Storage

    loaded, storage = load_job(Path(name)), Storage(on)
    title = f"{name} on {on}" if both else name
    return config_side(title, loaded.config, loaded.job.steps, storage, _outdated(loaded.job, storage))


def _outdated(job: Job, storage: Storage) -> list[str]:
    """Steps whose columns are judged and would be made anew by a run: their settings, or what they read, differ."""
    from curate.errors import CurateError
    from curate.manifest import CommitLog
    from curate.plan import state
    from curate.select import Decision

    judged = {column for step in job.steps if isinstance(step, Decision) for column in step.reads}
    try:
        slices = job.known_slices(storage)
        done = {one.label for one in state(job, CommitLog(storage), slices) if one.done == one.shards}
    except CurateError:  # the source is not here: then none of its columns is known to be what a run would make
        done = set()
    makers = (step for step in job.steps if not isinstance(step, Decision) and judged.intersection(step.writes))
    return [step.label for step in makers if step.label not in done]
