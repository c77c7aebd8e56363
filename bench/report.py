"""The report of a data set of a million rows: seconds and peak memory of counting, and of the page as well.

A data set is written by `bench.million` (or one that is there is taken), and each contender is a process of its own.
The machine may be busy, so CPU seconds are told beside those of the clock; the goal is below 60 s and 2 GiB on 2 cores.

    python -m bench.report [--rows 1000000] [--rounds 3] [--data DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.million import Size, write_rows
from curate.report.collect import Look, collect
from curate.report.facts import Facts
from curate.report.page.report import render
from curate.storage import Storage

CONTENDERS = ("counted, no pictures", "counted and drawn", "the whole page", "the page of 10 shards")


def child(contender: str, data: str) -> None:
    """What is measured, in a process of its own; prints what it took."""
    started = time.perf_counter()
    look = {CONTENDERS[0]: Look(tiles=0), CONTENDERS[3]: Look(shards=10)}.get(contender, Look())
    facts: Facts = collect(Storage(data), look)
    page = render(facts) if contender in CONTENDERS[2:] else ""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "page_mb": len(page.encode()) / 1e6,
        "rows": sum(unit.rows for unit in facts.units),
        "troubles": len(facts.troubles),
    }
    print(json.dumps(told))


def run_alone(contender: str, data: str) -> dict[str, Any]:
    """One contender: wall and CPU seconds, peak memory, size of the page."""
    command = [sys.executable, "-m", "bench.report", "--child", contender, "--data", data]
    answer: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return answer


def main(rows: int, rounds: int, data: str | None) -> None:
    """Write the data set, measure each contender, print the best of all rounds."""
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            write_rows(Path(folder) / "million", Size(rows))
        place = data or f"{folder}/million"
        print("| | rows | wall s | CPU s | peak MB | page MB |\n|---|---|---|---|---|---|")
        for contender in CONTENDERS:
            best = min((run_alone(contender, place) for _ in range(rounds)), key=lambda one: float(one["cpu_s"]))
            assert not best["troubles"], f"{contender}: the report has troubles"
            numbers = f"{best['wall_s']:.1f} | {best['cpu_s']:.1f} | {best['peak_mb']:.0f} | {best['page_mb']:.2f}"
            print(f"| {contender} | {best['rows']:,} | {numbers} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", help="a data set that is there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        child(told.child, told.data)
    else:
        main(told.rows, told.rounds, told.data)
