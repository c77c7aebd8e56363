"""`curate train captioner` and `curate train matcher`: the two models of CapFilt, on pairs that can be trusted."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from curate.cli import _train_on
from curate.cli._output import show

__all__ = ["kind"]

SUMMARIES = {
    "captioner": "a captioner fine-tuned on clean pairs, as BLIP's for CapFilt",
    "matcher": "a matcher (ITC and ITM) fine-tuned on clean pairs, as BLIP's filter for CapFilt",
}

Kind = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]


def kind(name: str) -> Kind:
    """Summary, arguments and work of one of both."""
    return SUMMARIES[name], partial(_add_arguments, name), partial(_train, name)


def _add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help=f"see configs/train/{name}.toml")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder for the model")
    _train_on.add_arguments(parser)


def _train(name: str, options: argparse.Namespace) -> int:
    from curate.train.caption_training import shown

    settings = import_module(f"curate.train.{name}").read_settings(options.config)
    _train_on.train_model(settings, options.out, options)
    show(shown(options.out), options.format)
    return 0
