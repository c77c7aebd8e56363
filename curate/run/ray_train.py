"""One training on several workers of a Ray cluster, by Ray Train; only `ray*.py` here import ray.

Ray Train places the workers, gives each its GPU and makes the group in which they add gradients; what is trained, and
where its state lies, it does not know. State is in files that all workers see (`--out` on a shared folder), so Ray's
own checkpoints and retries are off: a training that lost a worker is started again, with as many workers as there are,
and goes on at its last state.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import ConfigError, CurateError, StageError
from curate.run.ray import join

__all__ = ["Workers", "train_together"]

MISSING = (
    "training on Ray needs Ray Train, which is not installed with this distribution's own extras here ({error}); "
    "pip install 'ray[train]', or leave out --on ray"
)


@dataclass(frozen=True)
class Workers:
    """`count` workers, each with `threads` CPUs and, with `gpus`, one GPU; at the cluster of `address`, or one that is
    started on this machine where it is None."""

    count: int
    gpus: bool
    threads: int = 1
    address: str | None = None


def train_together(work: Callable[[Any, int], None], argument: Any, workers: Workers, notes: Path) -> None:
    """Have every worker call `work(argument, gpu)` in a group of torch.distributed; `gpu` is the number of its own.

    Both must be picklable, and `work` importable on the workers. `notes`: a folder for what Ray Train writes down,
    which all workers must see; it is deleted at the end. Raises what a worker raised where that is a CurateError,
    ConfigError for a cluster or a Ray Train that is not there, StageError for a worker that was lost.
    """
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise ConfigError(MISSING.format(error=error)) from error
    owned = not ray.is_initialized()
    if owned:
        join(ray, workers.address)
    per_worker = {"CPU": float(workers.threads)} | ({"GPU": 1.0} if workers.gpus else {})
    try:
        _require_room(ray, workers)
        trainer = TorchTrainer(
            _work,
            train_loop_config={"work": work, "argument": argument, "gpus": workers.gpus, "folder": str(Path.cwd())},
            scaling_config=ScalingConfig(
                num_workers=workers.count, use_gpu=workers.gpus, resources_per_worker=per_worker
            ),
            torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
            run_config=RunConfig(name="training", storage_path=str(notes.absolute())),
        )
        trainer.fit()
    except CurateError:
        raise
    except Exception as error:
        raise _told(error) from error
    finally:
        shutil.rmtree(notes, ignore_errors=True)
        if owned:
            ray.shutdown()


def _work(config: dict[str, Any]) -> None:
    """What Ray Train calls on each worker, in a folder of Ray's own, where the paths of a config lead nowhere."""
    if Path(config["folder"]).is_dir():
        os.chdir(config["folder"])
    gpu = 0
    if config["gpus"]:
        from ray.train.torch import get_device

        gpu = get_device().index or 0
    config["work"](config["argument"], gpu)


def _require_room(ray: Any, workers: Workers) -> None:
    """Raise ConfigError for more workers than the cluster has room for: Ray Train would wait for ever."""
    there = ray.cluster_resources()
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    if workers.gpus and gpus < workers.count:
        raise ConfigError(f"{workers.count} workers want a GPU each, and the cluster has {gpus:g}; lower --workers")
    if cpus < workers.count * workers.threads:
        raise ConfigError(
            f"{workers.count} workers want {workers.count * workers.threads} CPUs, and the cluster has {cpus:g}; lower "
            "--workers or [training] threads"
        )


def _told(error: Exception) -> CurateError:
    """The CurateError of a worker, or what happened, in one line."""
    failures = getattr(error, "worker_failures", None) or {}
    for failure in failures.values():
        for found in (failure, getattr(failure, "cause", None), failure.__cause__):
            if isinstance(found, CurateError):
                return found
    first = next(iter(failures.values()), error)
    line = str(first).strip().splitlines()
    return StageError(
        f"a worker of the training failed: {type(first).__name__}: {line[-1] if line else 'no reason given'}; start "
        "the command again, and it goes on at its last state"
    )
