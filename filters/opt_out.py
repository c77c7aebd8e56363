"""Drops pictures whose owner said that machines may not learn from them, however they came into the data set.

The fetch stage does not store a picture that is opted out while it is told to respect that; this filter is for data
that was fetched without it, or elsewhere. The column `opt_out` names the rule that spoke, and is null where none did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Verdict, verdict


@dataclass(frozen=True)
class OptOut(Filter):
    """Keeps rows for which no rule spoke."""

    reads: ClassVar[tuple[str, ...]] = ("opt_out",)
    reasons: ClassVar[Mapping[str, str]] = {"owner_opted_out": "the owner asked that machines do not learn from it"}

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(len(columns), ("owner_opted_out", pc.is_valid(columns["opt_out"])))
