"""Components of edges on disk, beside scipy.sparse.csgraph.connected_components, each in a process of its own.

Ids are `shard << 32 | row`. scipy takes numbers from 0, so it runs twice: on the ids as they are, numbered by
np.unique, and on a copy that had been numbered before. Both read all edges, and give the smallest id of the component
for each node; digests of nodes and labels must be equal. Memory is VmHWM, the most the process ever had, mapped pages
included; ours maps none. `base` is that of a process which imports the same and does nothing.

    python -m bench.components [--small] [random | mixed]
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

EDGES, SMALL = 50_000_000, 2_000_000
PARTS = 50
ROWS = 5_000
"""Of a shard."""
CHAIN = 1_000_000
MEMORY_BYTES = 128 << 20
Pairs = npt.NDArray[np.int32]


def random_pairs(count: int, rng: np.random.Generator) -> Pairs:
    """Average degree 1, at the threshold of a giant component."""
    return rng.integers(0, 2 * count, (count, 2), dtype=np.int32)


def mixed_pairs(count: int, rng: np.random.Generator) -> Pairs:
    """A quarter in chains of a million links, a quarter in one star, the rest in clusters of 3 on average; nodes and
    edges in a random order."""
    count = int(count / 0.79)
    fifth = count // 5
    chains = np.arange(fifth, dtype=np.int32)
    chains = np.stack([chains, chains + 1], axis=1)[(chains + 1) % CHAIN != 0]
    star = np.stack([np.full(fifth, fifth), fifth + 1 + np.arange(fifth)], axis=1).astype(np.int32)
    last = 2 * fifth + 2
    members = np.arange(last, last + count - 2 * fifth, dtype=np.int32)
    clusters = np.stack([members, members + 1], axis=1)[rng.random(len(members)) > 0.35]
    pairs = rng.permutation(np.concatenate([chains, star, clusters]))
    renamed = rng.permutation(int(pairs.max()) + 1).astype(np.int32)
    return renamed[pairs]


def ids_of(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The ids that stand for numbers, in the same order."""
    numbers = numbers.astype(np.uint64)
    return (numbers // np.uint64(ROWS)) << np.uint64(32) | numbers % np.uint64(ROWS)


def make(folder: Path, graph: str, count: int) -> int:
    """Write the edges in parts, with ids and with numbers."""
    pairs = {"random": random_pairs, "mixed": mixed_pairs}[graph](count, np.random.default_rng(0))
    for number, part in enumerate(np.array_split(pairs, PARTS)):
        np.save(folder / f"ids-{number:03d}.npy", ids_of(part))
        np.save(folder / f"numbers-{number:03d}.npy", part)
    return len(pairs)


def ours(folder: Path) -> Iterator[tuple[Any, Any]]:
    """On files, with a working folder."""
    from curate.dedup.components import components

    yield from components(sorted(folder.glob("ids-*.npy")), folder / "work", MEMORY_BYTES)


def scipy_ids(folder: Path) -> Iterator[tuple[Any, Any]]:
    """All ids in memory, numbered by np.unique."""
    edges = np.concatenate([np.load(path) for path in sorted(folder.glob("ids-*.npy"))])
    nodes, numbers = np.unique(edges, return_inverse=True)
    del edges
    yield from _scipy(numbers.reshape(-1, 2).astype(np.int32), nodes)


def scipy_numbers(folder: Path) -> Iterator[tuple[Any, Any]]:
    """All numbers in memory; those that have no edge are left out at the end."""
    edges = np.concatenate([np.load(path) for path in sorted(folder.glob("numbers-*.npy"))])
    yield from _scipy(edges, None)


def _scipy(edges: Pairs, nodes: npt.NDArray[np.uint64] | None) -> Iterator[tuple[Any, Any]]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    total = int(edges.max()) + 1
    there = np.zeros(total, bool)
    there[edges[:, 0]] = there[edges[:, 1]] = True
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(total, total)).tocsr()
    del edges
    count, found = connected_components(graph, directed=False)
    del graph
    low = np.empty(count, np.int32)
    low[found[::-1]] = np.arange(total - 1, -1, -1, dtype=np.int32)
    for start in range(0, total, 1 << 20):
        here = np.flatnonzero(there[start : start + (1 << 20)]) + start
        labels = low[found[here]]
        yield (ids_of(here), ids_of(labels)) if nodes is None else (nodes[here], nodes[labels])


def base(folder: Path) -> Iterator[tuple[Any, Any]]:
    """What the imports take."""
    import curate.dedup.components

    assert curate.dedup.components.components
    yield from ()


def digest(chunks: Iterable[tuple[Any, Any]]) -> tuple[str, int]:
    """Of all nodes and all labels, and how many there are."""
    of_nodes, of_labels, count = hashlib.sha256(), hashlib.sha256(), 0
    for nodes, labels in chunks:
        of_nodes.update(nodes.tobytes())
        of_labels.update(labels.tobytes())
        count += len(nodes)
    return of_nodes.hexdigest()[:16] + of_labels.hexdigest()[:16], count


CONTENDERS = {"base": base, "ours": ours, "scipy, ids": scipy_ids, "scipy, numbers": scipy_numbers}


def child(contender: str, folder: Path) -> None:
    """What `run_alone` starts."""
    started = time.perf_counter()
    found, nodes = digest(CONTENDERS[contender](folder))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    work = folder / "work"
    answer = {
        "wall_s": round(time.perf_counter() - started, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(int(status["VmHWM"].split()[0]) / 1024),
        "left_mb": round(sum(file.stat().st_size for file in work.iterdir()) / 1e6) if work.exists() else 0,
        "nodes": nodes,
        "digest": found,
    }
    print(json.dumps(answer))


def run_alone(contender: str, folder: Path) -> dict[str, Any]:
    """One contender in a process of its own."""
    command = [sys.executable, "-m", "bench.components", "alone", contender, str(folder)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    shutil.rmtree(folder / "work", ignore_errors=True)
    return answer


def main(graph: str, count: int) -> bool:
    """Make the edges, run all, print; whether all agree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        maker = [sys.executable, "-m", "bench.components", "make", graph, str(count), name]
        edges = int(subprocess.run(maker, stdout=subprocess.PIPE, check=True).stdout)
        print(f"{graph}: {edges:,} edges in {PARTS} files; {MEMORY_BYTES >> 20} MB asked of ours")
        answers = {contender: run_alone(contender, folder) for contender in CONTENDERS}
    print(f"{'':16}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'nodes':>14}")
    for contender, answer in answers.items():
        print(f"{contender:16}{answer['wall_s']:9.1f}{answer['cpu_s']:9.1f}{answer['peak_mb']:9,}{answer['nodes']:14,}")
    rest = [answers[name] for name in ("scipy, ids", "scipy, numbers")]
    for name, other in zip(("ids", "numbers"), rest, strict=True):
        share = answers["ours"]["peak_mb"] / other["peak_mb"]
        print(f"memory: {share:.3f} of scipy's on {name}; time: {answers['ours']['cpu_s'] / other['cpu_s']:.2f} of its")
    equal = all(other["digest"] == answers["ours"]["digest"] for other in rest)
    print(f"labels {'are equal' if equal else 'DIFFER'}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / f"components_{graph}.json").write_text(json.dumps({"edges": edges, "equal": equal, **answers}, indent=1))
    return equal


if __name__ == "__main__":
    asked = sys.argv[1:]
    if asked[:1] == ["alone"]:
        child(asked[1], Path(asked[2]))
    elif asked[:1] == ["make"]:
        print(make(Path(asked[3]), asked[1], int(asked[2])))
    else:
        os.environ.update(OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="2")
        graphs = [name for name in asked if name != "--small"] or ["random", "mixed"]
        agree = [main(graph, SMALL if "--small" in asked else EDGES) for graph in graphs]
        sys.exit(0 if all(agree) else 1)
