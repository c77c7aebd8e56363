"""Drops blocks and image slots that extraction took for something else than the document: menus, comments, notices.

Extraction keeps them, each with its region, so that another choice needs no second reading of the archive: with
`keep = ["comments"]` readers' comments stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.document.extraction import REGIONS
from curate.filter import Filter, Verdict

OTHER = "not_content"
REASONS = {region: f"in_{region}" for region in REGIONS} | {"hidden": "is_hidden", "duplicate": "shown_elsewhere"}


@dataclass(frozen=True)
class Region(Filter):
    """Keeps parts without a `region_reason`, and those of a region in `keep`."""

    keep: tuple[str, ...] = ()

    reads: ClassVar[tuple[str, ...]] = ("region", "region_reason")
    reasons: ClassVar[Mapping[str, str]] = {
        **{REASONS[region]: f"not content: {words}" for region, words in REGIONS.items()},
        OTHER: "not part of the document",
    }

    def __post_init__(self) -> None:
        for region in self.keep:
            if region not in REGIONS:
                raise ValueError(f"keep = {region!r} is no region; known: {', '.join(REGIONS)}")

    def judge(self, columns: pa.Table) -> Verdict:
        region, reason = (columns[name].combine_chunks() for name in self.reads)
        codes = pc.fill_null(pc.index_in(region, value_set=pa.array(list(REGIONS), pa.string())), len(REGIONS))
        kept = pc.or_(pc.is_null(reason), pc.is_in(region, value_set=pa.array(self.keep, pa.string())))
        indices = pc.if_else(kept, pa.scalar(None, pa.int32()), codes)
        return pa.DictionaryArray.from_arrays(indices, pa.array(list(self.reasons), pa.string()))
