"""What a trainer gets: data sets, views and sets of others in shards, the stages of a training, a manifest.

cut every source -> compose (pack a shard of one source) -> tokens -> describe -> handover (needs all shards)

`handover` writes the stages and the manifest with its lineage; `compose` alone ends before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curate.config import build
from curate.errors import ShardError
from curate.handover.compose import Composition, build_composition
from curate.handover.compose_source import ShardSettings
from curate.handover.created_by import told_config
from curate.handover.described import Describe
from curate.handover.handover import HandOver
from curate.handover.plan_stages import StagesFormat, planned_stages
from curate.handover.policy import Policy
from curate.plan import Job
from curate.run.scheduler import RunSettings

__all__ = ["Config", "handover"]


@dataclass(frozen=True)
class Config:
    """All sections of a config for this pipeline."""

    pipeline: str
    sources: Mapping[str, Any]
    stages: Mapping[str, Any]
    tokenizers: Mapping[str, Any] = field(default_factory=dict)
    shards: ShardSettings = field(default_factory=ShardSettings)
    policy: Policy = field(default_factory=Policy)
    stages_format: StagesFormat = "toml"
    run: RunSettings = field(default_factory=RunSettings)


def handover(table: Mapping[str, Any], limit: int | None = None) -> Job:
    """The job of a config. `limit` counts examples of each source. Raises ConfigError."""
    config = build(Config, table, "")
    composition = build_composition(config.sources, config.tokenizers, config.shards, limit)
    config.policy.require_sources(list(composition.sources))
    stages = planned_stages(config.stages, _kinds(composition))
    packed = composition.steps()
    manifest = HandOver(
        composition,
        stages,
        config.policy,
        told_config(table),
        config.stages_format,
        tuple(step.label for step in packed),
    )
    return Job(
        steps=(*packed, Describe(tuple(composition.tokenizers)), manifest),
        slices=composition.slices,
        known_slices=composition.known_slices,
        source_columns=None,
    )


def _kinds(composition: Composition) -> dict[str, str]:
    """The kind of each source, "" of a data set that is not made yet: it is asked again before a run starts."""
    found: dict[str, str] = {}
    for name, source in composition.sources.items():
        try:
            found[name] = source.example_kind()
        except ShardError:
            found[name] = ""
    return found
