"""The one loop that decides what runs next, over any engine.

It lists the commits, compares fingerprints, and keeps a bounded number of units in flight. A unit that raises gets a
few attempts, one whose worker is lost a few more; then its shard is set aside with its error and the rest goes on.
Nothing is kept here that a second start could not read from the files.
"""

from __future__ import annotations

import heapq
import json
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from curate.errors import CurateError, StageError, StorageError
from curate.manifest import Attempt, Commit, CommitLog, Manifest, commit_name
from curate.plan import ALL_SHARDS, Job, Phase, barrier_mark, part_marks, phases, stage_mark
from curate.run.part import PartOf, pack_ids
from curate.run.unit import Done, Engine, Failure, Task, Unit
from curate.shard import Shard, Slice
from curate.stage import Barrier, Part, Runtime, Spread, Stage
from curate.storage import Storage

__all__ = ["Outcome", "Progress", "RunSettings", "run_job"]

WAIT_S = 0.5


@dataclass(frozen=True)
class RunSettings:
    """The `[run]` section: how much at a time, how often to try, when to give up.

    `workers` 0 means one per core. `threads` are decode threads inside a worker; 0 shares the cores among workers.
    `max_failed_ratio` is the share of shards that may be set aside before a barrier refuses to run without them.
    """

    workers: int = 0
    threads: int = 0
    attempts: int = 3
    lost_attempts: int = 5
    max_failed_ratio: float = 0.0

    def __post_init__(self) -> None:
        from curate.config import require_range

        require_range("workers", self.workers, 0, 4096)
        require_range("threads", self.threads, 0, 1024)
        require_range("attempts", self.attempts, 1, 100)
        require_range("lost_attempts", self.lost_attempts, 1, 1000)
        require_range("max_failed_ratio", self.max_failed_ratio, 0, 1)


@dataclass
class Progress:
    """What a run tells its watcher. `phase` opens a part with its title; the others count inside it.

    `total_rows` is None until the source has been read to its end.
    """

    phase: Callable[[str], None] = lambda title: None
    total: Callable[[int | None], None] = lambda rows: None
    advance: Callable[[int, Sequence[Commit]], None] = lambda rows, commits: None
    trouble: Callable[[str], None] = lambda text: None
    close: Callable[[], None] = lambda: None


@dataclass
class Outcome:
    """How a run ended: commits made now, stages skipped because they were done, shards set aside (shard to error)."""

    commits: list[Commit] = field(default_factory=list)
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    slices: dict[str, Slice] = field(default_factory=dict)
    manifest: Manifest = field(default_factory=Manifest)

    @property
    def made(self) -> int:
        """How many commits were made in this run."""
        return len(self.commits)


class _Slices:
    """The source, cut into shards by a thread of its own, so that the first shard starts before the last is read."""

    def __init__(self, job: Job, storage: Storage) -> None:
        self.found: list[Slice] = []
        self.ended = False
        self.error: BaseException | None = None
        self._queue: queue.SimpleQueue[Slice | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(job, storage), daemon=True)
        self._thread.start()

    def _read(self, job: Job, storage: Storage) -> None:
        try:
            for piece in job.slices(storage):
                self._queue.put(piece)
        except BaseException as error:  # noqa: BLE001  (handed to the thread that waits)
            self.error = error
        self._queue.put(None)

    def take(self, timeout_s: float) -> Slice | None:
        """The next slice, or None when there is none yet or none any more (`ended`). Raises what reading raised."""
        if self.ended:
            return None
        try:
            piece = self._queue.get(timeout=timeout_s) if timeout_s else self._queue.get_nowait()
        except queue.Empty:
            return None
        if piece is None:
            self.ended = True
            if self.error is not None:
                raise self.error
            return None
        self.found.append(piece)
        return piece


class _Run:
    """State of one run; everything in it can be rebuilt from the data set's files."""

    def __init__(self, job: Job, storage: Storage, engine: Engine, settings: RunSettings, runtime: Runtime) -> None:
        self.job, self.storage, self.engine = job, storage, engine
        self.settings, self.runtime = settings, runtime
        self.log = CommitLog(storage)
        self.done = {step.label: self.settled(step.label) for step in job.steps}
        self.withdraw_damaged()
        self.marks: dict[str, dict[str, str]] = {step.label: {} for step in job.steps}
        self.outcome = Outcome()
        self.tries: Counter[tuple[str, str]] = Counter()

    def withdraw_damaged(self) -> None:
        """Have files that somebody deleted or cut made again. What came from the source may not come a second time,
        so there the user decides."""
        first = {step.label for step in self.job.steps if "source" in step.reads}
        for entry in Manifest.read(self.storage).missing(self.storage):
            name, marks = commit_name(*entry.place), self.done.get(entry.stage, {}).get(entry.shard, set())
            if entry.fingerprint not in marks:
                continue
            if entry.stage in first:
                raise StorageError(
                    f"shard {entry.shard} in {self.storage.root}: a file of step {entry.stage!r} was deleted or cut; "
                    f"restore it, or delete {name} to do that step again"
                )
            self.storage.delete(name)
            marks.discard(entry.fingerprint)
            for record in entry.files:
                self.storage.delete(record.name)

    def settled(self, label: str) -> dict[str, set[str]]:
        """What is committed: shard to its fingerprint. Two runs with different settings that worked on one folder at
        once leave two commits for one file; whose bytes it has cannot be told, so both are withdrawn."""
        done = self.log.names(label)
        for shard in [shard for shard, marks in done.items() if len(marks) > 1]:
            for mark in done.pop(shard):
                self.storage.delete(commit_name(label, shard, mark))
        return done

    def prepare(self, piece: Slice) -> None:
        """Fingerprints of every stage on this shard up to the first barrier that is not known yet."""
        for number, step in enumerate(self.job.steps):
            if isinstance(step, Barrier | Spread):
                if ALL_SHARDS not in self.marks[step.label]:
                    return
                continue
            if piece.shard not in self.marks[step.label]:
                self.marks[step.label][piece.shard] = stage_mark(step, self.job.steps[:number], self.marks, piece)

    def units(self, phase: Phase, piece: Slice) -> Iterator[Unit]:
        """What is to do for one shard in this phase, chain by chain; nothing when all is committed."""
        for chain in phase.chains:
            tasks = tuple(self.task(stage, piece.shard) for stage in chain if not self.is_done(stage, piece.shard))
            self.outcome.skipped += len(chain) - len(tasks)
            if tasks:
                yield Unit(self.storage.root, piece.shard, tasks, self.runtime, piece.rows)

    def is_done(self, stage: Stage, shard: str) -> bool:
        return self.marks[stage.label][shard] in self.done[stage.label].get(shard, ())

    def task(self, stage: Stage, shard: str) -> Task:
        mark, there = self.marks[stage.label][shard], self.done[stage.label].get(shard, set())
        supersedes, earlier = None, stage.supersedes()
        while earlier is not None and supersedes is None:
            before = self.job.steps[: self.job.steps.index(stage)]
            old = stage_mark(earlier, before, self.marks, self.outcome.slices[shard])
            supersedes, earlier = (old, None) if old in there else (None, earlier.supersedes())
        return Task(stage, mark, supersedes, tuple(sorted(there - {mark})))

    def forget(self, label: str, marks: set[str]) -> None:
        """Remove what a step over all shards made under other fingerprints: its parts were cut in another way, so
        what one of them replaces may be what another has just written."""
        for part, there in list(self.done[label].items()):
            for mark in there - marks:
                old = self.log.get(label, part, mark)
                for record in old.files if old else ():
                    self.storage.delete(record.name)
                self.storage.delete(commit_name(label, part, mark))
            if there - marks:
                del self.done[label][part]

    def finished(self) -> Iterator[tuple[str, str, str]]:
        """What is done of this job, in order of steps and shards: stage, shard, fingerprint."""
        for step in self.job.steps:
            for shard, mark in sorted(self.marks[step.label].items()):
                if mark in self.done[step.label].get(shard, ()):
                    yield step.label, shard, mark

    def commit_seen(self, commit: Commit) -> None:
        self.done[commit.stage][commit.shard] = {commit.fingerprint}
        self.outcome.commits.append(commit)

    def set_aside(self, done: Done) -> None:
        """Record a shard that keeps failing."""
        assert done.failure is not None
        shard, failure = done.unit.shard, done.failure
        record = {"shard": shard, "stage": failure.stage, "kind": failure.kind, "error": failure.text}
        self.storage.write(f"failed/{failure.stage}/{shard}.json", json.dumps(record, indent=1).encode())
        self.outcome.failed[shard] = f"{failure.stage}: {failure.text.strip().splitlines()[-1]}"


def run_job(
    job: Job,
    storage: Storage,
    engine: Engine,
    settings: RunSettings | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Bring the data set in `storage` to what `job` says, and answer what was done. Raises CurateError.

    A second call with nothing changed reads the listings and does no work.
    """
    watch = progress or Progress()
    for step in job.steps:
        step.require(replace(runtime or Runtime(), root=storage.root))
    job.begun(storage)
    CommitLog(storage).recover()  # before anything is listed: it withdraws what a finished commit replaces
    run = _Run(job, storage, engine, settings or RunSettings(), runtime or Runtime())
    slices = _Slices(job, storage)
    for phase in phases(job.steps):
        titles = [stage.label for chain in phase.chains for stage in chain]
        if titles or not slices.ended:
            watch.phase(" + ".join(titles))
            _run_stages(run, phase, slices, watch)
        if isinstance(phase.barrier, Barrier):
            _run_barrier(run, phase.barrier, watch)
        elif phase.barrier is not None:
            _run_spread(run, phase.barrier, watch)
    run.outcome.manifest = Manifest.fold(run.log, run.finished(), run.outcome.commits)
    run.log.sweep()
    return run.outcome


def _run_stages(run: _Run, phase: Phase, slices: _Slices, watch: Progress) -> None:
    """All units of one phase: pull shards, keep the window full, drain later chains before starting earlier ones."""
    ready: list[tuple[int, int, int, Unit, list[Unit]]] = []
    following: dict[str, list[Unit]] = {}
    in_flight = ticket = 0
    pending = list(slices.found)
    announced = False
    while True:
        window = 2 * run.engine.slots
        while in_flight < window and (ready or pending or not slices.ended):
            if ready:
                unit, rest = heapq.heappop(ready)[3:]
                following[unit.shard] = rest
                run.engine.submit(unit)
                in_flight += 1
                continue
            piece = pending.pop(0) if pending else slices.take(0.0 if in_flight else WAIT_S)
            if piece is None:
                break
            chain = _open_shard(run, phase, piece, watch)
            if chain:
                ticket += 1
                heapq.heappush(ready, (0, -piece.rows, ticket, chain[0], chain[1:]))
        if slices.ended and not announced:
            announced = True
            watch.total(sum(s.rows for s in slices.found))
        if in_flight == 0 and not ready and not pending and slices.ended:
            return
        for done in run.engine.wait_any(WAIT_S):
            in_flight -= 1
            again = _finish(run, done, following.pop(done.unit.shard, []), watch)
            if again:
                ticket += 1
                heapq.heappush(ready, (-1, -done.unit.rows, ticket, again[0], again[1:]))


def _open_shard(run: _Run, phase: Phase, piece: Slice, watch: Progress) -> list[Unit]:
    run.outcome.slices[piece.shard] = piece
    if piece.shard in run.outcome.failed:
        return []
    run.prepare(piece)
    units = list(run.units(phase, piece))
    if not units:
        watch.advance(piece.rows, ())
    return units


def _finish(run: _Run, done: Done, rest: list[Unit], watch: Progress) -> list[Unit]:
    """Book what a unit did; returns what is to run next for its shard: the same work again, or what follows it."""
    if done.failure is not None and done.failure.kind == "lost":
        done = _what_was_saved(run, done, done.failure)
    for commit in done.commits:
        run.commit_seen(commit)
        run.storage.delete(f"failed/{commit.stage}/{commit.shard}.json")
    if done.failure is None:
        if not rest:
            watch.advance(done.unit.rows, done.commits)
        return rest
    key = (done.unit.shard, done.failure.kind)
    run.tries[key] += 1
    most = run.settings.lost_attempts if done.failure.kind == "lost" else run.settings.attempts
    if run.tries[key] < most:
        done_now = {c.stage for c in done.commits}
        left = tuple(t for t in done.unit.tasks if t.stage.label not in done_now)
        return [replace(done.unit, tasks=left), *rest]
    run.set_aside(done)
    watch.trouble(f"shard {done.unit.shard} is set aside: {run.outcome.failed[done.unit.shard]}")
    watch.advance(done.unit.rows, done.commits)
    return []


def _what_was_saved(run: _Run, done: Done, failure: Failure) -> Done:
    """A lost worker cannot tell what it had finished; its commits can."""
    shard = done.unit.shard
    found = [(t.stage.label, run.log.get(t.stage.label, shard, t.fingerprint)) for t in done.unit.tasks]
    saved = tuple(run.log.finish(commit) for _, commit in found if commit is not None)
    missing = [label for label, commit in found if commit is None]
    if not missing:
        return Done(done.unit, saved)
    return Done(done.unit, saved, replace(failure, stage=missing[0]))


def _all_shards(run: _Run, step: Barrier | Spread) -> tuple[list[str], str]:
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


def _run_spread(run: _Run, spread: Spread, watch: Progress) -> None:
    """Run the parts of a spread that are not done, as units of the engine. Raises StageError when one keeps failing."""
    shards, whole = _all_shards(run, spread)
    marks = part_marks(spread, whole, len(shards))
    run.marks[spread.label] = marks
    run.forget(spread.label, {*marks.values()})
    done = run.done[spread.label]
    of = spread.parts(len(shards))
    parts = [part for part in (Part(number, of) for number in range(of)) if marks[part.id] not in done.get(part.id, ())]
    run.outcome.skipped += of - len(parts)
    packed = pack_ids(shards)
    waiting = deque(
        Unit(run.storage.root, p.id, (Task(PartOf(spread, p, packed), marks[p.id]),), run.runtime, rows=1)
        for p in parts
    )
    if waiting:
        watch.phase(spread.label)
        watch.total(len(waiting))
    in_flight = 0
    while waiting or in_flight:
        while waiting and in_flight < 2 * run.engine.slots:
            run.engine.submit(waiting.popleft())
            in_flight += 1
        for ended in run.engine.wait_any(WAIT_S):
            in_flight -= 1
            waiting.extendleft(_finish(run, ended, [], watch))
    for part in parts:
        if part.id in run.outcome.failed:
            raise StageError(f"part {part.id} of step {run.outcome.failed[part.id]}")


def _run_barrier(run: _Run, barrier: Barrier, watch: Progress) -> None:
    """Run a barrier here, unless it is done; it sees the shards that were not set aside."""
    good, mark = _all_shards(run, barrier)
    run.marks[barrier.label] = {ALL_SHARDS: mark}
    there = run.done[barrier.label].get(ALL_SHARDS, set())
    if mark in there:
        run.outcome.skipped += 1
        return
    watch.phase(barrier.label)
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


def _only(marks: Mapping[str, Mapping[str, str]], shards: set[str]) -> dict[str, dict[str, str]]:
    keep = shards | {ALL_SHARDS}
    return {label: {s: m for s, m in by_shard.items() if s in keep} for label, by_shard in marks.items()}
