"""`curate train stages FILE.toml`, or `curate train FILE.toml`: the stages of a file, one after another."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from curate.cli import _train_on
from curate.cli._output import show

__all__ = ["SUMMARY", "OrStages", "add_arguments", "train"]

SUMMARY = "a small model through the stages of a stages.toml, on a hand-over"


class OrStages(argparse._SubParsersAction):  # type: ignore[type-arg]
    """Takes the path of a TOML file for `stages` and the path. What is neither that nor a kind it refuses itself."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.choices = None  # type: ignore[assignment]

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given = list(values)
        if given[0].endswith(".toml"):
            given = ["stages", *given]
        super().__call__(parser, namespace, given, option_string)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stages", type=Path, metavar="STAGES.toml", help="see docs/stage_trainer.md")
    parser.add_argument("--data", required=True, metavar="FOLDER", help="a hand-over")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder for the stages")
    parser.add_argument(
        "--evaluate", default="", metavar="SET", help='after each stage: "toy" for the toy web, or another hand-over'
    )
    parser.add_argument(
        "--checkpoint-steps", type=int, default=500, metavar="N", help="a state each N steps (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="that read and decode (default: %(default)s)"
    )
    _train_on.add_arguments(parser)


def train(options: argparse.Namespace) -> int:
    from curate.errors import ConfigError
    from curate.handover.stages import read_stages
    from curate.train.caption_place import require_free
    from curate.train.stages.run import StagesOrder, carry_out, shown

    if options.checkpoint_steps < 1 or options.threads < 1 or options.workers < 1:
        raise ConfigError("--checkpoint-steps, --threads and --workers are at least 1")
    stages, out = read_stages(options.stages), options.out.absolute()
    require_free(out)
    order = StagesOrder(
        stages, options.data, out, options.evaluate, options.checkpoint_steps, options.threads, say=_train_on.say
    )
    if options.gpus and options.on == "local":
        raise ConfigError("--gpus is for --on ray; in this process a GPU is taken where there is one")
    if options.on == "local":
        carry_out(order, 0)
    else:
        from curate.run.ray_train import Workers, train_together

        workers = Workers(options.workers, options.gpus, options.threads, os.environ.get("RAY_ADDRESS"))
        train_together(carry_out, order, workers, Path(f"{out}.ray"))
    show(_table(shown(out)), options.format)
    return 0


def _table(report: dict[str, Any]) -> dict[str, Any]:
    """A row for each stage: how long, what learned, first and last losses, what it was measured at."""
    rows = [
        {
            "stage": stage["stage"],
            "steps": stage["steps"],
            "learned": sum(stage["trainable"].values()),
            "of": sum(stage["numbers"].values()),
            **{f"{when}_{name}": loss for name in stage["last"] for when, loss in _ends(stage, name)},
            **stage["evaluation"],
            "seconds": stage["seconds"],
        }
        for stage in report["stages"]
    ]
    return {"stages": rows, **{name: value for name, value in report.items() if name != "stages"}}


def _ends(stage: dict[str, Any], name: str) -> list[tuple[str, float]]:
    return [(when, stage[when][name]) for when in ("first", "last") if name in stage[when]]
