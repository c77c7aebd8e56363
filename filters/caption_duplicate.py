"""Drops all rows but one that have the same caption but for letter case, spacing and punctuation.

How many rows share a caption is the column `caption_cluster_size`; `caption_frequency` puts a bound on repetition
instead of keeping one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.dedup.clusters import Likeness
from curate.dedup.duplicates import Duplicates
from curate.dedup.exact import SameCaption


@dataclass(frozen=True)
class CaptionDuplicate(Duplicates):
    """Equal captions in normal form. Rows without a caption are kept: other filters answer for them."""

    reads: ClassVar[tuple[str, ...]] = ("caption_duplicate_of",)
    reasons: ClassVar[Mapping[str, str]] = {"duplicate_caption": "another row with the same caption is kept"}
    copy: ClassVar[str] = "duplicate_caption"

    @property
    def likeness(self) -> Likeness:
        return SameCaption()
