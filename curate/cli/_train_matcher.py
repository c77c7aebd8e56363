"""`curate train matcher`: one of the two models of CapFilt, trained on pairs that can be trusted."""

from __future__ import annotations

import argparse
from pathlib import Path

from curate.cli import _train_on
from curate.cli._output import show

__all__ = ["SUMMARY", "add_arguments", "train"]

SUMMARY = "a matcher (ITC and ITM) fine-tuned on clean pairs, as BLIP's filter for CapFilt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="see configs/train/matcher.toml")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder for the model")
    _train_on.add_arguments(parser)


def train(options: argparse.Namespace) -> int:
    from curate.train.caption_training import shown
    from curate.train.matcher import read_settings

    _train_on.train_model(read_settings(options.config), options.out, options)
    show(shown(options.out), options.format)
    return 0
