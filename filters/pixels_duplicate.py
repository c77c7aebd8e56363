"""Drops all rows but one whose decoded picture is the same, in whatever file, and all of a placeholder picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.dedup.clusters import Likeness
from curate.dedup.duplicates import PictureDuplicates
from curate.dedup.exact import SamePixels
from curate.filter import Scorer


@dataclass(frozen=True)
class PixelsDuplicate(PictureDuplicates):
    """Equal `pixel_hash`, of size and pixels as they are in the shard."""

    reads: ClassVar[tuple[str, ...]] = ("pixels_duplicate_of", "pixels_captions", "pixels_hosts")
    reasons: ClassVar[Mapping[str, str]] = {
        "placeholder_by_pixels": "the same pixels have too many different captions or hosts",
        "duplicate_pixels": "another row with the same pixels is kept",
    }
    copy: ClassVar[str] = "duplicate_pixels"

    @property
    def likeness(self) -> Likeness:
        return SamePixels()

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        from curate.dedup.picture_hashes import PictureHashes

        return (PictureHashes(("pixel_hash",)),)
