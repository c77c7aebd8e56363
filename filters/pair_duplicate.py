"""Drops all rows but one that have the same URL and the same caption, to the letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.dedup.clusters import Likeness
from curate.dedup.duplicates import Duplicates
from curate.dedup.exact import SamePair


@dataclass(frozen=True)
class PairDuplicate(Duplicates):
    """Equal `url` and `caption`."""

    reads: ClassVar[tuple[str, ...]] = ("pair_duplicate_of",)
    reasons: ClassVar[Mapping[str, str]] = {"duplicate_pair": "another row with the same URL and caption is kept"}
    copy: ClassVar[str] = "duplicate_pair"

    @property
    def likeness(self) -> Likeness:
        return SamePair()
