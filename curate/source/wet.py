"""Common Crawl's WET files: pages of which only the text is left, so documents without pictures."""

from __future__ import annotations

from dataclasses import dataclass

from curate.archive.record import Record
from curate.source.archives import Archives
from curate.source.raw_page import RawPage
from curate.source.record_page import record_page

__all__ = ["Wet"]


@dataclass(frozen=True)
class Wet(Archives):
    """The `[source]` table with `kind = "wet"`: the settings of `archives`. Pages have `text` and no body."""

    def page(self, record: Record, archive: str) -> RawPage | None:
        """The text of a `conversion` record, and every problem; other records are passed over."""
        return record_page(record, archive) if record.type in ("conversion", "") else None
