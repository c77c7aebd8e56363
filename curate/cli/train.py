"""Train a model: `tiny` makes the toy models from nothing, `filter` a filter network from clean pairs, `captioner`,
`matcher` and `capfilt` the two models of CapFilt, `stages` (or the file's name alone) the stages of a stages.toml."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from curate.cli import _train_capfilt, _train_metadata, _train_model, _train_stages
from curate.cli._output import add_format, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True, action=_train_stages.OrStages)
    for name, (summary, add, train) in KINDS.items():
        kind = kinds.add_parser(name, help=summary, description=summary)
        add(kind)
        add_format(kind)
        kind.set_defaults(train=train)


def run(options: argparse.Namespace) -> int:
    code: int = options.train(options)
    return code


def _tiny_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("data/toy_models"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of weights and pictures (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1600, help="of the toy dual encoder (default: %(default)s)")
    parser.add_argument("--matcher-steps", type=int, default=450, help="of the toy matcher (default: %(default)s)")
    parser.add_argument("--captioner-steps", type=int, default=1200, help="of the toy captioner (default: %(default)s)")
    parser.add_argument("--precision", choices=("auto", "fp32"), default="auto", help="auto: bf16 where the CPU has it")
    parser.add_argument(
        "--rows", type=int, default=2000, help="of the toy web, to measure the models on (default: %(default)s)"
    )


def _tiny(options: argparse.Namespace) -> int:
    from curate.errors import ConfigError
    from curate.train.toy import TinySettings, train_tiny

    try:
        settings = TinySettings(
            options.seed,
            options.steps,
            options.matcher_steps,
            options.captioner_steps,
            options.precision,
            options.rows,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    report = train_tiny(settings, options.out, _say)
    show({**report, "written_to": str(options.out)}, options.format)
    return 0


def _filter_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="see configs/train/filter.toml")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder for the model")


def _filter(options: argparse.Namespace) -> int:
    from curate.train.filter import read_settings, train_filter

    show(train_filter(read_settings(options.config), options.out, _say), options.format)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


KINDS = {
    "tiny": ("the three toy models, in some minutes on two cores", _tiny_arguments, _tiny),
    "filter": ("a CLIP fine-tuned on clean pairs (after DFN), as a scorer", _filter_arguments, _filter),
    "captioner": _train_model.kind("captioner"),
    "matcher": _train_model.kind("matcher"),
    "capfilt": (_train_capfilt.SUMMARY, _train_capfilt.add_arguments, _train_capfilt.train),
    "stages": (_train_stages.SUMMARY, _train_stages.add_arguments, _train_stages.train),
    "metadata": (_train_metadata.SUMMARY, _train_metadata.add_arguments, _train_metadata.train),
}
"""Summary, arguments and work of each kind of training, by the word that asks for it."""
