"""Image-text pairs: rows of URLs and captions become shards, are scored, and every row gets a verdict.

source -> fetch (or adopt, for shards that exist) -> one score step per model and per new signal
       -> what needs all shards at once (ranks, batches, clusters) -> select [-> subset]

A filter whose columns the config names among those of the source is decided on them, and nothing is scored for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from curate.config import build, build_filters
from curate.errors import ConfigError
from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.fetch.stage import Fetch
from curate.models.settings import build_models
from curate.plan import Job
from curate.run.scheduler import RunSettings
from curate.select import Select
from curate.signals import signal_steps, with_fetch_status
from curate.source.ingest import ingest, known_cut
from curate.source.kinds import build_source
from curate.source.webdataset import Adopt, WebDataset
from curate.stage import Stage, Step
from curate.subset import Subset

__all__ = ["Config", "Shards", "image_text_pairs"]


@dataclass(frozen=True)
class Shards:
    """The `[shards]` section: `samples` is how many rows of the source go into one shard."""

    samples: int = 10_000

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= 1_000_000:
            raise ValueError(f"samples = {self.samples} is out of range: from 1 to 1000000")


@dataclass(frozen=True)
class Config:
    """All sections of a config for this pipeline."""

    pipeline: str
    source: Mapping[str, Any]
    shards: Shards = Shards()
    fetch: FetchSettings = field(default_factory=FetchSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    models: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)
    subset: Subset | None = None
    run: RunSettings = field(default_factory=RunSettings)


def image_text_pairs(table: Mapping[str, Any], limit: int | None = None) -> Job:
    """The job of a config. Raises ConfigError."""
    config = build(Config, table, "")
    source = build_source(config.source)
    if hasattr(source, "pages"):
        raise ConfigError(
            f"[source] kind = {config.source['kind']!r} gives pages, and this pipeline takes pairs; "
            'set pipeline = "interleaved"'
        )
    filters = with_fetch_status(build_filters(config.filters))
    adopts = isinstance(source, WebDataset)
    shards: Stage = Adopt() if adopts else Fetch(config.fetch, config.image, config.shards.samples)
    signals = signal_steps(filters, build_models(config.models), set(source.known_columns() or ()))
    steps: list[Step] = [shards, *signals, Select(tuple(filters.items()))]
    if config.subset is not None:
        steps.append(config.subset)
    rows = config.shards.samples
    return Job(
        steps=tuple(steps),
        slices=partial(ingest, source, samples_per_shard=rows, limit=limit),
        known_slices=partial(known_cut, source, samples_per_shard=rows, limit=limit),
        serve=source.serve,
        source_columns=source.known_columns(),
    )
