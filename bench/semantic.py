"""SemDeDup: pairs within cells, ours against a plain numpy loop over the same cells, and what cells themselves cost.

A million embeddings of 512 float16 are made, from a fixed seed: a direction common to all, one of 1,000 groups, and
noise whose spectrum falls as in trained encoders; a fifth of the rows lies near another. Cells are found by the step's
own code, and both contenders get the same rows in the same order. The plain loop is what the paper says, in numpy:
rows of a cell in float32 and of unit length, all products, the part above the diagonal, the largest of each column.
Each run is a process of its own, once with one thread and once with two. Decisions must be the same at every bound.
There are as many cells as the root of the number of rows, four times what the step would choose, for the plain loop
needs 8 bytes for each pair of rows of the largest cell.

    python -m bench.semantic [--small]                      --small: 60,000 rows
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROWS, SMALL_ROWS, LENGTH, GROUPS = 1_000_000, 60_000, 512, 1_000
BOUNDS = (0.5, 0.7, 0.8, 0.85, 0.876, 0.9, 0.93, 0.95, 0.97, 0.99, 0.999)
ROUNDS = 2


def make(folder: Path, rows: int) -> dict[str, Any]:
    """Write the embeddings."""
    random = np.random.default_rng(0)
    common, groups = (random.normal(size=(n, LENGTH)).astype(np.float32) for n in (1, GROUPS))
    spectrum = (np.arange(1, LENGTH + 1) ** -0.25).astype(np.float32)
    spectrum *= (LENGTH / (spectrum**2).sum()) ** 0.5
    stored = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float16, (rows, LENGTH))
    for start in range(0, rows, 10_000):
        count = min(10_000, rows - start)
        block = 0.6 * common + 0.5 * groups[random.integers(0, GROUPS, count)]
        block += 0.6 * spectrum * random.normal(size=block.shape).astype(np.float32)
        near, other = random.permutation(count)[: 2 * (count // 10)].reshape(2, -1)
        size = random.choice([0.0, 0.05, 0.15, 0.3, 0.5], (len(near), 1)).astype(np.float32)
        block[near] = block[other] + size * random.normal(size=(len(near), LENGTH)).astype(np.float32)
        stored[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
    stored.flush()
    return {}


def cells(folder: Path, count: int) -> dict[str, Any]:
    """Find cells and put rows into them; writes the order of rows and where cells end."""
    from curate.dedup import semantic

    rows = np.load(folder / "rows.npy", mmap_mode="r")
    digests = np.random.default_rng(1).integers(0, 2**63, (len(rows), 2)).astype(np.uint64)
    found: Any = _Rows(rows, digests)
    started, cpu = time.perf_counter(), time.process_time()
    attempt: Any = SimpleNamespace(counts=Counter())
    own, closeness = semantic.SemanticDuplicates(cells=count)._cells(found, attempt)
    spent = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    order = np.lexsort((closeness, own))
    ends = np.flatnonzero(np.diff(own[order], append=-1)) + 1
    np.savez(folder / "cells.npz", order=order, ends=ends, cells=own)
    sizes = np.diff(ends, prepend=0)
    return {**spent, "cells": len(ends), "largest": int(sizes.max()), "pairs": int((sizes * (sizes - 1) // 2).sum())}


class _Rows(SimpleNamespace):
    """What the step takes for its rows."""

    def __init__(self, embeddings: Any, digests: Any) -> None:
        super().__init__(embeddings=embeddings, digests=digests)

    def __len__(self) -> int:
        return len(self.embeddings)


def plain(rows: Any, order: Any, ends: Any) -> Any:
    """The paper's rule, as it is written."""
    best = np.zeros(len(order), np.float32)
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        own = rows[order[start:end]].astype(np.float32)
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        best[order[start:end]] = np.triu(own @ own.T, k=1).max(axis=0)
    return best


def ours(rows: Any, order: Any, ends: Any) -> Any:
    """The step's own comparison."""
    from curate.dedup.semantic_cells import each_cell, nearest_earlier

    return each_cell(nearest_earlier, rows, order, ends).cosine


def compare(folder: Path, name: str) -> dict[str, Any]:
    """One contender on all cells; the best of several rounds."""
    with np.load(folder / "cells.npz") as found:
        order, ends = found["order"], found["ends"]
    rows = np.load(folder / "rows.npy")
    contender = {"plain": plain, "ours": ours}[name]
    best: dict[str, Any] = {"wall_s": float("inf"), "cpu_s": float("inf")}
    for _ in range(ROUNDS):
        started, cpu = time.perf_counter(), time.process_time()
        answer = contender(rows, order, ends)
        spent = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
        best = {key: min(best[key], spent[key]) for key in best}
    np.save(folder / f"{name}.npy", answer)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**best, "beside_rows_mb": peak - rows.nbytes / 2**20}


def largest_exact(folder: Path, some: Any) -> Any:
    """The largest cosine of some rows with those before them, in float64, then rounded as the column is."""
    rows = np.load(folder / "rows.npy", mmap_mode="r")
    with np.load(folder / "cells.npz") as found:
        order, own = found["order"], found["cells"]
    best = []
    for row in some:
        cell = order[own[order] == own[row]]
        earlier = rows[cell[: int(np.flatnonzero(cell == row)[0])]].astype(np.float64)
        earlier /= np.linalg.norm(earlier, axis=1, keepdims=True)
        one = rows[row].astype(np.float64)
        best.append((earlier @ (one / np.linalg.norm(one))).max(initial=0))
    return np.array(best, np.float32)


def child(folder: Path, threads: int, *arguments: str) -> dict[str, Any]:
    """Run one piece of work in a process of its own, with so many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    command = [sys.executable, "-m", "bench.semantic", "--child", str(folder), *arguments]
    done = subprocess.run(
        command, env={**os.environ, **dict.fromkeys(names, str(threads))}, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(small: bool) -> None:
    """Run all and print the table."""
    count = SMALL_ROWS if small else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child(folder, 1, "make", str(count))
        found = child(folder, 2, "cells", str(round(count**0.5)))
        print(
            f"{count:,} rows of {LENGTH}; {found['cells']:,} cells, the largest of {found['largest']:,}, "
            f"{found['pairs'] / 1e6:,.0f} M pairs; found and filled in {found['wall_s']:.1f} s, "
            f"{found['cpu_s']:.1f} s of CPU"
        )
        print(f"{'threads':>7} {'':8} {'wall s':>8} {'CPU s':>8} {'MB':>6}")
        for threads in (1, 2):
            spent = {who: child(folder, threads, who) for who in ("plain", "ours")}
            for who, s in spent.items():
                print(f"{threads:7} {who:8} {s['wall_s']:8.2f} {s['cpu_s']:8.2f} {s['beside_rows_mb']:6.0f}")
            wall, cpu = (spent["plain"][key] / spent["ours"][key] for key in ("wall_s", "cpu_s"))
            print(f"{threads:7} {'ratio':8} {wall:8.2f} {cpu:8.2f}")
        one, other = (np.load(folder / f"{who}.npy") for who in ("plain", "ours"))
        print(f"largest difference {np.abs(one - other).max():.1e}; by bound, dropped rows, decisions that differ from")
        print("those of the plain loop, and how many of these float64 decides as ours:")
        for bound in BOUNDS:
            drop, our_drop = one > np.float32(bound), other > np.float32(bound)
            rows = np.flatnonzero(drop != our_drop)
            exact = largest_exact(folder, rows) > np.float32(bound)
            right = int((exact == our_drop[rows]).sum())
            print(f"  {bound:5} {int(our_drop.sum()):9,} {len(rows):4} {right:4}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        where, what = Path(sys.argv[2]), sys.argv[3]
        works = {"make": lambda: make(where, int(sys.argv[4])), "cells": lambda: cells(where, int(sys.argv[4]))}
        print(json.dumps(works[what]() if what in works else compare(where, what)))
    else:
        main("--small" in sys.argv[1:])
