"""What it costs to find copies as rows grow: exact, near captions and near pictures over four sizes, and a fit.

Shards of 10,000 rows are made in a temporary folder, as the stages before would leave them: captions of 6 to 20 words
of a vocabulary of 20,000, a tenth of the rows a copy of an earlier one with the same file, a word changed in the
caption and 4 bits in the hash. Each kind of copy runs all its steps in a process of its own, on one core; counted are
its CPU seconds and its peak memory. The slope is that of log(CPU) over log(rows): 1 is linear, and "cost as rows grow
10 x" is what the fit says for ten times the rows, over 10.

    python -m bench.copies [--small]             60,000 to 600,000 rows; small: 10,000 to 80,000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from curate.manifest import Attempt, write_parquet
from curate.plan import Job
from curate.registry import filter_class
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.score import Score
from curate.shard import Shard, Slice
from curate.stage import Runtime, Stage, Step
from curate.storage import Storage

SIZES, SMALL = (60_000, 120_000, 300_000, 600_000), (10_000, 20_000, 40_000, 80_000)
SHARD_ROWS = 10_000
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "same files": ("bytes", {}),
    "near captions": ("near_caption", {}),
    "near pHash": ("near_image", {"hash": "phash", "radius": 8}),
    "near PDQ": ("near_image", {"hash": "pdq"}),
}
"""Name to filter and settings."""


@dataclass(frozen=True)
class Lies(Stage):
    """Stands for the stages before: takes the files of a shard over."""

    folder: str
    name: ClassVar[str] = "lies"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("key", "url", "caption", "sha256", "phash", "pdq", "pdq_quality")

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        attempt.path(shard.table_name()).write_bytes((Path(self.folder) / shard.table_name()).read_bytes())


def make_shards(folder: Path, rows: int) -> None:
    """Write the shards, from a fixed seed: the first rows of a larger set are those of a smaller one."""
    words = np.array([f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "ei", "o", "u") for c in WORD_ENDS])
    for number in range(rows // SHARD_ROWS):
        random = np.random.default_rng(number)
        captions = [" ".join(random.choice(words, size)) for size in random.integers(6, 21, SHARD_ROWS)]
        files = random.integers(0, 1 << 62, SHARD_ROWS)
        hashes = random.integers(0, 1 << 63, SHARD_ROWS, dtype=np.uint64)
        for row in np.flatnonzero(random.random(SHARD_ROWS) < 0.1)[1:].tolist():
            original = int(random.integers(row))
            files[row] = files[original]
            captions[row] = f"{captions[original]} {random.choice(words)}"
            hashes[row] = hashes[original] ^ np.uint64(sum(1 << int(bit) for bit in random.choice(64, 4, False)))
        table = {
            "key": [f"{number:05d}{row:04d}" for row in range(SHARD_ROWS)],
            "url": [f"https://site{row % 997}.test/{number}/{row}.jpg" for row in range(SHARD_ROWS)],
            "caption": captions,
            "sha256": [f"{value:064x}" for value in files.tolist()],
            "phash": pa.array(hashes),
            "pdq": pa.array(
                [_wide(*pair) for pair in zip(hashes.tolist(), files.tolist(), strict=True)], pa.binary(32)
            ),
            "pdq_quality": pa.array(np.full(SHARD_ROWS, 100, np.int32)),
        }
        write_parquet(pa.table(table), folder / f"{number:05d}.parquet")


def _wide(value: int, file: int) -> bytes:
    """256 bits: 64 of the hash, and 192 that copies of a file share."""
    return value.to_bytes(8, "big") + hashlib.sha256(file.to_bytes(8, "big")).digest()[:24]


WORD_ENDS = [f"{a}{b}" for a in "bcdfghklmnprstvz" for b in ("a", "en", "in", "ol", "ur", "is")]


def run(kind: str, folder: Path, rows: int) -> dict[str, float]:
    """Find copies of one kind; CPU seconds and peak memory of this process, beside what it takes to start."""
    find(kind, folder / "in", folder / f"{kind} warm", SHARD_ROWS)  # imports and compiles, before the clock runs
    before = _cpu_s()
    copies = find(kind, folder / "in", folder / kind, rows)
    return {
        "cpu_s": _cpu_s() - before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "copies": copies,
    }


def find(kind: str, given: Path, out: Path, rows: int) -> int:
    """Run all steps over the first rows; the number of copies."""
    name, settings = KINDS[kind]
    rule = filter_class(f"{name}_duplicate")(**settings)
    scores = [Score(rule.scorers({})[0])] if name == "near_caption" else []
    steps: list[Step] = [Lies(str(given)), *scores, *rule.steps(())]  # type: ignore[list-item]
    pieces = [Slice(f"{number:05d}", SHARD_ROWS, str(number)) for number in range(rows // SHARD_ROWS)]

    def cut(storage: Storage) -> Iterator[Slice]:
        return iter(pieces)

    outcome = run_job(Job(tuple(steps), cut, lambda storage: pieces), Storage(str(out)), InlineEngine())
    assert not outcome.failed, outcome.failed
    return sum(commit.counts.get("copies", 0) for commit in outcome.commits)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Every size and kind in a process of its own, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "FOLDER", "ROWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, folder, rows = options.one
        print(json.dumps(run(kind, Path(folder), int(rows))))
        return
    sizes = SMALL if options.small else SIZES
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-copies-") as name:
            (Path(name) / "in").mkdir()
            make_shards(Path(name) / "in", rows)
            for kind in KINDS:
                command = [sys.executable, "-m", "bench.copies", "--one", kind, name, str(rows)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[kind].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{rows:>9,} {kind:15}", found[kind][-1], flush=True)
    print(f"\n{'kind':14} {'us a row':>28}  {'slope':>6}  {'10 x rows':>9}  {'peak MB':>18}")
    for kind, rows_of_kind in found.items():
        cpu = [entry["cpu_s"] for entry in rows_of_kind]
        slope = float(np.polyfit(np.log(sizes), np.log(cpu), 1)[0])
        each = " ".join(f"{1e6 * c / n:6.1f}" for c, n in zip(cpu, sizes, strict=True))
        peaks = " ".join(f"{entry['peak_mb']:.0f}" for entry in rows_of_kind)
        print(f"{kind:15} {each:>28}  {slope:6.3f}  {10**slope / 10:8.2f}x  {peaks:>18}")


if __name__ == "__main__":
    main()
