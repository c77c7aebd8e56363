"""What the commits and the manifest tell of a data set: how often each reason was given, seconds, bytes, when.

The manifest has every step's counts and bytes; seconds and the time of day are in the commits alone, one small file
each. A million rows in 30 steps are 3,000 of them, read in half a second. Beyond 20,000 a step's commits are drawn
evenly and their seconds scaled up, which the troubles say.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

from curate.manifest import MANIFEST, Commit, CommitLog, Entry, Manifest, commit_name
from curate.report.counting.reading import BROKEN, Troubles
from curate.report.facts import Cost
from curate.report.funnel import FunnelRow, funnel
from curate.run_record import RunRecord
from curate.storage import Storage

__all__ = ["Ledger", "ledger_of", "set_aside"]

Place: TypeAlias = tuple[str, str, str]
"""Step, shard, fingerprint."""

MOST_COMMITS = 20_000
"""Read of all steps together."""
AT_ONCE = 8
TOTAL = "total"
SEEN = ("in", "compared", "ranked", "counted")
"""What a step's commits call the rows that it saw."""


@dataclass(frozen=True)
class Ledger:
    """What is known of every step, in order: its finished work (`entries`), and `commits`, all or some of those."""

    entries: Mapping[str, Sequence[Entry]]
    commits: Mapping[str, Sequence[Commit]]

    def of(self, step: str) -> Sequence[Entry]:
        """The finished work of a step."""
        return self.entries.get(step, ())

    def totals(self, step: str) -> tuple[int, int]:
        """Rows and kept rows that a decision counted."""
        counts: Counter[str] = Counter()
        for entry in self.of(step):
            counts.update(entry.counts)
        return counts["in"], counts["kept"]

    def funnel(self, step: str, reasons: Mapping[str, Sequence[str]]) -> tuple[FunnelRow, ...]:
        """Of a decision. `reasons`: of each filter; those that none of them gives follow by their own names."""
        others = {name: [name] for name in self.unknown(step, reasons)}
        return tuple(funnel(self.of(step), {**reasons, **others}))

    def unknown(self, step: str, reasons: Mapping[str, Sequence[str]]) -> list[str]:
        """The reasons that a decision gave and that are not among these, of each filter."""
        known = {reason for own in reasons.values() for reason in own}
        flagged = {name for entry in self.of(step) for name, rows in entry.counts.items() if rows}
        given = {name.removeprefix("flagged.") for name in flagged if name.startswith("flagged.")}
        return sorted(given - known)

    def costs(self, rates: Mapping[str, float | None]) -> tuple[Cost, ...]:
        """What every step took; priced where there is a rate for an hour of it."""
        spent = _shared(commit for own in self.commits.values() for commit in own)
        told = (_cost(step, own, self.commits.get(step, ()), spent) for step, own in self.entries.items())
        return tuple(_priced(cost, rates.get(cost.step)) for cost in told)

    def wall_s(self) -> float | None:
        """Seconds in which any of the commits was being made, pauses between runs left out; None without commits."""
        spans = sorted(_span(commit) for own in self.commits.values() for commit in own)
        if not spans:
            return None
        total, end = 0.0, spans[0][0]
        for began, ended in spans:
            total += max(0.0, ended - max(began, end))
            end = max(end, ended)
        return round(total, 1)


def ledger_of(storage: Storage, record: RunRecord | None, left_over: Collection[str], troubles: Troubles) -> Ledger:
    """The ledger of a data set: the steps of its last run, or all that have commits where no run is on record. What is
    in the manifest alone, because commits were taken away, counts without seconds. Work on `left_over` shards does not
    count."""
    log = CommitLog(storage)
    manifest = {place: entry for place, entry in _manifest(storage, troubles).items() if place[1] not in left_over}
    steps = record.steps if record else tuple(dict.fromkeys([*(p[0] for p in manifest), *storage.folders("commits")]))
    every = {step: _places(log, step, troubles) for step in steps}
    places = {step: [place for place in own if place[1] not in left_over] for step, own in every.items()}
    drawn = _drawn(places, manifest)
    read = {step: _commits(log, own, troubles) for step, own in drawn.items()}
    made, done = (sum(map(len, own.values())) for own in (drawn, places))
    if made < done:
        troubles.add(f"seconds are scaled up from {made:,} of {done:,} commits")
    if manifest and not done:
        troubles.add("the commits are gone: what each step took is not known")
    entries: dict[str, Sequence[Entry]] = {}
    for step in steps:
        known = {commit.name: commit for commit in read[step]}
        listed = places[step] or [place for place in manifest if place[0] == step]
        own = (manifest.get(place) or _entry(known.get(commit_name(*place))) for place in listed)
        found = [entry for entry in own if entry is not None]
        entries |= {step: found} if found else {}
    return Ledger(entries, read)


def _manifest(storage: Storage, troubles: Troubles) -> dict[Place, Entry]:
    try:
        return {entry.place: entry for entry in Manifest.read(storage).entries}
    except BROKEN as error:
        troubles.add(f"{MANIFEST} is damaged: {error}; it is made anew when the config runs again")
        return {}


def set_aside(storage: Storage, troubles: Troubles) -> None:
    """Tell which shards the last run gave up."""
    for step in storage.folders("failed"):
        for name in sorted(storage.files(f"failed/{step}")):
            shard = name.rpartition("/")[2].removesuffix(".json")
            troubles.add(f"shard {shard} was set aside by {step}{_cause(storage, name) if troubles.room else ''}")


def _cause(storage: Storage, name: str) -> str:
    try:
        error = str(json.loads(storage.read(name))["error"]).strip()
        return f": {error.splitlines()[-1]}" if error else ""
    except BROKEN:
        return ""


def _places(log: CommitLog, step: str, troubles: Troubles) -> list[Place]:
    """A step's commits; of two for one shard, left by a run that was killed while it replaced one, either will do."""
    try:
        return [(step, shard, min(marks)) for shard, marks in sorted(log.names(step).items())]
    except BROKEN as error:
        troubles.add(str(error))
        return []


def _drawn(places: Mapping[str, Sequence[Place]], manifest: Mapping[Place, Entry]) -> dict[str, Sequence[Place]]:
    """Those that are read: what the manifest does not know, and of the others those of as many shards, evenly, as there
    is time for."""
    shards = sorted({shard for own in places.values() for _, shard, _ in own})
    every = -(-sum(map(len, places.values())) // MOST_COMMITS) or 1
    chosen = {*shards[::every]}
    return {
        step: [place for place in own if place[1] in chosen or place not in manifest] for step, own in places.items()
    }


def _commits(log: CommitLog, places: Sequence[Place], troubles: Troubles) -> list[Commit]:
    def read(place: Place) -> Commit | str | None:
        try:
            commit = log.get(*place)
            return commit if commit is None or _sound(commit) else f"{commit_name(*place)} is not a commit record"
        except BROKEN as error:
            return str(error)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(read, places))
    for words in (one for one in found if isinstance(one, str)):
        troubles.add(words)
    return [one for one in found if isinstance(one, Commit)]


def _sound(commit: Commit) -> bool:
    """Whether it holds numbers where there should be some: it may have been written by anybody."""
    numbers = [commit.created, *commit.seconds.values(), *commit.counts.values(), *(f.bytes for f in commit.files)]
    return all(isinstance(one, int | float) and math.isfinite(one) for one in numbers)


def _shared(commits: Iterable[Commit]) -> dict[str, float]:
    """The seconds of each commit, by its name. Steps that share a pass over a shard's pixels have one clock, so what
    several commits of a shard say of the same moment is divided by them: all together they are what a worker spent."""
    spent: dict[str, float] = defaultdict(float)
    for own in _by_shard(commits):
        moments = sorted({moment for commit in own for moment in _span(commit)})
        for began, ended in pairwise(moments):
            active = [commit.name for commit in own if _span(commit)[0] <= began and ended <= _span(commit)[1]]
            for name in active:
                spent[name] += (ended - began) / len(active)
    return spent


def _by_shard(commits: Iterable[Commit]) -> Iterable[Sequence[Commit]]:
    found: dict[str, list[Commit]] = {}
    for commit in commits:
        found.setdefault(commit.shard, []).append(commit)
    return found.values()


def _cost(step: str, entries: Sequence[Entry], commits: Sequence[Commit], spent: Mapping[str, float]) -> Cost:
    scale = len(entries) / len(commits) if commits else 1.0
    phases: Counter[str] = Counter()
    for commit in commits:
        part = spent[commit.name] / (_seconds(commit) or 1.0)
        phases.update({phase: own * part for phase, own in commit.seconds.items() if phase != TOTAL})
    counts: Counter[str] = Counter()
    for entry in entries:
        counts.update(entry.counts)
    return Cost(
        step,
        len({entry.shard for entry in entries}),
        next((counts[name] for name in SEEN if counts[name]), 0),
        round(scale * sum(spent[commit.name] for commit in commits), 3),
        {phase: round(scale * own, 3) for phase, own in sorted(phases.items())},
        sum(file.bytes for entry in entries for file in entry.files),
    )


def _priced(cost: Cost, rate: float | None) -> Cost:
    return cost if rate is None else replace(cost, price=round(cost.seconds / 3600 * rate, 6))


def _seconds(commit: Commit) -> float:
    return float(commit.seconds.get(TOTAL) or sum(commit.seconds.values()))


def _span(commit: Commit) -> tuple[float, float]:
    return commit.created - _seconds(commit), commit.created


def _entry(commit: Commit | None) -> Entry | None:
    if commit is None:
        return None
    return Entry(commit.stage, commit.shard, commit.fingerprint, commit.counts, commit.files)
