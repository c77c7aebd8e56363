"""`curate train metadata`: a list of concepts for `[filters.metaclip_balance]`, from a corpus and WordNet."""

from __future__ import annotations

import argparse
from pathlib import Path

from curate.cli._output import show

__all__ = ["SUMMARY", "add_arguments", "train"]

SUMMARY = "a list of concepts to balance by (after MetaCLIP)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", type=Path, nargs="*", metavar="FILE", help="text, a line each, or .parquet")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new list: .txt, or .json")
    parser.add_argument("--wordnet", type=Path, metavar="FOLDER", help="with WordNet's data.noun and so on")
    parser.add_argument(
        "--more", type=Path, nargs="+", default=[], metavar="FILE", help="lines to add, such as titles of pages"
    )
    parser.add_argument("--column", default="caption", help="of Parquet files (default: %(default)s)")
    parser.add_argument("--min-count", type=int, default=100, help="of a word (default: %(default)s)")
    parser.add_argument("--min-pair-count", type=int, default=100, help="of two neighbours (default: %(default)s)")
    parser.add_argument(
        "--min-pmi", type=float, default=30.0, help="p(xy) / (p(x) p(y)) of two neighbours (default: %(default)s)"
    )


def train(options: argparse.Namespace) -> int:
    from curate.balance.metadata import write_metadata
    from curate.balance.vocabulary import Vocabulary, build_entries
    from curate.errors import ConfigError

    if options.out.exists():
        raise ConfigError(f"{options.out} is there already; name a new file, for results hang on the list")
    try:
        settings = Vocabulary(
            tuple(options.corpus),
            options.wordnet,
            tuple(options.more),
            options.column,
            options.min_count,
            options.min_pair_count,
            options.min_pmi,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    entries, counts = build_entries(settings)
    written = write_metadata(entries, options.out)
    result = {"entries": len(written.entries), **counts, "digest": written.digest, "written_to": str(options.out)}
    show(result, options.format)
    return 0
