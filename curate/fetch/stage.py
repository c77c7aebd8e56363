"""The stage that turns a slice of the source into a shard: every URL is asked for, and what became of it recorded.

With `retry = "failed"` it starts from the shard that is there: rows that arrived, and rows that asking again cannot
help (404, 410, robots.txt), are carried over byte for byte; the others are asked again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pyarrow as pa

from curate.fetch.crawl import crawl
from curate.fetch.image import ImageSettings
from curate.fetch.pair_writer import FETCH_COLUMNS, LOG_COLUMNS, SAMPLE_COLUMNS, PairWriter
from curate.fetch.settings import FetchSettings
from curate.fetch.status import FetchStatus
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage

__all__ = ["Fetch"]


@dataclass(frozen=True)
class Fetch(Stage):
    """Reads `source`, writes the tar and the sample table.

    `box_column` names a column with boxes to blur: lists of [x0, y0, x1, y1], each 0 to 1.
    """

    name: ClassVar[str] = "fetch"

    fetch: FetchSettings
    image: ImageSettings
    samples_per_shard: int = 10_000
    box_column: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("image", *SAMPLE_COLUMNS, *FETCH_COLUMNS, *LOG_COLUMNS)

    @property
    def resources(self) -> Resources:
        return Resources(cpus=1)

    def supersedes(self) -> Stage | None:
        """Without `retry`, nothing; with it, the round before: the plain fetch comes before round 1."""
        if self.fetch.retry == "none":
            return None
        if self.fetch.retry_round > 1:
            return replace(self, fetch=replace(self.fetch, retry_round=self.fetch.retry_round - 1))
        return replace(self, fetch=replace(self.fetch, retry="none"))

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        source = shard.source()
        writer = PairWriter(shard.id, source, self.samples_per_shard, attempt.scratch)
        if attempt.previous is not None:
            _carry_over(shard, writer)
        urls = source["url"].to_pylist()
        wanted = ((row, urls[row] or "") for row in range(len(urls)) if row not in writer.rows)
        done = crawl(wanted, self.fetch, self.image, self._boxes(source), runtime.addresses, runtime.threads)
        for response, picture in done:
            writer.put(response, picture)
        writer.finish(attempt)

    def _boxes(self, source: pa.Table) -> dict[int, list[list[float]]]:
        if self.box_column is None:
            return {}
        return {row: boxes for row, boxes in enumerate(source[self.box_column].to_pylist()) if boxes}


def _carry_over(shard: Shard, writer: PairWriter) -> None:
    """Give the writer every row of the present shard that need not be asked for again."""
    samples = shard.samples()
    sample = next(samples, None)
    for row, values in enumerate(_present_rows(shard)):
        data, extension = b"", ""
        if sample is not None and sample.key == values["key"]:
            data, extension = sample.image, sample.extension
            sample = next(samples, None)
        if not FetchStatus(values["fetch_status"]).heals:
            writer.keep(row, values, extension, data)


def _present_rows(shard: Shard) -> Iterator[dict[str, Any]]:
    names = list(SAMPLE_COLUMNS | FETCH_COLUMNS | LOG_COLUMNS)
    yield from shard.columns(names).to_pylist()
