"""Drops image slots whose picture was asked for and did not arrive; the reason says what became of it.

Unlike `fetch_status`, which is for tables where every row is a picture, it keeps rows that nobody asked for: blocks of
text, and slots that another filter had dropped before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.fetch.status import FetchStatus
from curate.filter import Filter, Verdict

FAILURES = tuple(s.value for s in FetchStatus if s is not FetchStatus.SUCCESS)


@dataclass(frozen=True)
class PictureStatus(Filter):
    """Keeps parts whose `fetch_status` is `success` or null."""

    reads: ClassVar[tuple[str, ...]] = ("fetch_status",)
    reasons: ClassVar[Mapping[str, str]] = {
        **{f"picture_{status}": f"the picture did not arrive: {status.replace('_', ' ')}" for status in FAILURES},
        "picture_failed": "the picture did not arrive",
    }

    def judge(self, columns: pa.Table) -> Verdict:
        status = columns["fetch_status"].combine_chunks()
        codes = pc.fill_null(pc.index_in(status, value_set=pa.array(FAILURES, pa.string())), len(FAILURES))
        kept = pc.fill_null(pc.equal(status, FetchStatus.SUCCESS.value), True)
        indices = pc.if_else(kept, pa.scalar(None, pa.int32()), codes)
        return pa.DictionaryArray.from_arrays(indices, pa.array(list(self.reasons), pa.string()))
