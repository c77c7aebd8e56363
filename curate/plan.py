"""A job as steps in order, checked before it runs: who writes each column, what is done, what a change will redo.

The fingerprint of (step, shard) is a hash of the step's own identity and of the fingerprints of the steps whose
columns it reads. It is known before anything runs. So the plan can say what a changed threshold costs: the steps
that read its columns, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from curate.errors import ConfigError
from curate.manifest import CommitLog, fingerprint
from curate.registry import nearest
from curate.shard import Slice
from curate.stage import Barrier, Part, Spread, Stage, Step
from curate.storage import Storage

__all__ = ["Job", "Phase", "Step", "StepState", "check", "fingerprints", "part_marks", "phases", "state"]

ALL_SHARDS = "all"
"""The name under which a barrier commits."""


@dataclass(frozen=True)
class Job:
    """What a pipeline answers: how the source is cut into slices, and the steps in their order.

    `slices` reads the source (or the cut that was made before) as a stream; `known_slices` answers what that will be,
    None when the source must be read to tell. `serve` holds up what the fetch needs to reach, and yields its addresses.
    `source_columns` is None when only reading the source can tell. `warnings` looks for what is allowed and unwise,
    such as models that share weights: sentences, told before the run. `begun` is called once every step can run, before
    the first does: it keeps what the run was told to do.
    """

    steps: tuple[Step, ...]
    slices: Callable[[Storage], Iterator[Slice]]
    known_slices: Callable[[Storage], list[Slice] | None] = lambda storage: None
    serve: Callable[[], AbstractContextManager[Mapping[str, str]]] = lambda: nullcontext({})
    source_columns: tuple[str, ...] | None = ()
    warnings: Callable[[], list[str]] = list
    begun: Callable[[Storage], None] = lambda storage: None


@dataclass(frozen=True)
class Phase:
    """Stages that run shard by shard, in chains that each run as one task; then, maybe, what needs all shards."""

    chains: tuple[tuple[Stage, ...], ...]
    barrier: Barrier | Spread | None = None


@dataclass(frozen=True)
class StepState:
    """How far one step is: `done` of `shards` (None: not known before the source has been read)."""

    label: str
    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    done: int
    shards: int | None
    failed: int = 0
    stale: int = 0


def check(job: Job) -> None:
    """Raise ConfigError unless labels differ, every column that is read has one earlier writer, and none has two."""
    written: dict[str, str] = {"source": "the source", **dict.fromkeys(job.source_columns or (), "the source")}
    labels: set[str] = set()
    for step in job.steps:
        if step.label in labels:
            raise ConfigError(f"two steps are called {step.label!r}")
        labels.add(step.label)
        for column in step.reads:
            if column not in written and job.source_columns is not None:
                remedy = _remedy(job, step, column) or nearest(column, sorted(written))
                raise ConfigError(
                    f"step {step.label!r} reads column {column!r}, which nothing before it writes; {remedy}"
                )
        for column in step.writes:
            if written.get(column, "the source") != "the source":
                raise ConfigError(f"steps {written[column]!r} and {step.label!r} both write column {column!r}")
            written[column] = step.label


def _remedy(job: Job, step: Step, column: str) -> str | None:
    """What to change where a filter wants what a step cannot read: it is the filter that a config names. None where
    no filter does, and where the config names the column itself. Steps call columns of parts `part.NAME`."""
    wanted = {name.removeprefix("part.") for name in (column, *step.writes)}
    for name, rule in (pair for other in job.steps for pair in getattr(other, "rules", ())):
        if wanted.intersection(rule.columns) and wanted.intersection(rule.reads):
            return f"filter {name!r} asks for it, and has no place here unless [source] gives that column"
    return None


def phases(steps: Sequence[Step]) -> Iterator[Phase]:
    """Cut at each barrier, and inside a phase where the need for a GPU changes."""
    stages: list[Stage] = []
    for step in steps:
        if isinstance(step, Barrier | Spread):
            yield Phase(_chains(stages), step)
            stages = []
        else:
            stages.append(step)
    if stages:
        yield Phase(_chains(stages))


def fingerprints(steps: Sequence[Step], slices: Sequence[Slice]) -> dict[str, dict[str, str]]:
    """Label to shard to fingerprint. A barrier's shard is `ALL_SHARDS`, which a spread has beside its parts."""
    marks: dict[str, dict[str, str]] = {}
    for number, step in enumerate(steps):
        before = steps[:number]
        if isinstance(step, Barrier):
            marks[step.label] = {ALL_SHARDS: barrier_mark(step, before, marks, slices)}
        elif isinstance(step, Spread):
            marks[step.label] = part_marks(step, barrier_mark(step, before, marks, slices), len(slices))
        else:
            marks[step.label] = {s.shard: stage_mark(step, before, marks, s) for s in slices}
    return marks


def stage_mark(stage: Stage, before: Sequence[Step], marks: Mapping[str, Mapping[str, str]], piece: Slice) -> str:
    """Fingerprint of one stage on one shard, from those of the steps before it."""
    inputs = {}
    for step in _upstream(stage, before):
        inputs[step.label] = marks[step.label][ALL_SHARDS if isinstance(step, Barrier | Spread) else piece.shard]
    if "source" in stage.reads:
        inputs["source"] = piece.digest
    return fingerprint([stage.identity(), inputs])


def barrier_mark(
    barrier: Barrier | Spread, before: Sequence[Step], marks: Mapping[str, Mapping[str, str]], slices: Iterable[Slice]
) -> str:
    """Fingerprint of a barrier or of a whole spread: it covers what is read from every shard."""
    inputs: dict[str, Any] = {}
    for step in _upstream(barrier, before):
        own = marks[step.label]
        inputs[step.label] = own[ALL_SHARDS] if isinstance(step, Spread) else sorted(own.items())
    return fingerprint([barrier.identity(), inputs, [s.shard for s in slices]])


def part_marks(spread: Spread, whole: str, shards: int) -> dict[str, str]:
    """Fingerprints of all parts of a spread, and that of the whole of it."""
    of = spread.parts(shards)
    return {ALL_SHARDS: whole, **{Part(n, of).id: fingerprint([whole, n, of]) for n in range(of)}}


def state(job: Job, log: CommitLog, slices: Sequence[Slice] | None) -> list[StepState]:
    """What is done and what would run now. `slices` is None when the source has not been cut yet."""
    marks: dict[str, dict[str, str]] = fingerprints(job.steps, slices) if slices is not None else {}
    rows = []
    for step in job.steps:
        wanted = dict(marks.get(step.label, {}))
        if isinstance(step, Spread):
            wanted.pop(ALL_SHARDS, None)
        there = log.names(step.label)
        done = sum(there.get(shard) == {mark} for shard, mark in wanted.items())
        stale = sum(shard in there and there[shard] != {mark} for shard, mark in wanted.items())
        failed = len(log.storage.files(f"failed/{step.label}"))
        kind = _kind(step)
        total = len(wanted) if slices is not None else None
        rows.append(StepState(step.label, kind, step.reads, step.writes, done, total, failed, stale))
    return rows


def _kind(step: Step) -> str:
    """What the plan calls a kind of step."""
    return "barrier" if isinstance(step, Barrier) else "spread" if isinstance(step, Spread) else "stage"


def _upstream(step: Step, before: Sequence[Step]) -> list[Step]:
    return [other for other in before if set(other.writes) & set(step.reads)]


def _chains(stages: Sequence[Stage]) -> tuple[tuple[Stage, ...], ...]:
    return tuple(tuple(chain) for _, chain in groupby(stages, key=_needs))


def _needs(stage: Stage) -> Any:
    return stage.resources.gpus
