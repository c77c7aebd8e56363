"""Clusters of copies: how large they are, and some to look at."""

from __future__ import annotations

from collections.abc import Sequence

from curate.report.facts import Copies
from curate.report.pictures.drawing import Draw
from curate.shard import Shard

__all__ = ["copies"]


def copies(shards: Sequence[Shard], draw: Draw) -> tuple[Copies, ...]:
    """Of every kind of copies that was looked for, by name: sizes of clusters, and examples, the largest first, the row
    that is kept first in each."""
    return ()
