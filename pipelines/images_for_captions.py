"""Pictures for captions: rows of words become shards of pairs whose pictures a text-to-image model made.

captions -> imagine -> one score step per model and per new signal -> what needs all shards at once
         -> select [-> subset]

From there on they are pairs as any others, with `image_origin` = "synthetic": a matcher or a CLIP says whether a
picture shows what its caption asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from curate.caption.imagine import Imagine, ImagineSettings
from curate.config import build, build_filters
from curate.errors import ConfigError
from curate.fetch.picture import ImageSettings
from curate.models.settings import build_models
from curate.plan import Job
from curate.run.scheduler import RunSettings
from curate.select import Select
from curate.signals import signal_steps, with_fetch_status
from curate.source.captions import Captions
from curate.source.ingest import ingest, known_cut
from curate.source.kinds import build_source
from curate.stage import Step
from curate.subset import Subset

__all__ = ["Config", "images_for_captions"]


@dataclass(frozen=True)
class Shards:
    """The `[shards]` section: `samples` is how many captions go into one shard."""

    samples: int = 1_000

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= 100_000:
            raise ValueError(f"samples = {self.samples} is out of range: from 1 to 100000")


@dataclass(frozen=True)
class Config:
    """All sections of a config for this pipeline."""

    pipeline: str
    source: Mapping[str, Any]
    imagine: ImagineSettings
    shards: Shards = Shards()
    image: ImageSettings = field(default_factory=ImageSettings)
    models: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)
    subset: Subset | None = None
    run: RunSettings = field(default_factory=RunSettings)


def images_for_captions(table: Mapping[str, Any], limit: int | None = None) -> Job:
    """The job of a config. Raises ConfigError."""
    config = build(Config, table, "")
    source = build_source(config.source)
    if not isinstance(source, Captions):
        raise ConfigError(f'[source] kind = {config.source["kind"]!r} has no words to paint; set kind = "captions"')
    if config.image.box_column or config.image.sha256_column:
        raise ConfigError("[image] box_column and sha256_column are of pictures that exist; leave them out")
    filters = with_fetch_status(build_filters(config.filters))
    rows = config.shards.samples
    signals = signal_steps(filters, build_models(config.models), set(source.known_columns()))
    steps: list[Step] = [Imagine(config.imagine, config.image, rows), *signals, Select(tuple(filters.items()))]
    if config.subset is not None:
        steps.append(config.subset)
    return Job(
        steps=tuple(steps),
        slices=partial(ingest, source, samples_per_shard=rows, limit=limit),
        known_slices=partial(known_cut, source, samples_per_shard=rows, limit=limit),
        serve=source.serve,
        source_columns=source.known_columns(),
    )
