"""The stage that turns a slice of the source into a shard: every URL is asked for, and what became of it recorded.

With `retry = "failed"` it starts from the shard that is there: rows that arrived, and rows that asking again cannot
help (404, 410, robots.txt), are carried over byte for byte; the others are asked again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curate.fetch import img2dataset
from curate.fetch.crawl import crawl
from curate.fetch.pair_writer import FETCH_COLUMNS, LOG_COLUMNS, SAMPLE_COLUMNS, PairWriter
from curate.fetch.picture import ImageSettings, Picture
from curate.fetch.settings import FetchSettings
from curate.fetch.status import FetchStatus
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage

__all__ = ["Fetch", "verified"]


@dataclass(frozen=True)
class Fetch(Stage):
    """Reads `source`, writes the tar and the sample table."""

    name: ClassVar[str] = "fetch"

    fetch: FetchSettings
    image: ImageSettings
    samples_per_shard: int = 10_000

    @property
    def reads(self) -> tuple[str, ...]:
        named = (self.image.box_column, self.image.sha256_column)
        return ("source", *(column for column in named if column))

    @property
    def writes(self) -> tuple[str, ...]:
        return ("image", *SAMPLE_COLUMNS, *FETCH_COLUMNS, *LOG_COLUMNS)

    @property
    def resources(self) -> Resources:
        return Resources(cpus=1)

    def supersedes(self) -> Stage | None:
        before = self.fetch.round_before()
        return replace(self, fetch=before) if before else None

    def require(self, runtime: Runtime) -> None:
        if self.fetch.backend == "img2dataset":
            img2dataset.require_possible(self.fetch, self.image, runtime.addresses)
        self.fetch.require_contact(runtime.addresses)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        source = shard.source()
        writer = PairWriter(shard.id, source, self.samples_per_shard, attempt.scratch)
        if attempt.previous is not None:
            _carry_over(shard, writer)
        urls = source["url"].to_pylist()
        wanted = ((row, urls[row] or "") for row in range(len(urls)) if row not in writer.rows)
        if self.fetch.backend == "img2dataset":
            with tempfile.TemporaryDirectory(prefix="curate-") as folder:
                for arrival in img2dataset.download(list(wanted), self.fetch, self.image, Path(folder)):
                    writer.keep(arrival.row, arrival.values, arrival.extension, arrival.data)
        else:
            digests = _by_row(source, self.image.sha256_column)
            boxes = {row: _boxes(value) for row, value in _by_row(source, self.image.box_column).items()}
            for response, picture in crawl(wanted, self.fetch, self.image, boxes, runtime):
                writer.put(response, verified(picture, digests.get(response.row)))
        writer.finish(attempt)


def verified(picture: Picture | None, digest: object) -> Picture | None:
    """The picture, or a failure in its place when its bytes are not those that the source promised.

    `digest` is a SHA-256 in hex, of either case, or its 32 bytes; None: nothing was promised.
    """
    wanted = digest.hex() if isinstance(digest, bytes) else str(digest).strip().lower()
    if picture is None or digest is None or wanted == picture.sha256:
        return picture
    detail = f"sha256 should be {wanted[:80]}"
    return replace(
        picture, status=FetchStatus.HASH_MISMATCH, detail=detail, data=b"", extension="", width=None, height=None
    )


def _by_row(source: pa.Table, column: str) -> dict[int, Any]:
    """Values of a column by row, without the nulls; nothing when no column is named."""
    values = source[column].to_pylist() if column else []
    return {row: value for row, value in enumerate(values) if value}


def _boxes(value: object) -> list[list[float]]:
    """The boxes of one row; what is no list of numbers is no box."""
    boxes = value if isinstance(value, list) else []
    return [box for box in boxes if isinstance(box, list) and all(isinstance(v, int | float) for v in box)]


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
