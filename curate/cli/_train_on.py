"""Where `curate train captioner`, `matcher` and `capfilt` train: in this process, or on workers of a Ray cluster."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "say", "train_model"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--on", choices=("local", "ray"), default="local", help="ray: on workers (RAY_ADDRESS)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="with --on ray (default: %(default)s)")
    parser.add_argument("--gpus", action="store_true", help="with --on ray: a GPU for each worker")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def train_model(settings: Any, out: Path, options: argparse.Namespace, pairs: Callable[[], Any] | None = None) -> None:
    """Train the captioner or matcher of these settings where the options say."""
    from curate.errors import ConfigError
    from curate.train.caption_place import require_free
    from curate.train.spread_training import SharedTraining, carry_out

    training = SharedTraining(settings, out.absolute(), pairs, say)
    require_free(training.out)
    if options.gpus and options.on == "local":
        raise ConfigError("--gpus is for --on ray; in this process a GPU is taken where there is one")
    if options.on == "local":
        carry_out(training, 0)
        return
    from curate.run.ray_train import Workers, train_together

    if options.workers < 1:
        raise ConfigError(f"--workers {options.workers} trains nothing; take at least 1")
    threads = settings.training.threads or 1
    workers = Workers(options.workers, options.gpus, threads, os.environ.get("RAY_ADDRESS"))
    train_together(carry_out, training, workers, Path(f"{training.out}.ray"))
