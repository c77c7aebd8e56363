"""Show what a run would do: which steps, in which order, what is done already, where barriers stand.

With a file of training stages (configs/stages/llava15.toml, or a hand-over's stages.toml): which of them data sets or
hand-overs can feed, what is missing, and how many tokens and steps it comes to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from textwrap import fill
from typing import Any

from curate.cli._output import add_format, show

__all__ = ["add_arguments", "run"]

WIDTH = 110
"""Letters in a line of explanation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="a TOML file, e.g. configs/demo.toml; or a file with [[stages]]")
    parser.add_argument("data", nargs="*", metavar="DATA", help="for stages: data sets or hand-overs, folders or URLs")
    parser.add_argument("--out", metavar="DIR", help="folder or fsspec URL of the data set (default: data/NAME)")
    parser.add_argument("--limit", type=int, metavar="N", help="as in `curate run`")
    parser.add_argument(
        "--tokenizer", default="", metavar="NAME", help="whose counts to take, of a hand-over's several"
    )
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    from curate.errors import ConfigError

    if _has_stages(options.config):
        _stages(options)
        return 0
    if options.data or options.tokenizer:
        extra = options.data[0] if options.data else "--tokenizer"
        raise ConfigError(f"{extra} is for training stages, and {options.config} has no [[stages]]; leave it out")
    _steps(options)
    return 0


def _has_stages(config: Path) -> bool:
    """Whether a file tells training stages: a list of tables, where a pipeline's `[stages]` is one table."""
    from curate.config import read_toml

    return config.suffix == ".json" or isinstance(read_toml(config).get("stages"), list)


def _stages(options: argparse.Namespace) -> None:
    from curate.errors import ConfigError
    from curate.handover.needs import measure_needs
    from curate.handover.needs_rows import explained, needs_tables
    from curate.handover.needs_there import open_training_set
    from curate.handover.stages import read_stages

    given = next((f"--{name}" for name in ("out", "limit") if getattr(options, name) is not None), None)
    if given:
        raise ConfigError(f"{given} is for a pipeline's config, and {options.config} has training stages; leave it out")
    stages = read_stages(options.config)
    sets = [open_training_set(path, options.tokenizer) for path in options.data]
    plan = needs_tables(stages, measure_needs(stages, sets), sets)
    _show_plan(plan, explained(stages, sets), options.format)
    undecided = {one.storage.root: one.undecided for one in sets if one.undecided}
    for root, shards in undecided.items():
        print(f"curate: {shards} shards of {root} have no selection and were left out", file=sys.stderr)


def _show_plan(plan: dict[str, Any], words: dict[str, str], form: str) -> None:
    """The tables, each under its sentence; as JSON the sentences by the tables' names."""
    if form == "json" or (form == "auto" and not sys.stdout.isatty()):
        show({**plan, "explained": {name: words[name] for name in plan}}, "json")
        return
    for name, rows in plan.items():
        title = fill(words[name], WIDTH, break_on_hyphens=False)
        if rows and isinstance(rows[0], str):
            lines = (fill(line, WIDTH, initial_indent="  - ", subsequent_indent="    ") for line in rows)
            print(f"\n{title}\n" + "\n".join(lines) + "\n")
        elif rows:
            show({title: [{key: _short(value) for key, value in row.items()} for row in rows]}, "table")


def _short(value: Any) -> Any:
    """A number with a fraction in few letters, rates and passes alike; everything else as it is."""
    if not isinstance(value, float):
        return value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _steps(options: argparse.Namespace) -> None:
    from curate.cli.run import default_folder
    from curate.job import load_job
    from curate.manifest import CommitLog
    from curate.plan import state
    from curate.storage import Storage

    job = load_job(options.config, options.limit).job
    storage = Storage(options.out or default_folder(options.config))
    steps = state(job, CommitLog(storage), job.known_slices(storage))
    rows = [
        {
            "step": step.label,
            "kind": step.kind,
            "shards": "not cut yet" if step.shards is None else step.shards,
            "done": None if step.shards is None else step.done,
            "to_run": None if step.shards is None else step.shards - step.done,
            "outdated": step.stale,
            "failed": step.failed,
            "reads": list(step.reads),
            "writes": list(step.writes),
        }
        for step in steps
    ]
    notes = [{"step": step.label, "note": step.about} for step in job.steps if step.about]
    show({"plan": rows, **({"notes": notes} if notes else {}), "data_set": storage.root}, options.format)
