"""Drops pages whose address another kept page has too.

Of such copies the latest is kept, as in OBELICS, where a third of 361 million documents went this way. The step that
finds them writes the key of the page that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Verdict, verdict


@dataclass(frozen=True)
class UrlDuplicate(Filter):
    """Keeps documents whose `url_duplicate_of` is null."""

    reads: ClassVar[tuple[str, ...]] = ("url_duplicate_of",)
    reasons: ClassVar[Mapping[str, str]] = {"duplicate_url": "another page of this address is kept"}

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(len(columns), ("duplicate_url", pc.is_valid(columns["url_duplicate_of"])))
