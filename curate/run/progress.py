"""What a run tells while it goes on: a few kinds of events, the same for every engine.

A watcher is any function of one event. Events carry names and counts, never data, and are told by the scheduler alone:
4 of them for a unit, and one for each commit. A commit is told when the engine hears of it. Inline and local processes
tell each one as it is made, through the call or the pipe that is there anyway, since one core may spend minutes on a
unit. Ray tells a unit's commits at its end: a cluster of 100 CPUs whose units take five minutes ends one every three
seconds. Asking the storage instead, what units in flight have committed, would be a listing per step and second: 20
requests a second on an object store for 20 steps, to see bars move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from curate.manifest import Commit

__all__ = [
    "Ended",
    "Event",
    "Finished",
    "Opened",
    "PhaseBegun",
    "PhaseEnded",
    "Planned",
    "Retried",
    "SetAside",
    "Started",
    "Trouble",
    "Watch",
    "silent",
]

Kind: TypeAlias = Literal["stages", "barrier", "spread"]


@dataclass(frozen=True)
class PhaseBegun:
    """A part of the run: stages that go on shard by shard, or one step that sees all shards. `steps` are labels."""

    kind: Kind
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """How much the phase is: shards (parts of a spread, 1 of a barrier) and their rows. Told once that is known, for
    stages when the source has been read to its end. Shards that were set aside in an earlier phase are not in it."""

    shards: int
    rows: int


@dataclass(frozen=True)
class Opened:
    """A shard was looked at: its `rows`, and the steps of the phase that are `done` on it from an earlier run."""

    shard: str
    rows: int
    done: tuple[str, ...]


@dataclass(frozen=True)
class Started:
    """A unit was handed to the engine: it runs, or is next in line."""

    shard: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Finished:
    """A step was done on a shard. `rows` is the shard's size as the source was cut, 0 for a part and a barrier."""

    commit: Commit
    rows: int


@dataclass(frozen=True)
class Ended:
    """A unit left the engine, finished or not."""

    shard: str


@dataclass(frozen=True)
class Retried:
    """A unit failed for the `attempt`-th time of `attempts` and runs again. `kind`: `error`, or `lost` with its
    worker."""

    shard: str
    step: str
    kind: Literal["error", "lost"]
    error: str
    attempt: int
    attempts: int


@dataclass(frozen=True)
class SetAside:
    """A shard failed as often as it may at `step`, and the run goes on without it. `left`: the steps of the phase that
    are not done on it, `step` among them; later ones may be, from an earlier run."""

    shard: str
    rows: int
    step: str
    kind: Literal["error", "lost"]
    error: str
    left: tuple[str, ...]


@dataclass(frozen=True)
class Trouble:
    """Something a person should read."""

    text: str


@dataclass(frozen=True)
class PhaseEnded:
    """All that could be done of the phase is done."""


Event: TypeAlias = (
    PhaseBegun | Planned | Opened | Started | Finished | Ended | Retried | SetAside | Trouble | PhaseEnded
)
Watch: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """The watcher of a run that nobody looks at."""
