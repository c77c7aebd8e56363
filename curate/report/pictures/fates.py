"""Galleries of the rows that were kept, of those that were dropped for each reason, and of those next to each bound."""

from __future__ import annotations

from collections.abc import Sequence

from curate.report.facts import Gallery
from curate.report.pictures.drawing import Draw
from curate.run_record import DecisionRecord, FilterRecord
from curate.shard import Shard

__all__ = ["galleries"]


def galleries(
    shards: Sequence[Shard], decision: DecisionRecord | None, filters: Sequence[FilterRecord], draw: Draw
) -> tuple[Gallery, ...]:
    """Kept rows, then dropped ones, a gallery a reason in the order of the filters, then borderline ones, a gallery a
    bound. `shards` are those of the samples or documents; with a decision on parts their parts are read, of which
    pictures are shown. `decision` None: one gallery of all rows. A decision on documents has none: see `documents`.
    """
    return ()
