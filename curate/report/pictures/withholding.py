"""Whose pictures nobody is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from curate.shard import Shard

__all__ = ["withheld", "withheld_keys"]


def withheld(shards: Sequence[Shard]) -> Mapping[str, int]:
    """How many rows' pictures are shown nowhere, by what flagged them; parts of documents count too."""
    return {}


def withheld_keys(shard: Shard) -> Mapping[str, str]:
    """The keys of this shard (or of its parts: `shard.parts`) whose pictures must not be shown, and what flagged each:
    a hash list, a tombstone, a reason of a safety filter, a column; or that it is a copy of a hidden one."""
    return {}
