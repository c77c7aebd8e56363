"""Drops all rows but one whose picture is the same file, and all of a placeholder picture.

The SHA-256 is that of the file as its server sent it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.dedup.clusters import Likeness
from curate.dedup.duplicates import PictureDuplicates
from curate.dedup.exact import SameBytes


@dataclass(frozen=True)
class BytesDuplicate(PictureDuplicates):
    """Equal `sha256`. Reads `bytes_duplicate_of`, `bytes_captions` and `bytes_hosts`, which it has written."""

    reads: ClassVar[tuple[str, ...]] = ("bytes_duplicate_of", "bytes_captions", "bytes_hosts")
    reasons: ClassVar[Mapping[str, str]] = {
        "placeholder_by_bytes": "the same file has too many different captions or hosts",
        "duplicate_bytes": "another row with the same file is kept",
    }
    copy: ClassVar[str] = "duplicate_bytes"

    @property
    def likeness(self) -> Likeness:
        return SameBytes()
