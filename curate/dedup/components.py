"""Connected components of edges that do not fit in memory: a label for each node, the smallest id of its component.

Labels spread along edges need as many rounds as the longest chain has links, large-star and small-star (Kiveris et al.
2014) some log2(n) of them with two shuffles each. Here every edge falls instead, once: nodes are mixed and cut into
buckets, and the buckets are taken from the highest to the lowest, each with a union-find over its own nodes only. What
hangs together in a bucket and is tied to nodes of lower buckets leaves one edge for every two of these, so the edges
never grow in number, and each falls to a bucket below at random: ln(buckets) times at the most, on average (node
elimination after Sibeyn 2004, with buckets for nodes). Then labels rise from the lowest bucket to the highest. Two
sweeps, whatever the shape: a chain of a million links costs what a million pairs cost, and one component of 50 million
nodes costs what many small ones do, for a bucket knows neither the others' nodes nor how many there are.

The trade: within a sweep a bucket waits for those above it, so one process does this part, at 1.2 million edges a CPU
second and 106 bytes of disk an edge. 50 million edges take 250 MB, of which 100 are the interpreter's, and 40 CPU
seconds; scipy takes 3,446 MB and 28 (`bench/components.py`). What can be done beside each other is done before
(`contract`, one partition each; `split`, one input each) and after (`labelled`, one range each). Every step is a
function of numbered files to numbered files, is done once the last of its files has its name, and is skipped then: kill
it anywhere and call it again.

    inputs -> split -> [edges by bucket] -> sink, from the highest bucket -> [edges, asks] -> rise, from the lowest
           -> [labels by range of ids] -> labelled -> (nodes, labels) in order of nodes

Labels are the smallest ids, so neither the order of edges nor the partitions, buckets or workers can change them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from curate.dedup.components_kernels import Ids, Nodes, mix, unmix
from curate.dedup.components_runs import Runs, load, read_runs, save
from curate.errors import StorageError
from curate.storage import plain_errors

__all__ = [
    "MEMORY_BYTES",
    "Plan",
    "Ties",
    "components",
    "contract",
    "labelled",
    "rise",
    "sink",
    "split",
    "write_edges",
]

MEMORY_BYTES = 256 << 20
"""Beside what the interpreter and its libraries take."""

MAX_BUCKETS = 4096
NODE_BYTES = 80
"""What a node takes while its bucket is worked on, at most: 28 for what is known of it, 24 of slots, and growth."""
ROW_BYTES = 128
"""What a row of a block takes in all buffers of a step together."""
READ_ROWS = 1 << 16
WAITING = 1 << 20
_32 = np.uint64(32)
_Number = TypeVar("_Number", bound=np.generic)


def contract(edges: Ids) -> Ids:
    """The components of one partition in memory: edges uint64 (m, 2) to stars uint64 (k, 2) of (node, smallest id).

    Sorted by node, each node once, without edges from a node to itself; fewer rows than there are nodes. Takes 16 to 52
    bytes for each distinct node beside the edges, and 48 for each row of the answer: at most 150 bytes an edge, where
    no two edges meet. Raises ValueError for other shapes, and for more than a billion nodes.
    """
    _check_edges(edges, "edges")
    nodes = Nodes.empty(bucket=False)
    for start in range(0, len(edges), READ_ROWS):
        nodes.join(edges[start : start + READ_ROWS])
    root = nodes.flatten()
    nodes.slots = np.empty(0, np.int32)
    tied = np.flatnonzero(root != np.arange(len(root)))
    tied = tied[np.argsort(nodes.node[tied])]
    return np.stack([nodes.node[tied], nodes.node[root[tied]]], axis=1)


class Ties:
    """The components of edges that come some at a time, in the memory of their nodes and not of all edges.

    What waits is contracted once it is as much as what is known, so a node is looked at a few times, however many
    edges it has.
    """

    def __init__(self) -> None:
        self._known = np.empty((0, 2), np.uint64)
        self._waiting: list[Ids] = []
        self._count = 0

    def add(self, edges: Ids) -> None:
        """Edges uint64 (m, 2)."""
        self._waiting.append(edges)
        self._count += len(edges)
        if self._count > max(WAITING, len(self._known)):
            self.stars()

    def stars(self) -> Ids:
        """All edges so far as `contract` tells them."""
        self._known = contract(np.concatenate([self._known, *self._waiting]))
        self._waiting, self._count = [], 0
        return self._known


def write_edges(path: Path, edges: Ids) -> None:
    """Edges uint64 (m, 2) as a file that `components` reads: numpy's `.npy`, whole or not at all."""
    _check_edges(edges, str(path))
    save(path, np.ascontiguousarray(edges))


def components(
    edges: Sequence[Path | Ids], folder: Path, memory_bytes: int = MEMORY_BYTES
) -> Iterator[tuple[Ids, Ids]]:
    """Nodes and their labels, two uint64 (n,) at a time, in order of nodes; every node of an edge appears once.

    `edges` are uint64 (m, 2): files of `write_edges`, or arrays. `folder` takes some 100 bytes an edge and stays
    behind, the caller's to remove; called again with the same edges and folder, it goes on where it stopped. Memory
    keeps to `memory_bytes` above what the process has, whatever the number of edges and the size of a component.
    Raises StorageError for a file that is cut short and for a folder of other edges, ValueError for too little memory.
    """
    lengths = [_length(item) if isinstance(item, Path) else _check_edges(item, "edges") for item in edges]
    plan = Plan(folder, len(edges), sum(lengths), memory_bytes)
    _claim(plan, lengths)
    if not all((folder / f"labels-{bucket}.npy").exists() for bucket in range(plan.buckets)):
        if not all((folder / f"low-{bucket}.npy").exists() for bucket in range(plan.buckets)):
            for number, item in enumerate(edges):
                split(plan, number, _read_edges(item) if isinstance(item, Path) else _slices(item))
            for bucket in reversed(range(plan.buckets)):
                sink(plan, bucket)
        _remove(folder, ("in", "down"))
        for bucket in range(plan.buckets):
            rise(plan, bucket)
    _remove(folder, ("ask", "answer", "node", "root", "low"))
    for number in range(plan.buckets):
        nodes, labels = labelled(plan, number)
        if len(nodes):
            yield nodes, labels


@dataclass(frozen=True)
class Plan:
    """What all steps agree on: where the files are, how many inputs there are with how many edges together, memory."""

    folder: Path
    inputs: int
    edges: int
    memory_bytes: int = MEMORY_BYTES

    def __post_init__(self) -> None:
        if self.memory_bytes < 1 or self.buckets > MAX_BUCKETS:
            least = -(-self.edges * 4 * NODE_BYTES // MAX_BUCKETS) + 1
            raise ValueError(
                f"memory_bytes = {self.memory_bytes:,} is too little for {self.edges:,} edges; at least {least:,}"
            )

    @property
    def buckets(self) -> int:
        """As many as let the nodes of one take half of the memory, if no two edges meet."""
        return max(1, -(-self.edges * 4 * NODE_BYTES // self.memory_bytes))

    @property
    def block(self) -> int:
        """Rows that a writer holds."""
        return max(64, min(self.memory_bytes // 2 // ROW_BYTES, 2 * self.edges))

    def bucket_of(self, mixed: Ids) -> npt.NDArray[np.int64]:
        """Ascending with the mixed node."""
        return ((mixed >> _32) * np.uint64(self.buckets) >> _32).astype(np.int64)

    def first(self, bucket: int) -> int:
        """The smallest mixed node that a bucket may have."""
        return -(-(bucket << 32) // self.buckets) << 32

    def done(self, name: str) -> bool:
        """Whether the last file of a step is there."""
        return (self.folder / f"{name}.npy").exists()

    def runs(self, name: str, width: int) -> Runs:
        """A writer of rows to all buckets, or ranges."""
        return Runs(self.folder / name, width, self.buckets, self.block)

    def read(self, names: Iterable[str], width: int, target: int) -> Iterator[Ids]:
        """What these wrote for a target."""
        paths = (self.folder / name for name in names)
        return read_runs(paths, width, target, min(self.block, READ_ROWS))


def split(plan: Plan, number: int, edges: Iterable[Ids]) -> None:
    """One input: each edge to the bucket of its higher end."""
    if plan.done(f"in-{number}"):
        return
    with plan.runs(f"in-{number}", 2) as out:
        for some in edges:
            mixed = np.sort(mix(some), axis=1)[:, ::-1]
            out.add(mixed, plan.bucket_of(mixed[:, 0]))


def sink(plan: Plan, bucket: int) -> None:
    """One bucket, after all above it: unite its nodes; send down the edges that are left, and what they wait for.

    Writes edges (`down`), for each root that is tied to a lower node a row of (that node, bucket and root, smallest id)
    (`ask`), and the nodes with the number of their root and the smallest ids of roots (`node`, `root`, `low`).
    """
    if plan.done(f"low-{bucket}"):
        return
    nodes, first = Nodes.empty(bucket=True), plan.first(bucket)
    above = range(bucket + 1, plan.buckets)
    sources = [f"in-{number}" for number in range(plan.inputs)] + [f"down-{number}" for number in above]
    with plan.runs(f"down-{bucket}", 2) as down:
        for some in plan.read(sources, 2, bucket):
            left = nodes.sink(some, first)
            down.add(left, plan.bucket_of(left[:, 0]))
    for some in plan.read((f"ask-{number}" for number in above), 3, bucket):
        nodes.hear(some)
    root = nodes.flatten()
    roots = np.flatnonzero(root == np.arange(len(root), dtype=np.int32))
    below, low = nodes.below[roots], nodes.low[roots]
    tied = np.flatnonzero(below < np.uint64(first))
    with plan.runs(f"ask-{bucket}", 3) as ask:
        for at in _slices(tied):
            who = roots[at].astype(np.uint64) | np.uint64(bucket << 32)
            ask.add(np.stack([below[at], who, low[at]], axis=1), plan.bucket_of(below[at]))
    for name, rows in (("node", nodes.node[: nodes.count]), ("root", root), ("low", low)):
        save(plan.folder / f"{name}-{bucket}.npy", rows)


def rise(plan: Plan, bucket: int) -> None:
    """One bucket, after all below it: label its nodes by what was answered, and answer those that asked.

    Writes rows of (bucket and root, label) (`answer`) and of (node, label) by range of ids (`labels`).
    """
    if plan.done(f"labels-{bucket}"):
        return
    node, root, low = (load(plan.folder / f"{name}-{bucket}.npy") for name in ("node", "root", "low"))
    mixed = node.view(np.uint64)
    label = np.zeros(len(root), np.uint64)
    label[root == np.arange(len(root), dtype=np.int32)] = low
    for some in plan.read((f"answer-{number}" for number in range(bucket)), 2, bucket):
        label[(some[:, 0] & np.uint64(0xFFFFFFFF)).astype(np.int64)] = some[:, 1]
    nodes, splits = Nodes.of(mixed), _splits(plan)
    with plan.runs(f"labels-{bucket}", 2) as labels, plan.runs(f"answer-{bucket}", 2) as answer:
        for some in plan.read((f"ask-{number}" for number in range(bucket + 1, plan.buckets)), 3, bucket):
            rows = np.stack([some[:, 1], label[root[nodes.find(some[:, 0])]]], axis=1)
            answer.add(rows, (rows[:, 0] >> _32).astype(np.int64))
        for start in range(0, len(root), READ_ROWS):
            ids, own = unmix(mixed[start : start + READ_ROWS]), root[start : start + READ_ROWS]
            labels.add(np.stack([ids, label[own]], axis=1), np.searchsorted(splits, ids, side="right"))


def labelled(plan: Plan, number: int) -> tuple[Ids, Ids]:
    """One range of ids: its nodes in order, and their labels."""
    names = (f"labels-{bucket}" for bucket in range(plan.buckets))
    found = np.concatenate([np.empty((0, 2), np.uint64), *(some.copy() for some in plan.read(names, 2, number))])
    order = np.argsort(found[:, 0])
    return found[order, 0], found[order, 1]


def _splits(plan: Plan) -> Ids:
    """Where ranges of ids begin, so that each has about as many nodes: the lowest bucket is a fair sample of them."""
    ids = np.sort(unmix(load(plan.folder / "node-0.npy").view(np.uint64)))
    places = np.arange(1, plan.buckets) * len(ids) // plan.buckets
    return ids[places] if len(ids) else np.empty(0, np.uint64)


def _claim(plan: Plan, lengths: Sequence[int]) -> None:
    """Make the folder, or see that it belongs to these edges."""
    path, mine = plan.folder / "plan.json", {"edges": lengths, "buckets": plan.buckets}
    with plain_errors(f"write {path}"):
        plan.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.with_suffix(".part").write_text(json.dumps(mine))
            path.with_suffix(".part").replace(path)
        found = json.loads(path.read_text())
    if found != mine:
        raise StorageError(f"{plan.folder} holds the components of other edges or another memory; remove it")


def _remove(folder: Path, names: Sequence[str]) -> None:
    with plain_errors(f"remove files from {folder}"):
        for name in names:
            for path in folder.glob(f"{name}-*"):
                path.unlink()


def _check_edges(edges: Ids, name: str) -> int:
    if edges.dtype != np.uint64 or edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"{name} must be uint64 (m, 2), found {edges.dtype} {edges.shape}")
    return len(edges)


def _slices(rows: npt.NDArray[_Number]) -> Iterator[npt.NDArray[_Number]]:
    return (rows[start : start + READ_ROWS] for start in range(0, len(rows), READ_ROWS))


def _length(path: Path) -> int:
    """How many edges a file has. Raises StorageError where it is not one of edges, or cut short."""
    with plain_errors(f"read edges from {path}"), open(path, "rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start, size = file.tell(), path.stat().st_size
    if dtype != np.uint64 or len(shape) != 2 or shape[1] != 2:
        raise StorageError(f"{path} has {dtype} {shape}, not edges: uint64 (m, 2); write it with write_edges")
    if size - start != shape[0] * 16:
        raise StorageError(f"{path} should have {shape[0]:,} edges and has bytes for {(size - start) / 16:,.1f}")
    return int(shape[0])


def _read_edges(path: Path) -> Iterator[Ids]:
    with plain_errors(f"read edges from {path}"), open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        while len(some := np.fromfile(file, np.uint64, 2 * READ_ROWS)):
            yield some.reshape(-1, 2)
