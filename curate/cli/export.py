"""Pack the kept samples of a data set into new shards for a consumer."""

from __future__ import annotations

import argparse
import os

from curate.cli._output import add_format, progress, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="folder or fsspec URL of a data set")
    parser.add_argument("--to", required=True, metavar="FORMAT", help="what to write, e.g. webdataset")
    parser.add_argument("--out", metavar="DIR", help="where to write (default: DIR-FORMAT)")
    parser.add_argument("--shard-samples", type=int, default=10_000, help="samples per shard (10000)")
    parser.add_argument("--in-order", action="store_true", help="keep the order of the source instead of shuffling")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shuffle (0)")
    parser.add_argument("--on", choices=("local", "ray", "inline"), default="local", help="where work runs")
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    from curate.export import exporter
    from curate.run import make_engine, runtime
    from curate.run.scheduler import RunSettings, run_job
    from curate.storage import Storage

    source = Storage(options.folder.rstrip("/"))
    target = Storage(options.out or f"{source.root}-{options.to}")
    settings, run_settings = exporter(options.to), RunSettings()
    engine = make_engine(options.on, run_settings, os.environ.get("RAY_ADDRESS"))
    watch = progress()
    try:
        job, finish = settings(source, options.shard_samples, not options.in_order, options.seed)
        outcome = run_job(job, target, engine, run_settings, runtime(run_settings, {}), watch)
        result = finish(target)
    finally:
        engine.close()
        watch.close()
    show({**result, "written_to": target.root}, options.format)
    return 1 if outcome.failed or result.get("shards_without_selection") else 0
