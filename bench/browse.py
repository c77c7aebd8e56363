"""How long `curate browse` takes to answer a condition on a million rows, the first time and when it knows the columns.

    python -m bench.million data/million
    python -m bench.browse data/million [--goal 1.0]

Each question is asked five times, each time of a finder that has read nothing but the list of the columns; the best is
told. What the system keeps of the files is warm, as it is for who has just looked at a report. "again" is the same
columns with another bound. The first page of 60 rows is told in any case, and the total where it took less than a
second. "cpu" is the time of all threads together, which other work on the machine does not change as much.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path
from time import perf_counter, process_time

from curate.browse.find import Finder, Found
from curate.storage import Storage

QUESTIONS = {
    "one column": ("clip_similarity > 0.30", "clip_similarity > 0.31", ""),
    "three families": (
        "clip_similarity > 0.28 and original_width >= 300 and caption_words > 4",
        "clip_similarity > 0.27 and original_width >= 310 and caption_words > 5",
        "",
    ),
    "text": ("caption like '%red%'", "caption like '%blue%'", ""),
    "reasons": (
        "list_contains(drop_reasons, 'similarity_too_low')",
        "list_contains(drop_reasons, 'similarity_too_low') and len(drop_reasons) = 1",
        "",
    ),
    "ordered": ("keep", "not keep", "clip_similarity desc"),
}
TIMES = 5


def ask(finder: Finder, condition: str, order: str) -> tuple[float, float, Found]:
    """Seconds on the clock, seconds of all threads, and the answer."""
    started, used = perf_counter(), process_time()
    found = finder.find("samples", condition, order=order)
    return perf_counter() - started, process_time() - used, found


def main() -> int:
    """Print the table; 1 where an answer took longer than the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_set", type=Path)
    parser.add_argument("--goal", type=float, default=1.0, help="seconds that each answer may take")
    options = parser.parse_args()
    storage, late = Storage(str(options.data_set)), False
    print(f"{'question':16} {'first s':>8} {'cpu s':>6} {'again s':>8} {'cpu s':>6} {'rows':>10}  shards")
    for name, (condition, other, order) in QUESTIONS.items():
        finders = [Finder(storage) for _ in range(TIMES)]
        first, again = (
            min((ask(finder, text, order) for finder in finders), key=lambda answer: answer[0])
            for text in (condition, other)
        )
        found = first[2]
        rows = f"{found.total:,}" if found.total is not None else f">= {found.at_least:,}"
        times = f"{first[0]:8.2f} {first[1]:6.2f} {again[0]:8.2f} {again[1]:6.2f}"
        print(f"{name:16} {times} {rows:>10}  {found.looked_at[0]} of {found.looked_at[1]}")
        late |= max(first[0], again[0]) > options.goal
    print(f"peak memory of all finders together: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
