"""Small data sets with a decision, to be counted: in memory, from columns and filters."""

from __future__ import annotations

import io
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from curate.filter import Filter, Rules, Verdict, between, check_bounds
from curate.gauge import Gauge
from curate.manifest import Attempt, CommitLog, Manifest, write_parquet
from curate.report.facts import Histogram
from curate.run_record import RunRecord, record_of, write_record
from curate.select import Select
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage


@dataclass(frozen=True)
class Held(Filter):
    """A number between bounds, as most filters hold one; `unknown` is the reason for rows without it, kept without."""

    column: str
    min: float | None = None
    max: float | None = None
    unknown: str | None = None

    reads: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_bounds(self.min, self.max, least=-float("inf"))

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def reasons(self) -> Mapping[str, str]:  # type: ignore[override]
        words = {f"{self.column}_low": "too low", f"{self.column}_high": "too high"}
        return words | ({self.unknown: "unknown"} if self.unknown else {})

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        low, high = tuple(self.reasons)[:2]
        return (Gauge(self.column, (self.column,), self.min, self.max, low, high),)

    def judge(self, columns: pa.Table) -> Verdict:
        low, high = tuple(self.reasons)[:2]
        return between(columns[self.column], self.min, self.max, low, high, self.unknown)


@dataclass
class Made:
    """A data set in memory."""

    storage: Storage = field(default_factory=lambda: Storage(f"memory://count-{uuid.uuid4().hex}"))

    def put(self, name: str, table: pa.Table) -> None:
        target = io.BytesIO()
        write_parquet(table, target)
        self.storage.write(name, target.getvalue())

    def shards(self, tables: Sequence[pa.Table], family: str = "") -> None:
        """Tables of samples, or a family of column files, with keys."""
        for number, table in enumerate(tables):
            keys = pa.array([f"{number:05d}{row:04d}" for row in range(len(table))], pa.string())
            name = f"{number:05d}.{family}.parquet" if family else f"{number:05d}.parquet"
            self.put(name, table.add_column(0, "key", keys))

    def decide(self, rules: Rules, shards: int, record: bool = True) -> RunRecord:
        """Let filters decide on the shards, with commits, a manifest and the run's record."""
        step, commits = Select(rules), []
        for number in range(shards):
            attempt = Attempt(self.storage, step.label, f"{number:05d}", "0" * 16)
            step.run(Shard(self.storage, f"{number:05d}"), attempt, Runtime())
            commits.append(attempt.commit())
        Manifest.fold(CommitLog(self.storage), [(c.stage, c.shard, c.fingerprint) for c in commits], commits)
        told = record_of("small", {"pipeline": "image_text_pairs"}, [step])
        if record:
            write_record(self.storage, told)
        return told


def left(histogram: Histogram, low: float | None = None, high: float | None = None) -> int:
    """What stays between two bounds, as a page counts it; None for the histogram's own bound."""
    low, high = histogram.min if low is None else low, histogram.max if high is None else high
    first = 0 if low is None else bisect_left(histogram.edges, low)
    last = len(histogram.edges) - 1 if high is None else bisect_right(histogram.edges, high)
    return sum(histogram.left[first:last]) + histogram.without_kept


def pairs(count: int, **columns: Any) -> pa.Table:
    """Rows with a URL and a caption, and more columns."""
    urls = [f"http://host{row % 3}.test/{row}.jpg" for row in range(count)]
    captions = [f"a picture of {row} things" for row in range(count)]
    return pa.table({"url": urls, "caption": captions, **columns})
