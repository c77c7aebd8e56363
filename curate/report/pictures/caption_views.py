"""Views of captions: the web's texts against synthetic ones, counted and shown with their pictures."""

from __future__ import annotations

from collections.abc import Sequence

from curate.report.facts import Captions
from curate.report.pictures.drawing import Draw
from curate.shard import Shard

__all__ = ["captions"]


def captions(shards: Sequence[Shard], draw: Draw) -> tuple[Captions, ...]:
    """Every view, by name: fates, lengths in words of both kinds of texts, reasons, examples of each fate."""
    return ()
