"""Drops what could not be fetched or decoded; the reason is the status itself, so that causes can be counted.

The other picture filters keep such rows, because a picture that is not there is not too small.
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
class FetchSucceeded(Filter):
    """Keeps rows whose `fetch_status` is `success`. A row without a status, or with a foreign one, was not fetched."""

    reads: ClassVar[tuple[str, ...]] = ("fetch_status",)
    reasons: ClassVar[Mapping[str, str]] = {
        **{status: f"fetch failed: {status.replace('_', ' ')}" for status in FAILURES},
        "not_fetched": "the picture was not asked for",
    }

    def judge(self, columns: pa.Table) -> Verdict:
        reasons = pa.array(self.reasons, pa.string())
        status = columns["fetch_status"].combine_chunks()
        codes = pc.fill_null(pc.index_in(status, value_set=reasons), len(reasons) - 1)
        kept = pc.fill_null(pc.equal(status, FetchStatus.SUCCESS.value), False)
        return pa.DictionaryArray.from_arrays(pc.if_else(kept, pa.scalar(None, pa.int32()), codes), reasons)
