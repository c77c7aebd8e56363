"""Several data sets, views and selections, and sets of others, as one folder of shards that a trainer reads.

cut every source -> compose (pack a shard of one source) -> tokens

`handover` does the same and ends with a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curate.config import build
from curate.handover.compose import Composition, build_composition
from curate.handover.compose_source import ShardSettings
from curate.plan import Job
from curate.run.scheduler import RunSettings

__all__ = ["Config", "compose"]


@dataclass(frozen=True)
class Config:
    """All sections of a config for this pipeline."""

    pipeline: str
    sources: Mapping[str, Any]
    tokenizers: Mapping[str, Any] = field(default_factory=dict)
    shards: ShardSettings = field(default_factory=ShardSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def composition(self, limit: int | None) -> Composition:
        """The sources, as their tables say. Raises ConfigError."""
        return build_composition(self.sources, self.tokenizers, self.shards, limit)


def compose(table: Mapping[str, Any], limit: int | None = None) -> Job:
    """The job of a config. `limit` counts examples of each source. Raises ConfigError."""
    composition = build(Config, table, "").composition(limit)
    return Job(
        steps=composition.steps(),
        slices=composition.slices,
        known_slices=composition.known_slices,
        source_columns=None,
    )
