"""Drops image slots by the file name extension of their URL.

MMC4 keeps `png`, `jpeg` and `jpg` alone. Many servers have no extension at all, so by default such a slot is kept, and
its format is known once it is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Verdict, verdict

EXTENSION = r"^[^:/?#]+://[^/?#]*/(?:[^?#]*/)?[^/?#]*\.(?P<extension>[A-Za-z0-9]{1,5})(?:[?#].*)?$"


@dataclass(frozen=True)
class SlotUrlExtension(Filter):
    """Keeps slots whose URL ends in one of `extensions`, in any letter case; with `missing`, also those without one.

    An extension is one to five letters and digits behind the last dot of the last segment of the path.
    """

    extensions: tuple[str, ...] = ("jpg", "jpeg", "png", "webp")
    missing: bool = True

    reads: ClassVar[tuple[str, ...]] = ("url",)
    reasons: ClassVar[Mapping[str, str]] = {
        "url_extension_refused": "the picture's URL has another extension",
        "url_extension_missing": "the picture's URL has no extension",
    }

    def __post_init__(self) -> None:
        for extension in self.extensions:
            if not (extension.isalnum() and extension.isascii() and len(extension) <= 5):
                raise ValueError(f"extensions has {extension!r}; write it as jpg: one to five letters and digits")

    def judge(self, columns: pa.Table) -> Verdict:
        url = columns["url"]
        found = pc.utf8_lower(pc.struct_field(pc.extract_regex(url, EXTENSION), "extension"))
        allowed = pa.array([extension.lower() for extension in self.extensions], pa.string())
        refused = pc.and_(pc.is_valid(found), pc.invert(pc.is_in(found, value_set=allowed)))
        lacking = pc.and_(pc.is_valid(url), pc.is_null(found)) if not self.missing else pa.nulls(len(url), pa.bool_())
        return verdict(len(columns), ("url_extension_refused", refused), ("url_extension_missing", lacking))
