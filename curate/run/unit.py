"""One piece of work: a chain of stages on one shard, as it travels to a worker and is run there.

A unit carries no data, only names and settings; what it reads and writes are files. Whatever happens in it comes
back as a `Done`: an exception in a stage is told with its text, and the engine adds `lost` when the worker itself
is gone.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from curate.errors import CurateError
from curate.manifest import Attempt, Commit, CommitLog
from curate.shard import Shard
from curate.stage import Runtime, Stage
from curate.storage import Storage

__all__ = ["Done", "Engine", "Failure", "Task", "Unit", "nobody", "run_unit"]


@dataclass(frozen=True)
class Task:
    """One stage of a unit. `supersedes` is the fingerprint of a result it may start from, `stale` those it replaces."""

    stage: Stage
    fingerprint: str
    supersedes: str | None = None
    stale: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unit:
    """Tasks on one shard, in order. `rows` is its size, for progress and for starting the largest first."""

    root: str
    shard: str
    tasks: tuple[Task, ...]
    runtime: Runtime
    rows: int = 0

    @property
    def cpus(self) -> float:
        return max(t.stage.resources.cpus for t in self.tasks)

    @property
    def gpus(self) -> float:
        return max(t.stage.resources.gpus for t in self.tasks)


@dataclass(frozen=True)
class Failure:
    """Why a unit did not finish: `stage` is where, `kind` is `error` or `lost`, `text` is for people and logs."""

    stage: str
    kind: Literal["error", "lost"]
    text: str


@dataclass(frozen=True)
class Done:
    """A unit's end: the commits it made, and what stopped it, if anything did."""

    unit: Unit
    commits: tuple[Commit, ...] = ()
    failure: Failure | None = None


class Engine(Protocol):
    """Where units execute. Three calls; `slots` is how many units can run at the same time.

    `told` may be called, in the scheduler's thread, with a commit of a unit that goes on; its `Done` has it again.
    """

    told: Callable[[Commit], None]

    @property
    def slots(self) -> int: ...

    def submit(self, unit: Unit) -> None:
        """Take a unit; it starts when a slot is free."""
        ...

    def wait_any(self, timeout_s: float) -> list[Done]:
        """Units that ended, maybe after waiting up to `timeout_s`; empty when none did."""
        ...

    def close(self) -> None:
        """Stop workers at once; work in flight is abandoned, which is safe."""
        ...


def nobody(commit: Commit) -> None:
    """Who is told of a commit when nobody asked."""


def run_unit(unit: Unit, told: Callable[[Commit], None] = nobody) -> Done:
    """Run the tasks in order and commit each. Never raises for what a stage does.

    Each commit is `told` when other tasks follow it: the last ones are in the answer a moment later.
    """
    shard = Shard(Storage(unit.root), unit.shard)
    commits: list[Commit] = []
    heard = 0
    for group in _groups(unit.tasks):
        for commit in commits[heard:]:
            told(commit)
        heard = len(commits)
        work = [(task.stage, _attempt(shard, task)) for task in group]
        try:
            type(group[0].stage).run_together(work, shard, unit.runtime)
            for _, attempt in work:
                commits.append(attempt.commit())
        except Exception as error:  # noqa: BLE001  (whatever a stage raises must not end the run)
            for _, attempt in work:
                attempt.abandon()
            return Done(unit, tuple(commits), Failure(group[0].stage.label, "error", _describe(error)))
        shard = Shard(shard.storage, shard.id)
    return Done(unit, tuple(commits))


def _groups(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Neighbours of one class that do not read what another of the group writes."""
    group: list[Task] = []
    for task in tasks:
        fits = group and type(group[0].stage) is type(task.stage)
        if fits and not any(set(t.stage.writes) & set(task.stage.reads) for t in group):
            group.append(task)
            continue
        if group:
            yield group
        group = [task]
    if group:
        yield group


def _attempt(shard: Shard, task: Task) -> Attempt:
    label = task.stage.label
    previous = CommitLog(shard.storage).get(label, shard.id, task.supersedes) if task.supersedes else None
    return Attempt(shard.storage, label, shard.id, task.fingerprint, previous, task.stale)


def _describe(error: Exception) -> str:
    if isinstance(error, CurateError):
        return str(error)
    return "".join(traceback.format_exception(error))
