"""`curate train captioner`: one of the two models of CapFilt, trained on pairs that can be trusted."""

from __future__ import annotations

import argparse
from pathlib import Path

from curate.cli import _train_on
from curate.cli._output import show

__all__ = ["SUMMARY", "add_arguments", "train"]

SUMMARY = "a captioner fine-tuned on clean pairs, as BLIP's for CapFilt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="see configs/train/captioner.toml")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder for the model")
    _train_on.add_arguments(parser)


def train(options: argparse.Namespace) -> int:
    from curate.train.caption_training import shown
    from curate.train.captioner import read_settings

    _train_on.train_model(read_settings(options.config), options.out, options)
    show(shown(options.out), options.format)
    return 0
