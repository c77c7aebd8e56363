"""The shape of all work: a stage takes a shard and adds columns to it.

A stage names the columns it reads and writes; nothing else connects two stages, so the plan can check a pipeline
before it runs and the fingerprint of a piece of work follows from the columns it needs. A stage is pure in
(shard, settings): running it twice writes the same bytes, and a retry is safe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Self, TypeAlias

from curate.manifest import Attempt
from curate.shard import Shard

__all__ = ["Barrier", "Part", "Resources", "Runtime", "Spread", "Stage", "Step", "Work", "settings_of"]


@dataclass(frozen=True)
class Resources:
    """What one shard of a stage needs while it runs: CPU cores and GPUs; either may be a fraction.

    A stage that asks for a GPU does without where there is none."""

    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Runtime:
    """What a run knows and a result must not depend on: threads to use, how many workers run beside, addresses, and
    which GPU is the worker's own. `root` is where the data set is, when a step is asked whether it can run at all."""

    threads: int = 1
    workers: int = 1
    addresses: Mapping[str, str] = field(default_factory=dict)
    gpu: int = 0
    root: str = ""


def settings_of(value: object) -> Any:
    """A dataclass, tuple, mapping or plain value as JSON-like data, for a fingerprint.

    Fields with the metadata `{"runtime": True}` are left out: they change how fast, not what.
    """
    if is_dataclass(value) and not isinstance(value, type):
        own = {f.name: settings_of(getattr(value, f.name)) for f in fields(value) if not f.metadata.get("runtime")}
        return {"": type(value).__name__, **own}
    if isinstance(value, Mapping):
        return {str(k): settings_of(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [settings_of(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(settings_of(v) for v in value)
    return value


class Work(ABC):
    """What stages and barriers share: a name, the columns that connect them, and an identity.

    `reads` and `writes` are column names; the pseudo-column `image` stands for the tar, and `source` for the slice of
    the input. A subclass is a frozen dataclass whose fields are its settings; raise `version` when the same settings
    give another result.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def writes(self) -> tuple[str, ...]: ...

    @property
    def label(self) -> str:
        """What commits and tables call this piece of work; one per step of a pipeline."""
        return self.name

    @property
    def about(self) -> str:
        """What people should know of these settings before they run it, such as what is missed; empty for nothing."""
        return ""

    def identity(self) -> Any:
        """What the fingerprint covers beside the inputs."""
        return {"stage": self.label, "version": self.version, "settings": settings_of(self)}

    def require(self, runtime: Runtime) -> None:
        """Called once before a run starts: raise a CurateError for what would fail later, on every shard."""
        return None


class Stage(Work):
    """Work on one shard."""

    @property
    def resources(self) -> Resources:
        return Resources()

    def supersedes(self) -> Stage | None:
        """The stage whose finished result this one may start from (a retry of what failed), if any."""
        return None

    @abstractmethod
    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        """Write this stage's files for one shard into `attempt`, and count into `attempt.counts`."""

    @classmethod
    def run_together(cls, work: Sequence[tuple[Self, Attempt]], shard: Shard, runtime: Runtime) -> None:
        """Run neighbouring stages of one class on a shard; overridden where they can share a pass over the pixels."""
        for stage, attempt in work:
            stage.run(shard, attempt, runtime)


class Barrier(Work):
    """Work that must see the columns of all shards at once. Its files belong to the data set, not to one shard."""

    @property
    def writes(self) -> tuple[str, ...]:
        return ()

    @abstractmethod
    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        """Write this barrier's files into `attempt`. `shards` are in order of their ids."""


@dataclass(frozen=True)
class Part:
    """One of the `of` parts of a Spread; `number` counts from 0."""

    number: int
    of: int

    @property
    def id(self) -> str:
        """The name under which it commits."""
        return f"p{self.number:05d}"


class Spread(Work):
    """Work that must see the columns of all shards, in parts that run side by side as tasks of the engine.

    Each part has a commit of its own, so that a run which was killed goes on with the parts that are missing. What a
    part writes is its own: no two parts write one file. Bytes must not depend on when or where a part runs.
    """

    @property
    def resources(self) -> Resources:
        return Resources()

    @property
    def writes(self) -> tuple[str, ...]:
        return ()

    @abstractmethod
    def parts(self, shards: int) -> int:
        """How many parts there are for so many shards, at least 1."""

    @abstractmethod
    def run(self, part: Part, shards: Sequence[Shard], attempt: Attempt, runtime: Runtime) -> None:
        """Write the files of one part into `attempt`. `shards` are all shards, in order of their ids."""


Step: TypeAlias = Stage | Barrier | Spread
"""What a pipeline is a list of."""
