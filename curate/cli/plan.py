"""Show what a run would do: which steps, in which order, what is done already, where barriers stand."""

from __future__ import annotations

import argparse
from pathlib import Path

from curate.cli._output import add_format, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="a TOML file, e.g. configs/demo.toml")
    parser.add_argument("--out", metavar="DIR", help="folder or fsspec URL of the data set (default: data/NAME)")
    parser.add_argument("--limit", type=int, metavar="N", help="as in `curate run`")
    add_format(parser)


def run(options: argparse.Namespace) -> int:
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
    return 0
