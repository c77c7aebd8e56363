"""Write a report: one HTML page of what is in a data set, and why each row stayed or went.

curate report data/demo                     writes report.html beside you, never into the data set
curate report s3://bucket/set --shards 50   reads 50 shards of it; the funnel and the costs are of all"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from curate.cli._output import add_format, show

if TYPE_CHECKING:
    from curate.storage import Storage

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DIR", help="a data set's folder or URL")
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="the page (default: report.html)"
    )
    parser.add_argument("--shards", type=int, metavar="N", help="read only N shards, drawn evenly")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)")
    parser.add_argument("--tiles", type=int, default=12, metavar="N", help="samples a gallery shows (default: 12)")
    parser.add_argument("--cpu-hour", type=float, metavar="PRICE", help="what an hour of a worker costs")
    parser.add_argument("--gpu-hour", type=float, metavar="PRICE", help="what an hour of one that runs a model costs")
    parser.add_argument(
        "--screenshot", type=Path, metavar="FILE", help="also write a PNG of the page's top, by Chromium or Chrome"
    )
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    from curate.errors import ConfigError
    from curate.report.collect import Look, collect
    from curate.report.page.report import render
    from curate.report.screenshot import find_browser, screenshot
    from curate.report.shard import write
    from curate.storage import Storage

    storage = Storage(options.data)
    for option, target in (("--out", options.out), ("--screenshot", options.screenshot)):
        _refuse(option, target, storage)
    if options.screenshot is not None:
        find_browser()
    try:
        look = Look(options.shards, options.seed, options.tiles, options.cpu_hour, options.gpu_hour)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    facts = collect(storage, look)
    page = render(facts).encode()
    write(options.out, page, "--out")
    if options.screenshot is not None:
        write(options.screenshot, screenshot(options.out), "--screenshot")
    told: dict[str, object] = {unit.name: f"{unit.kept:,} kept of {unit.rows:,}" for unit in facts.units}
    told |= {"shards": f"{facts.looked_at[0]:,} read of {facts.looked_at[1]:,}"}
    told |= {"troubles": list(facts.troubles)} if facts.troubles else {}
    show({**told, "report": str(options.out), "bytes": len(page)}, options.format)
    return 0


def _refuse(option: str, target: Path | None, storage: Storage) -> None:
    """A page is a file, in a folder that is there before anything is counted, and not in the data set it is about."""
    from curate.errors import ConfigError

    if target is None:
        return
    if str(target) == "-":
        raise ConfigError(f"{option} names a file; a page is not printed")
    if Path(storage.root).is_dir() and target.resolve().is_relative_to(Path(storage.root).resolve()):
        raise ConfigError(f"{target} would lie in the data set {storage.root}; choose another {option}")
    if not target.parent.is_dir():
        raise ConfigError(f"cannot write {target}: No such file or directory; choose another {option}")
