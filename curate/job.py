"""From a config file to a job: read the TOML, find the pipeline it names, let it say which steps run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from curate.config import build, read_toml
from curate.errors import ConfigError, PluginError
from curate.plan import Job, check
from curate.registry import pipeline, pipeline_names
from curate.run.scheduler import RunSettings
from curate.run_record import keep_record

__all__ = ["LoadedJob", "load_job"]


@dataclass(frozen=True)
class LoadedJob:
    """A config, read and checked: the steps to run, and how much at a time."""

    job: Job
    run: RunSettings
    config: Mapping[str, Any]


def load_job(path: Path, limit: int | None = None) -> LoadedJob:
    """Read and check a config. `limit` takes the first rows of the source only. Raises ConfigError, SourceError."""
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit} is out of range: at least 1")
    config = read_toml(path)
    name = config.get("pipeline")
    if not isinstance(name, str):
        raise ConfigError(
            f"{path} does not say which pipeline; add `pipeline = ...`, one of {', '.join(pipeline_names())}"
        )
    try:
        make = pipeline(name)
    except PluginError as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        job: Job = make(config, limit)
        check(job)
        job = replace(job, begun=partial(keep_record, path.stem, config, job.steps))
        return LoadedJob(job, build(RunSettings, config.get("run", {}), "run"), config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
