"""What a run knows: settings, fingerprints, what is done, how it ends. All of it can be read anew from the files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from curate.errors import StorageError
from curate.manifest import Commit, CommitLog, Manifest, commit_name
from curate.plan import ALL_SHARDS, Job, Phase, stage_mark
from curate.run.progress import Finished, Watch
from curate.run.unit import Done, Task, Unit
from curate.shard import Slice
from curate.stage import Barrier, Runtime, Spread, Stage
from curate.storage import Storage

__all__ = ["Outcome", "RunSettings", "RunState"]


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


class RunState:
    """State of one run; everything in it can be rebuilt from the data set's files."""

    def __init__(self, job: Job, storage: Storage, settings: RunSettings, runtime: Runtime, watch: Watch) -> None:
        self.job, self.storage = job, storage
        self.settings, self.runtime, self.watch = settings, runtime, watch
        self.log = CommitLog(storage)
        self.done = {step.label: self.settled(step.label) for step in job.steps}
        self.withdraw_damaged()
        self.marks: dict[str, dict[str, str]] = {step.label: {} for step in job.steps}
        self.outcome = Outcome()
        self.tries: Counter[tuple[str, str]] = Counter()
        self._heard: set[tuple[str, str]] = set()

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

    def rows(self, shard: str) -> int:
        """A shard's rows as the source was cut; 0 for a part of a spread and for a barrier."""
        return self.outcome.slices[shard].rows if shard in self.outcome.slices else 0

    def heard(self, commit: Commit) -> None:
        """An engine told of a commit while its unit goes on: the watcher may know, the books wait for the end."""
        self._heard.add((commit.stage, commit.shard))
        self.watch(Finished(commit, self.rows(commit.shard)))

    def commit_seen(self, commit: Commit) -> None:
        self.done[commit.stage][commit.shard] = {commit.fingerprint}
        self.outcome.commits.append(commit)
        if (commit.stage, commit.shard) in self._heard:
            self._heard.discard((commit.stage, commit.shard))
        else:
            self.watch(Finished(commit, self.rows(commit.shard)))

    def set_aside(self, done: Done) -> None:
        """Record a shard that keeps failing."""
        assert done.failure is not None
        shard, failure = done.unit.shard, done.failure
        record = {"shard": shard, "stage": failure.stage, "kind": failure.kind, "error": failure.text}
        self.storage.write(f"failed/{failure.stage}/{shard}.json", json.dumps(record, indent=1).encode())
        self.outcome.failed[shard] = f"{failure.stage}: {failure.text.strip().splitlines()[-1]}"
