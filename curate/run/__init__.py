"""The scheduler, and where stages execute: inline, local processes, Ray."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from curate.stage import Runtime

if TYPE_CHECKING:
    from curate.run.scheduler import RunSettings
    from curate.run.unit import Engine

__all__ = ["gpus", "make_engine", "runtime", "workers"]


def workers(settings: RunSettings) -> int:
    """Worker processes: as the config says, or one per core that this process may use."""
    return settings.workers or len(os.sched_getaffinity(0))


def gpus() -> int:
    """NVIDIA GPUs of this machine, by their device files: asking torch would cost a second and 200 MB."""
    return (
        len([name for name in os.listdir("/dev") if re.fullmatch("nvidia[0-9]+", name)]) if os.path.isdir("/dev") else 0
    )


def make_engine(name: str, settings: RunSettings, ray_address: str | None = None) -> Engine:
    """The engine `inline`, `local` or `ray`; nothing is started before the first unit."""
    if name == "inline":
        from curate.run.inline import InlineEngine

        return InlineEngine()
    if name == "ray":
        from curate.run.ray import RayEngine

        return RayEngine(ray_address, settings.workers or None)
    from curate.run.processes import ProcessEngine

    return ProcessEngine(workers(settings), gpus())


def runtime(settings: RunSettings, addresses: Mapping[str, str]) -> Runtime:
    """Threads inside a worker (the cores shared evenly unless the config says a number), workers, and addresses."""
    count = workers(settings)
    threads = settings.threads or max(1, len(os.sched_getaffinity(0)) // count)
    return Runtime(threads, count, dict(addresses))
