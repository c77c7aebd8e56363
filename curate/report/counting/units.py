"""One pass over the samples, the documents or the parts of a data set, in which all that is counted of them is counted.

Nothing is kept of a shard but its counts. Reading takes most of the time and leaves Python's lock, so the next shard is
read while one is counted; more than two threads gain nothing. Small neighbours are counted together: a shard of ten
rows costs what one of a thousand does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from curate.listing import Listed
from curate.manifest import Entry
from curate.report.counting.bars import Bars
from curate.report.counting.downloads import Downloads
from curate.report.counting.overlap import Overlaps
from curate.report.counting.reading import BROKEN, Columns, Troubles, in_blocks, joined
from curate.report.counting.survey import bars_of, columns_of, numbers_by_gauge, survey_of
from curate.report.counting.values import Values, shapes
from curate.report.counting.verdicts import Reasons, Verdicts, verdicts_of
from curate.report.facts import Counted, Histogram, Overlap
from curate.run_record import FilterRecord

__all__ = ["Counts", "count_unit"]

AHEAD = 2
Read: TypeAlias = tuple[Listed, pa.Table]


@dataclass
class Counts:
    """What one pass counted. `undecided`: tables without the columns of the decision. `dropped`, `flagged`: rows by
    their first reason, and by each of theirs."""

    reasons: Reasons
    bars: Sequence[Bars]
    overlaps: Overlaps = field(default_factory=Overlaps)
    values: Values = field(default_factory=Values)
    downloads: Downloads = field(default_factory=Downloads)
    rows: int = 0
    kept: int = 0
    undecided: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    flagged: Counter[str] = field(default_factory=Counter)

    def add(self, columns: pa.Table, verdicts: Verdicts, troubles: Troubles) -> None:
        """Count the rows of a shard or of several. Raises one of BROKEN for values that are no values of theirs."""
        self.rows, self.kept = self.rows + len(columns), self.kept + int(verdicts.keep.sum())
        _, first = np.unique(verdicts.rows, return_index=True)
        self.dropped.update(self.reasons.counted(verdicts.reasons[first]))
        self.flagged.update(self.reasons.counted(verdicts.reasons))
        numbers = numbers_by_gauge([own.measure for own in self.bars], columns, troubles)
        for own in self.bars:
            own.add(numbers, verdicts, self.reasons)
        self.overlaps.add(verdicts, self.reasons)
        self.values.add(columns, verdicts.keep)
        self.downloads.add(columns, verdicts.keep)

    def entry(self, step: str) -> Entry:
        """What the manifest would tell of the decision."""
        given = {"dropped": self.dropped, "flagged": self.flagged}
        told = {f"{name}.{reason}": rows for name, own in given.items() for reason, rows in own.items()}
        return Entry(step, "", "", {"in": self.rows, "kept": self.kept, **told}, ())

    def histograms(self, troubles: Troubles) -> tuple[Histogram, ...]:
        """Those with a number in them, or a bound."""
        for own in (bars for bars in self.bars if bars.measure.filter and not bars.fits):
            rows = {"kept rows are outside": own.stale, "dropped rows are inside": own.inside}
            told_rows = " and ".join(f"{n:,} {what}" for what, n in rows.items() if n)
            troubles.add(
                f"{told_rows} the bounds of {own.measure.filter} on {own.measure.gauge.name} that run.json has: they "
                "were judged by others, so no bound is drawn; run the config again"
            )
        told = (own.histogram() for own in self.bars)
        return tuple(own for own in told if any(own.rows) or own.filter)

    def counted(self) -> tuple[Counted, ...]:
        """Hosts first: they tell most of where a data set is from."""
        hosts = self.downloads.counted()
        return (*((hosts,) if hosts else ()), *self.values.counted())

    def overlap(self) -> Overlap | None:
        return self.overlaps.overlap(self.reasons)


def count_unit(
    tables: Sequence[Listed], prefix: str | None, filters: Sequence[FilterRecord], troubles: Troubles
) -> Counts:
    """Count tables. `prefix`: of the decision's columns, None where nobody decided; `filters`: those that had a say."""
    survey = survey_of(tables, troubles)
    columns = columns_of(survey, prefix, filters)
    counts = Counts(Reasons.of(filters), bars_of(tables, columns, filters, survey))
    for block in in_blocks(_read(tables, columns, troubles)):
        _count(counts, block, prefix, troubles)
    return counts


def _count(counts: Counts, block: Sequence[Read], prefix: str | None, troubles: Troubles) -> None:
    """Count neighbours at once; one by one where the decision of one of them cannot be read."""
    try:
        columns = shapes(joined(block))
        verdicts = verdicts_of(columns, prefix, counts.reasons)
        counts.undecided += len(block) if prefix is not None and not verdicts.decided else 0
    except BROKEN as error:
        if len(block) == 1:
            troubles.add(f"shard {block[0][0].id} was not counted: {error}")
        for one in block if len(block) > 1 else ():
            _count(counts, [one], prefix, troubles)
        return
    try:
        counts.add(columns, verdicts, troubles)
    except BROKEN as error:
        ids = " to ".join(dict.fromkeys(table.id for table, _ in (block[0], block[-1])))
        troubles.add(f"shard {ids} was not counted: {error}")


def _read(tables: Sequence[Listed], columns: Columns, troubles: Troubles) -> Iterator[Read]:
    """Tables in their order, the next ones read meanwhile; what is wrong with one is told when its turn comes."""

    def read(table: Listed) -> tuple[pa.Table, Troubles]:
        own = Troubles(troubles.root)
        return columns.read(table, table.families, own), own

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(read, table) for table in tables[:AHEAD]]
        for place, table in enumerate(tables):
            found, own = waiting.pop(0).result()
            if place + AHEAD < len(tables):
                waiting.append(pool.submit(read, tables[place + AHEAD]))
            for words in own.told():
                troubles.add(words)
            yield table, found
