"""`curate train capfilt`: caption the web set, filter both texts, train captioner and matcher anew, for some rounds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from curate.cli import _train_on
from curate.cli._output import show

__all__ = ["SUMMARY", "add_arguments", "train"]

SUMMARY = "the loop of CapFilt: caption, filter, train both models anew, for some rounds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="see configs/train/capfilt.toml")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the rounds, new or begun")
    _train_on.add_arguments(parser)


def train(options: argparse.Namespace) -> int:
    from curate.train.capfilt import read_settings, train_capfilt

    def fit(order: Any, data: Any, out: Path, say: Any) -> None:
        _train_on.train_model(order, out, options, data.open)

    show(train_capfilt(read_settings(options.config), options.out, _train_on.say, fit), options.format)
    return 0
