"""Drops paragraphs that a site says on many pages: notices, teasers, addresses.

OBELICS removes every copy of a paragraph that occurs more than twice on a domain, also where all three stand in one
document (a refrain): that is `max_count = 2`. By default documents are counted, each once. Counting is the step
`paragraph_frequency`; what it did not count is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Filter, Verdict, above, check_bounds, verdict
from curate.gauge import Gauge


@dataclass(frozen=True)
class ParagraphFrequency(Filter):
    """Keeps paragraphs that are in at most `max_documents` documents of a domain, and `max_count` times in them all.

    Both are included.
    """

    max_documents: int | None = 2
    max_count: int | None = None

    reads: ClassVar[tuple[str, ...]] = ("paragraph_documents", "paragraph_count")
    reasons: ClassVar[Mapping[str, str]] = {
        "paragraph_on_many_pages": "the site has the paragraph on too many pages",
        "paragraph_said_often": "the site says the paragraph too often",
    }

    def __post_init__(self) -> None:
        check_bounds(None, self.max_documents, least=1, name="{}_documents")
        check_bounds(None, self.max_count, least=1, name="{}_count")
        if self.max_documents is None and self.max_count is None:
            raise ValueError("needs `max_documents` or `max_count`: nothing would be dropped")

    @property
    def columns(self) -> tuple[str, ...]:
        bounds = dict(zip(self.reads, (self.max_documents, self.max_count), strict=True))
        return tuple(column for column, bound in bounds.items() if bound is not None)

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        bounds = (
            (self.max_documents, "paragraph_on_many_pages", "max_documents"),
            (self.max_count, "paragraph_said_often", "max_count"),
        )
        return tuple(
            Gauge(column, (column,), max=bound, too_high=reason, max_setting=setting)
            for column, (bound, reason, setting) in zip(self.reads, bounds, strict=True)
            if bound is not None
        )

    def judge(self, columns: pa.Table) -> Verdict:
        rules = []
        if self.max_documents is not None:
            rules.append(("paragraph_on_many_pages", above(columns["paragraph_documents"], self.max_documents)))
        if self.max_count is not None:
            rules.append(("paragraph_said_often", above(columns["paragraph_count"], self.max_count)))
        return verdict(len(columns), *rules)
