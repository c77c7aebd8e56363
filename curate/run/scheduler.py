"""The one loop that decides what runs next, over any engine.

It lists the commits, compares fingerprints, and keeps a bounded number of units in flight. A unit that raises gets a
few attempts, one whose worker is lost a few more; then its shard is set aside with its error and the rest goes on.
Nothing is kept here that a second start could not read from the files.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from curate.errors import CurateError, StageError
from curate.manifest import Attempt, CommitLog, Manifest
from curate.plan import ALL_SHARDS, Job, Phase, barrier_mark, part_marks, phases
from curate.run.cutting import Cutting
from curate.run.part import PartOf, pack_ids
from curate.run.progress import (
    Ended,
    Opened,
    PhaseBegun,
    PhaseEnded,
    Planned,
    Retried,
    SetAside,
    Started,
    Watch,
    silent,
)
from curate.run.state import Outcome, RunSettings, RunState
from curate.run.unit import Done, Engine, Failure, Task, Unit
from curate.shard import Shard, Slice
from curate.stage import Barrier, Part, Runtime, Spread
from curate.storage import Storage

__all__ = ["Outcome", "RunSettings", "run_job"]

WAIT_S = 0.5


def run_job(
    job: Job,
    storage: Storage,
    engine: Engine,
    settings: RunSettings | None = None,
    runtime: Runtime | None = None,
    progress: Watch | None = None,
) -> Outcome:
    """Bring the data set in `storage` to what `job` says, and answer what was done. Raises CurateError.

    A second call with nothing changed reads the listings and does no work. `progress` is told what goes on.
    """
    for step in job.steps:
        step.require(replace(runtime or Runtime(), root=storage.root))
    job.begun(storage)
    CommitLog(storage).recover()  # before anything is listed: it withdraws what a finished commit replaces
    run = RunState(job, storage, settings or RunSettings(), runtime or Runtime(), progress or silent)
    engine.told = run.heard
    slices = Cutting(job, storage)
    for phase in phases(job.steps):
        if phase.chains or not slices.ended:
            _run_stages(run, engine, phase, slices)
        if isinstance(phase.barrier, Barrier):
            _run_barrier(run, phase.barrier)
        elif phase.barrier is not None:
            _run_spread(run, engine, phase.barrier)
    run.outcome.manifest = Manifest.fold(run.log, run.finished(), run.outcome.commits)
    run.log.sweep()
    return run.outcome


def _run_stages(run: RunState, engine: Engine, phase: Phase, slices: Cutting) -> None:
    """All units of one phase: pull shards, keep the window full, drain later chains before starting earlier ones."""
    run.watch(PhaseBegun("stages", tuple(stage.label for chain in phase.chains for stage in chain)))
    ready: list[tuple[int, int, int, Unit, list[Unit]]] = []
    following: dict[str, list[Unit]] = {}
    in_flight = ticket = 0
    pending = deque(slices.found)
    aside = set(run.outcome.failed)
    announced = False
    while True:
        pending.extend(slices.there())
        window = 2 * engine.slots
        while in_flight < window and (ready or pending or not slices.ended):
            if ready:
                unit, rest = heapq.heappop(ready)[3:]
                following[unit.shard] = rest
                _start(run, engine, unit)
                in_flight += 1
                continue
            piece = pending.popleft() if pending else slices.take(0.0 if in_flight else WAIT_S)
            if piece is None:
                break
            chain = _open_shard(run, phase, piece)
            if chain:
                ticket += 1
                heapq.heappush(ready, (0, -piece.rows, ticket, chain[0], chain[1:]))
        if slices.ended and not announced:
            announced = True
            left = [piece.rows for piece in slices.found if piece.shard not in aside]
            run.watch(Planned(len(left), sum(left)))
        if in_flight == 0 and not ready and not pending and slices.ended:
            return run.watch(PhaseEnded())
        for done in engine.wait_any(WAIT_S):
            in_flight -= 1
            again = _finish(run, done, following.pop(done.unit.shard, []))
            if again:
                ticket += 1
                heapq.heappush(ready, (-1, -done.unit.rows, ticket, again[0], again[1:]))


def _start(run: RunState, engine: Engine, unit: Unit) -> None:
    engine.submit(unit)
    run.watch(Started(unit.shard, tuple(task.stage.label for task in unit.tasks)))


def _open_shard(run: RunState, phase: Phase, piece: Slice) -> list[Unit]:
    run.outcome.slices[piece.shard] = piece
    if piece.shard in run.outcome.failed:
        return []
    run.prepare(piece)
    units = list(run.units(phase, piece))
    left = {task.stage.label for unit in units for task in unit.tasks}
    done = tuple(stage.label for chain in phase.chains for stage in chain if stage.label not in left)
    run.watch(Opened(piece.shard, piece.rows, done))
    return units


def _finish(run: RunState, done: Done, rest: list[Unit]) -> list[Unit]:
    """Book what a unit did; returns what is to run next for its shard: the same work again, or what follows it."""
    if done.failure is not None and done.failure.kind == "lost":
        done = _what_was_saved(run, done, done.failure)
    for commit in done.commits:
        run.commit_seen(commit)
        run.storage.delete(f"failed/{commit.stage}/{commit.shard}.json")
    run.watch(Ended(done.unit.shard))
    return rest if done.failure is None else _after_failure(run, done, done.failure, rest)


def _after_failure(run: RunState, done: Done, failure: Failure, rest: list[Unit]) -> list[Unit]:
    """The work that failed, again; or nothing, where its shard has failed as often as it may."""
    shard, kind = done.unit.shard, failure.kind
    run.tries[shard, kind] += 1
    tries, most = run.tries[shard, kind], run.settings.lost_attempts if kind == "lost" else run.settings.attempts
    done_now = {c.stage for c in done.commits}
    again = replace(done.unit, tasks=tuple(t for t in done.unit.tasks if t.stage.label not in done_now))
    if tries < most:
        run.watch(Retried(shard, failure.stage, kind, failure.text, tries, most))
        return [again, *rest]
    run.set_aside(done)
    left = tuple(task.stage.label for unit in (again, *rest) for task in unit.tasks)
    run.watch(SetAside(shard, run.rows(shard), failure.stage, kind, failure.text, left))
    return []


def _what_was_saved(run: RunState, done: Done, failure: Failure) -> Done:
    """A lost worker cannot tell what it had finished; its commits can."""
    shard = done.unit.shard
    found = [(t.stage.label, run.log.get(t.stage.label, shard, t.fingerprint)) for t in done.unit.tasks]
    saved = tuple(run.log.finish(commit) for _, commit in found if commit is not None)
    missing = [label for label, commit in found if commit is None]
    if not missing:
        return Done(done.unit, saved)
    return Done(done.unit, saved, replace(failure, stage=missing[0]))


def _all_shards(run: RunState, step: Barrier | Spread) -> tuple[list[str], str]:
    """The shards that were not set aside, and the fingerprint of a step that sees them all."""
    slices = run.outcome.slices.values()
    failed = len(run.outcome.failed)
    if slices and failed / len(slices) > run.settings.max_failed_ratio:
        raise StageError(
            f"{failed} of {len(slices)} shards are set aside, and step {step.label!r} needs all of them: "
            f"{next(iter(run.outcome.failed.values()))}. See failed/ in {run.storage.root}; mend the cause and run "
            "again, or raise [run] max_failed_ratio"
        )
    good = sorted((s for s in slices if s.shard not in run.outcome.failed), key=lambda s: s.shard)
    before = run.job.steps[: run.job.steps.index(step)]
    ids = [s.shard for s in good]
    return ids, barrier_mark(step, before, _only(run.marks, {*ids}), good)


def _run_spread(run: RunState, engine: Engine, spread: Spread) -> None:
    """Run the parts of a spread that are not done, as units of the engine. Raises StageError when one keeps failing."""
    shards, whole = _all_shards(run, spread)
    marks = part_marks(spread, whole, len(shards))
    run.marks[spread.label] = marks
    run.forget(spread.label, {*marks.values()})
    parts = _open_parts(run, spread, len(shards))
    packed = pack_ids(shards)
    waiting = deque(
        Unit(run.storage.root, p.id, (Task(PartOf(spread, p, packed), marks[p.id]),), run.runtime, rows=1)
        for p in parts
    )
    in_flight = 0
    while waiting or in_flight:
        while waiting and in_flight < 2 * engine.slots:
            _start(run, engine, waiting.popleft())
            in_flight += 1
        for ended in engine.wait_any(WAIT_S):
            in_flight -= 1
            waiting.extendleft(_finish(run, ended, []))
    for part in parts:
        if part.id in run.outcome.failed:
            raise StageError(f"part {part.id} of step {run.outcome.failed[part.id]}")
    run.watch(PhaseEnded())


def _open_parts(run: RunState, spread: Spread, shards: int) -> list[Part]:
    """The parts of a spread that are not done yet."""
    of = spread.parts(shards)
    run.watch(PhaseBegun("spread", (spread.label,)))
    run.watch(Planned(of, 0))
    parts = []
    for part in (Part(number, of) for number in range(of)):
        if run.marks[spread.label][part.id] in run.done[spread.label].get(part.id, ()):
            run.outcome.skipped += 1
            run.watch(Opened(part.id, 0, (spread.label,)))
        else:
            parts.append(part)
    return parts


def _run_barrier(run: RunState, barrier: Barrier) -> None:
    """Run a barrier here, unless it is done; it sees the shards that were not set aside."""
    good, mark = _all_shards(run, barrier)
    run.marks[barrier.label] = {ALL_SHARDS: mark}
    there = run.done[barrier.label].get(ALL_SHARDS, set())
    run.watch(PhaseBegun("barrier", (barrier.label,)))
    run.watch(Planned(1, 0))
    if mark in there:
        run.outcome.skipped += 1
        run.watch(Opened(ALL_SHARDS, 0, (barrier.label,)))
        return run.watch(PhaseEnded())
    run.watch(Started(ALL_SHARDS, (barrier.label,)))
    attempt = Attempt(run.storage, barrier.label, ALL_SHARDS, mark, stale=tuple(sorted(there)))
    started = time.perf_counter()
    try:
        barrier.run([Shard(run.storage, shard) for shard in good], attempt)
    except Exception as error:
        attempt.abandon()
        if isinstance(error, CurateError):
            raise
        raise StageError(f"step {barrier.label!r} failed: {type(error).__name__}: {error}") from error
    attempt.seconds["total"] = round(time.perf_counter() - started, 3)
    run.commit_seen(attempt.commit())
    run.watch(Ended(ALL_SHARDS))
    run.watch(PhaseEnded())


def _only(marks: Mapping[str, Mapping[str, str]], shards: set[str]) -> dict[str, dict[str, str]]:
    keep = shards | {ALL_SHARDS}
    return {label: {s: m for s, m in by_shard.items() if s in keep} for label, by_shard in marks.items()}
