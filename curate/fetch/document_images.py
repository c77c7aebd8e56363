"""The stage that gets the pictures of documents: last of all, and only those that are still wanted.

Pages promise ten pictures for each that a careful selection keeps, so what is asked for is what a round has left: kept
slots of kept documents. A URL that several slots of a shard name is asked for once. With `retry = "failed"` the stage
starts from the tar that is there, as the fetch of pairs does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.document.columns import DOCUMENT_COLUMNS, IMAGE, part_names
from curate.document.read import IMAGE_MEMBER, PictureFile, kept_rows
from curate.document.select import prefix
from curate.errors import ConfigError, ShardError
from curate.fetch.arrivals import FETCH_COLUMNS, LOG_COLUMNS, PICTURE_COLUMNS, Arrivals
from curate.fetch.crawl import crawl
from curate.fetch.document_writer import ASKED_AS, ASKED_URL, ROW, WRITTEN_COLUMNS, DocumentWriter
from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.fetch.status import FetchStatus
from curate.manifest import Attempt, fingerprint
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage, settings_of

__all__ = ["FetchImages"]

BATCH_PARTS = 1_000


@dataclass(frozen=True)
class FetchImages(Stage):
    """Reads what `round` kept, writes the tar of documents and what became of each slot's picture.

    Columns of `part.`: those of the fetch of pairs, and `image_member`, the picture's extension in the tar; null for
    parts that were not asked for. `image` and `part.image` stand for the tar.
    """

    name: ClassVar[str] = "fetch_images"

    fetch: FetchSettings
    image: ImageSettings
    round: str = "unique"

    @property
    def reads(self) -> tuple[str, ...]:
        keep = f"{prefix(self.round)}keep"
        return (keep, *DOCUMENT_COLUMNS, *part_names(("key", *WRITTEN_COLUMNS, keep)))

    @property
    def writes(self) -> tuple[str, ...]:
        columns = (IMAGE, *FETCH_COLUMNS, *PICTURE_COLUMNS, *LOG_COLUMNS, IMAGE_MEMBER, ASKED_URL, ASKED_AS)
        return (IMAGE, *part_names(columns))

    @property
    def resources(self) -> Resources:
        return Resources(cpus=1)

    @property
    def mark(self) -> str:
        """A digest of what a picture's bytes and status depend on but its URL."""
        plain = replace(self.fetch, retry="none", retry_round=1)
        return fingerprint([settings_of(plain), settings_of(self.image)])

    def require(self, runtime: Runtime) -> None:
        if self.fetch.backend != "curate":
            raise ConfigError(f'[fetch] backend = "{self.fetch.backend}" fetches pairs alone; remove it for documents')
        for name in ("box_column", "sha256_column"):
            if getattr(self.image, name):
                raise ConfigError(f"[image] {name} names a column of pairs; remove it for documents")
        self.fetch.require_contact(runtime.addresses)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        documents = kept_rows(shard, self.round)
        parts = _kept_parts(shard, documents, self.round)
        slots = parts.filter(pc.equal(parts["kind"], IMAGE))
        rows: dict[str, int] = {}
        for part, url in zip(slots[ROW].to_pylist(), slots["url"].to_pylist(), strict=True):
            rows.setdefault(url or "", part)
        arrivals = Arrivals(attempt.scratch)
        _carry_over(shard, rows, arrivals, self.mark, again=self.fetch.retry != "none")
        asked = ((row, url) for url, row in rows.items() if row not in arrivals.rows)
        for response, picture in crawl(asked, self.fetch, self.image, {}, runtime):
            arrivals.put(response, picture)
        writer = DocumentWriter(
            shard, parts, {url: arrivals.rows[row] for url, row in rows.items()}, arrivals, self.mark
        )
        writer.write(documents, attempt)
        arrivals.close()


def _kept_parts(shard: Shard, documents: np.ndarray, round: str) -> pa.Table:
    """Kept parts of kept documents in order; the column ROW is their row in the table of parts."""
    chosen = kept_rows(shard.parts, round)
    parts = shard.parts.columns(WRITTEN_COLUMNS).take(chosen).append_column(ROW, pa.array(chosen, pa.int64()))
    return parts.filter(pc.is_in(parts["document"], value_set=pa.array(documents, pa.int32())))


def _carry_over(shard: Shard, rows: Mapping[str, int], arrivals: Arrivals, mark: str, again: bool) -> None:
    """Keep what was asked for before under these settings; with `again`, not what asking again could mend.

    `rows` are the parts that stand for their URLs. What is not there any more, or cannot be read, is asked for anew.
    """
    with suppress(ShardError), PictureFile(shard) as pictures:
        for values in _asked_before(shard, mark):
            row = rows.get(values.pop(ASKED_URL))
            key, member = values.pop("key").rpartition(".")[0], values.pop(IMAGE_MEMBER)
            if row is None or row in arrivals.rows or (again and FetchStatus(values["fetch_status"]).heals):
                continue
            data = pictures.read(key, member) if member else b""
            arrivals.keep(row, values, member.rpartition(".")[2] if member else "", data)


def _asked_before(shard: Shard, mark: str) -> Iterator[dict[str, Any]]:
    """Slots that were asked for under these settings, with all that was told of them. Raises ShardError."""
    fetched, log = shard.parts.table("fetch"), shard.parts.table("fetch_log")
    if ASKED_AS not in fetched.column_names or len(fetched) != len(log):
        return
    told = ["key", ASKED_URL, IMAGE_MEMBER, *FETCH_COLUMNS, *PICTURE_COLUMNS]
    table = pa.table({name: fetched[name] for name in told} | {name: log[name] for name in LOG_COLUMNS})
    asked = table.filter(pc.equal(fetched[ASKED_AS], mark))
    for batch in asked.to_batches(BATCH_PARTS):
        yield from batch.to_pylist()
