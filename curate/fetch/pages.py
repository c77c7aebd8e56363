"""The stage that asks for the pages of a table of URLs, and keeps them as a web archive beside the shard.

    00000.warc.gz            a response record per page that arrived, in row order; any reader of archives reads it
    00000.pages.parquet      a row per URL: what became of it, and where its record lies
    00000.pages_log.parquet  attempts and times, which differ from run to run

An archive, because it is what pages are kept in everywhere: extraction can be run again, by this project or another,
and nobody is asked twice. Bodies are compressed as they arrive, so a shard of 5,000 pages waits as some 100 MB in a
file, not as 600 MB in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any, ClassVar

import pyarrow as pa

from curate.archive.reader import read_record_at
from curate.errors import ShardError
from curate.fetch.arrivals import LOG_COLUMNS, Arrivals, Row, arrays
from curate.fetch.crawl import shared_client
from curate.fetch.settings import FetchSettings
from curate.fetch.status import FetchStatus
from curate.fetch.visit import Response
from curate.fetch.wanted import PAGES
from curate.fetch.warc import response_record, warcinfo_record
from curate.manifest import Attempt
from curate.shard import Shard
from curate.source.raw_page import OK, RawPage
from curate.source.record_page import is_html
from curate.stage import Resources, Runtime, Stage

__all__ = ["FETCHED_COLUMNS", "FetchPages", "read_fetched_pages", "warc_name"]

FETCHED_COLUMNS: dict[str, pa.DataType] = {
    "page_url": pa.string(),
    "page_status": pa.string(),
    "page_detail": pa.string(),
    "page_http_status": pa.int16(),
    "page_final_url": pa.string(),
    "page_content_type": pa.string(),
    "page_opt_out": pa.string(),
    "page_robots": pa.string(),
    "page_redirects": pa.int16(),
    "page_offset": pa.int64(),
    "page_length": pa.int64(),
}
"""`page_url` is what was asked for; `page_status` "ok" or the cause; offset and length in bytes of the compressed file,
null where there is no record. Rows are those of the slice."""

STATUS = {FetchStatus.SUCCESS: OK, FetchStatus.IMAGE_BROKEN: "bad_coding"}
"""Where a page's status is not the fetch's own word."""
HEALS = frozenset(str(status) for status in FetchStatus if status.heals)


@dataclass(frozen=True)
class FetchPages(Stage):
    """Reads `source`, writes `page`: the archive of this slice's pages."""

    name: ClassVar[str] = "fetch_pages"

    fetch: FetchSettings

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("page",)

    @property
    def resources(self) -> Resources:
        return Resources(cpus=1)

    def supersedes(self) -> Stage | None:
        before = self.fetch.round_before()
        return replace(self, fetch=before) if before else None

    def require(self, runtime: Runtime) -> None:
        self.fetch.require_contact(runtime.addresses)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        urls = shard.source()["url"].to_pylist()
        arrivals = Arrivals(attempt.scratch)
        if attempt.previous is not None:
            _carry_over(shard, arrivals)
        asked = ((row, urls[row] or "") for row in range(len(urls)) if row not in arrivals.rows)
        for response in shared_client(self.fetch, runtime, PAGES).fetch(asked):
            if response is not None:
                page = _judged(response)
                arrivals.keep(page.row, _values(page), "", _record(shard.id, page))
        _write(shard, [arrivals.rows[row] for row in range(len(urls))], arrivals, attempt)
        arrivals.close()


def warc_name(shard: Shard) -> str:
    """Name of the archive of a shard's pages."""
    return f"{shard.id}.warc.gz"


def read_fetched_pages(rows: pa.Table, shard: Shard) -> Iterator[RawPage]:
    """The pages that FetchPages brought for these rows, one per row, in order. Raises ShardError."""
    name = warc_name(shard)
    with _open(shard) as archive:
        for row, found in enumerate(shard.table("pages").to_pylist()):
            page = RawPage(
                url=found["page_final_url"] or found["page_url"],
                status=found["page_status"],
                detail=found["page_detail"] or "",
                content_type=found["page_content_type"],
                http_status=found["page_http_status"],
                file=name,
                row=row,
            )
            if found["page_offset"] is None:
                yield page
                continue
            place = {"offset": found["page_offset"], "length": found["page_length"]}
            record = read_record_at(archive, **place)
            detail = record.detail if record.problem else page.detail
            yield replace(page, status=record.problem or page.status, detail=detail, body=record.payload, **place)


def _open(shard: Shard) -> IO[bytes]:
    try:
        return shard.storage.open(warc_name(shard))
    except FileNotFoundError:
        raise ShardError(
            f"shard {shard.id} in {shard.storage.root} has no {warc_name(shard)}; run the job again, which asks for its"
            " pages"
        ) from None


def _judged(response: Response) -> Response:
    """A body without a type that does not begin like a page is none."""
    if not response.body or is_html(response.content_type, response.body):
        return response
    detail = "no content type, and the first bytes are not those of a page"
    return replace(response, status=FetchStatus.NOT_HTML, detail=detail, body=b"")


def _record(shard: str, response: Response) -> bytes:
    if not response.body or response.http_status is None:
        return b""
    url = response.final_url or response.url
    return response_record(f"{shard}/{response.row}", url, response.http_status, response.content_type, response.body)


def _values(response: Response) -> dict[str, Any]:
    told = ("http_status", "final_url", "content_type", "opt_out", "robots", "redirects")
    return {
        "page_url": response.url,
        "page_status": STATUS.get(response.status, str(response.status)),
        "page_detail": response.detail or None,
        **{f"page_{name}": getattr(response, name) for name in told},
        **{name: getattr(response, name) for name in LOG_COLUMNS},
    }


def _write(shard: Shard, rows: list[Row], arrivals: Arrivals, attempt: Attempt) -> None:
    """The archive and its tables, in row order."""
    with open(attempt.path(warc_name(shard)), "wb") as target:
        target.write(warcinfo_record(shard.id))
        for row in rows:
            data = arrivals.data(row)
            if data:
                row.values.update({"page_offset": target.tell(), "page_length": len(data)})
                target.write(data)
    attempt.write_table(shard.table_name("pages"), pa.table(arrays(rows, FETCHED_COLUMNS)))
    log = pa.table(arrays(rows, LOG_COLUMNS)).rename_columns([f"page_{name}" for name in LOG_COLUMNS])
    attempt.write_table(shard.table_name("pages_log"), log, clock=True)
    statuses = Counter(row.values["page_status"] for row in rows)
    attempt.counts.update({"in": len(rows), "kept": statuses.pop(OK, 0)})
    attempt.counts.update({f"dropped.{status}": count for status, count in statuses.items()})


def _carry_over(shard: Shard, arrivals: Arrivals) -> None:
    """Keep what arrived before, and what asking again cannot help."""
    log = shard.table("pages_log").rename_columns(list(LOG_COLUMNS)).to_pylist()
    with _open(shard) as archive:
        for row, (found, times) in enumerate(zip(shard.table("pages").to_pylist(), log, strict=True)):
            if found["page_status"] in HEALS:
                continue
            data = b""
            if found["page_offset"] is not None:
                archive.seek(found["page_offset"])
                data = archive.read(found["page_length"])
            arrivals.keep(row, found | times, "", data)
