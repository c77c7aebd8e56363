"""`curate export DIR --to card`: the page that a hand-over is published with, and its Croissant metadata."""

from __future__ import annotations

import argparse

from curate.cli._output import show

__all__ = ["card"]


def card(options: argparse.Namespace) -> int:
    """Write README.md and croissant.json into the hand-over itself, or into --out, and show their bytes."""
    from curate.errors import ConfigError
    from curate.handover.card import publication, write_card
    from curate.storage import Storage

    if options.captions or options.sources:
        raise ConfigError("--to card describes a whole hand-over; leave --captions and --sources out")
    words = publication(options.describe or [])
    source = Storage(options.folder.rstrip("/"))
    target = Storage(options.out) if options.out else source
    show({**write_card(source, target, words), "written_to": target.root}, options.format)
    return 0
