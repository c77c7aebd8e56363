"""One part of a spread, dressed as a stage: engines and workers know units of stages, and need to know no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Part, Resources, Runtime, Spread, Stage

__all__ = ["PartOf"]


@dataclass(frozen=True)
class PartOf(Stage):
    """Part `part` of `spread`, over the shards with these ids."""

    spread: Spread
    part: Part
    shards: tuple[str, ...]

    name: ClassVar[str] = "part"

    @property
    def label(self) -> str:
        return self.spread.label

    @property
    def reads(self) -> tuple[str, ...]:
        return self.spread.reads

    @property
    def writes(self) -> tuple[str, ...]:
        return self.spread.writes

    @property
    def resources(self) -> Resources:
        return self.spread.resources

    def identity(self) -> Any:
        return self.spread.identity()

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        self.spread.run(self.part, [Shard(shard.storage, id) for id in self.shards], attempt, runtime)
