"""The scheduler, and where stages execute: inline, local processes, Ray."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import takewhile
from typing import TYPE_CHECKING

from curate.stage import Runtime

if TYPE_CHECKING:
    from curate.run.scheduler import RunSettings
    from curate.run.unit import Engine

__all__ = ["gpus", "make_engine", "runtime", "workers"]


def workers(settings: RunSettings) -> int:
    """Worker processes: as the config says, or one per core that this process may use."""
    return settings.workers or len(os.sched_getaffinity(0))


def gpus(visible: str | None = None, devices: str = "/dev") -> int:
    """NVIDIA GPUs that this process may use, by their device files: asking torch would cost a second and 200 MB.

    `visible` is what CUDA_VISIBLE_DEVICES says, None where it is not set: a cluster leaves a job some of the GPUs so.
    CUDA reads it up to the first name that is no GPU, takes one slice of a GPU (MIG) at most, and none of a list that
    says one twice.
    """
    there = len([n for n in os.listdir(devices) if re.fullmatch("nvidia[0-9]+", n)]) if os.path.isdir(devices) else 0
    if not there or visible is None:
        return there
    names = [name.strip() for name in visible.split(",")]
    if names[0].startswith("MIG-"):
        return 1
    taken = list(takewhile(lambda name: name.startswith("GPU-") or (name.isdecimal() and int(name) < there), names))
    return len(taken) if len(set(taken)) == len(taken) else 0


def make_engine(
    name: str, settings: RunSettings, ray_address: str | None = None, visible_gpus: str | None = None
) -> Engine:
    """The engine `inline`, `local` or `ray`; nothing is started before the first unit. `visible_gpus` is what
    CUDA_VISIBLE_DEVICES says; Ray looks itself."""
    if name == "inline":
        from curate.run.inline import InlineEngine

        return InlineEngine()
    if name == "ray":
        from curate.run.ray import RayEngine

        asked = settings.workers or settings.threads
        return RayEngine(ray_address, workers(settings) * runtime(settings, {}).threads if asked else None)
    from curate.run.processes import ProcessEngine

    return ProcessEngine(workers(settings), gpus(visible_gpus))


def runtime(settings: RunSettings, addresses: Mapping[str, str]) -> Runtime:
    """Threads inside a worker (the cores shared evenly unless the config says a number), workers, and addresses."""
    count = workers(settings)
    threads = settings.threads or max(1, len(os.sched_getaffinity(0)) // count)
    return Runtime(threads, count, dict(addresses))
