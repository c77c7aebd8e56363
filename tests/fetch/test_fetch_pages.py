"""Pages asked for politely and kept as an archive that everybody reads, the same bytes whatever came first."""

from __future__ import annotations

import gzip
import io
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastwarc.stream_io import GzipReader
from fastwarc.warc import ArchiveIterator, WarcRecordType
from fault_web import Call, Web, falls_silent, reply
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stage_runs import digests as shard_digests
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from curate.archive.reader import read_records
from curate.errors import ConfigError, ShardError
from curate.fetch import pages
from curate.fetch.client import Client
from curate.fetch.pages import FetchPages, read_fetched_pages
from curate.fetch.settings import FetchSettings
from curate.fetch.warc import NO_DATE, response_record, warcinfo_record
from curate.plan import Job
from curate.run.inline import InlineEngine
from curate.run.scheduler import RunSettings, run_job
from curate.shard import Shard
from curate.slices import write_slices
from curate.source.raw_page import RawPage
from curate.stage import Runtime
from curate.storage import Storage

FETCH = FetchSettings(per_host_rate=0, concurrency=8, least_rate_window_s=0.5, retries=0, most_bytes=50_000)
HOST = "http://pages.test"
HTML = b"<!DOCTYPE html><title>A page</title><p>caf\xc3\xa9</p>"
AS_HTML = "Content-Type: text/html; charset=utf-8"


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web(
        routes={
            "/robots.txt": reply(200, b"User-agent: *\nDisallow: /private"),
            "/a.html": reply(200, HTML, AS_HTML),
            "/b.html": reply(200, HTML * 50, "Content-Type: application/xhtml+xml"),
            "/packed.html": reply(200, gzip.compress(HTML, mtime=0), AS_HTML, "Content-Encoding: gzip"),
            "/badly_packed.html": reply(200, b"no gzip at all", AS_HTML, "Content-Encoding: gzip"),
            "/untyped.html": reply(200, HTML),
            "/moved.html": reply(301, b"", "Location: /a.html"),
            "/untyped_film.html": reply(200, bytes(900)),
            "/film.html": reply(200, bytes(40_000), "Content-Type: video/mp4"),
            "/huge.html": reply(200, bytes(60_000), AS_HTML),
            "/gone.html": reply(410, HTML, AS_HTML),
            "/down.html": reply(503, HTML, AS_HTML),
            "/silent.html": falls_silent,
            "/no.html": reply(200, HTML, AS_HTML, "X-Robots-Tag: noai"),
        }
    )
    yield served
    served.close()


STATUS = {
    "/a.html": "ok",
    "/missing.html": "not_found",
    "/b.html": "ok",
    "/packed.html": "ok",
    "/badly_packed.html": "bad_coding",
    "/untyped.html": "ok",
    "/untyped_film.html": "not_html",
    "/film.html": "not_html",
    "/huge.html": "too_many_bytes",
    "/gone.html": "gone",
    "/moved.html": "ok",
    "/down.html": "server_error",
    "/silent.html": "too_slow",
    "/private.html": "robots_disallowed",
    "/no.html": "opted_out",
    "javascript:void(0)": "invalid_url",
}
URLS = [path if ":" in path else HOST + path for path in STATUS]


def fetch(root: Path, web: Web, urls: list[str | None], settings: FetchSettings = FETCH) -> Counter[str]:
    """What was asked for, apart from robots.txt."""
    before = len(web.calls)
    table = pa.table({"url": pa.array(urls, pa.string()), "rank": range(len(urls))})
    job = Job((FetchPages(settings),), lambda storage: write_slices(storage, [table]))
    runtime = Runtime(addresses={"*": web.address})
    outcome = run_job(job, Storage(str(root)), InlineEngine(), RunSettings(attempts=1), runtime)
    assert not outcome.failed, outcome.failed
    return Counter(path for path in web.paths()[before:] if path != "/robots.txt")


def digests(root: Path) -> dict[str, str]:
    return {name: value for name, value in shard_digests(root).items() if "log" not in name}


def read(root: Path) -> list[RawPage]:
    shard = Shard(Storage(str(root)), "00000")
    return list(read_fetched_pages(shard.source(), shard))


def test_every_page_has_its_status_and_those_that_came_their_bytes(web: Web, tmp_path: Path) -> None:
    fetch(tmp_path, web, [*URLS, None])
    found = read(tmp_path)
    assert [page.status for page in found] == [*STATUS.values(), "invalid_url"]
    assert [page.row for page in found] == list(range(len(URLS) + 1))
    by_path = dict(zip(STATUS, found, strict=False))
    assert [page.body for page in found if page.status != "ok"] == [b""] * sum(
        s != "ok" for s in [*STATUS.values(), ""]
    )
    assert by_path["/packed.html"].body == by_path["/a.html"].body == by_path["/untyped.html"].body == HTML
    assert by_path["/b.html"].body == HTML * 50
    assert by_path["/a.html"].content_type == "text/html; charset=utf-8"
    assert by_path["/untyped.html"].content_type is None
    assert (by_path["/moved.html"].url, by_path["/moved.html"].body) == (f"{HOST}/a.html", HTML)
    assert (by_path["/gone.html"].http_status, by_path["/gone.html"].detail) == (410, "HTTP 410")
    assert by_path["/film.html"].detail == "content type video/mp4"
    assert {page.file for page in found} == {"00000.warc.gz"}
    table = pq.read_table(tmp_path / "00000.pages.parquet").to_pylist()
    assert [row["page_url"] for row in table] == [*URLS, ""]
    assert {row["page_url"]: row["page_redirects"] for row in table}[f"{HOST}/moved.html"] == 1


def test_the_client_says_that_it_is_out_for_pages_and_does_not_read_a_film(web: Web, tmp_path: Path) -> None:
    sent: list[int] = []

    def film(connection: Any, call: Call) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n")
        sent.extend(connection.send(bytes(1 << 16)) for _ in range(2_000))

    web.routes["/endless.mp4"] = film
    fetch(tmp_path, web, [f"{HOST}/a.html", f"{HOST}/endless.mp4"], replace(FETCH, most_bytes=500_000_000))
    assert [page.status for page in read(tmp_path)] == ["ok", "not_html"]
    assert sum(sent) < 50 << 20
    (call,) = [call for call in web.calls if call.path == "/a.html"]
    assert call.headers["accept"].startswith("text/html")
    assert "gzip" in call.headers["accept-encoding"]


def test_the_archive_is_read_alike_by_three_readers(web: Web, tmp_path: Path) -> None:
    fetch(tmp_path, web, [url for url in URLS if "silent" not in url])
    file = tmp_path / "00000.warc.gz"
    pages = [page for page in read(tmp_path) if page.status == "ok"]
    wanted = [(page.url, page.body, page.http_status, page.content_type) for page in pages]
    with open(file, "rb") as handle:
        ours = [r for r in read_records(handle) if r.type == "response"]
    assert [r.problem for r in ours] == [None] * len(wanted)
    assert [(r.url, r.payload, r.http_status, r.http_headers.get("content-type")) for r in ours] == wanted
    assert [(r.offset, r.length) for r in ours] == [(page.offset, page.length) for page in pages]
    assert [r.headers["warc-payload-digest"] for r in ours] == [r.payload_digest for r in ours]
    with open(file, "rb") as handle:
        theirs = [
            (
                r.rec_headers.get_header("WARC-Target-URI"),
                r.content_stream().read(),
                int(r.http_headers.get_statuscode()),
                r.http_headers.get_header("Content-Type"),
            )
            for r in WarcioIterator(handle, check_digests=True)
            if r.rec_type == "response"
        ]
    assert theirs == wanted
    with open(file, "rb") as handle:
        records = [
            (
                r.headers["WARC-Target-URI"],
                r.reader.read(),
                r.http_headers.status_code,
                r.http_headers.get("Content-Type"),
            )
            for r in ArchiveIterator(GzipReader(handle), record_types=WarcRecordType.response)
        ]
    assert records == wanted


def test_the_first_record_says_that_dates_are_none(web: Web, tmp_path: Path) -> None:
    fetch(tmp_path, web, [f"{HOST}/a.html"])
    with open(tmp_path / "00000.warc.gz", "rb") as handle:
        info, page = list(read_records(handle))
    assert info.type == "warcinfo"
    assert b"00000.pages_log.parquet" in info.payload
    assert info.date == page.date == NO_DATE
    assert read(tmp_path)[0].date is None
    (log,) = pq.read_table(tmp_path / "00000.pages_log.parquet").to_pylist()
    assert log["page_started"] > 1.5e9
    assert log["page_attempts"] == 1


def test_the_bytes_do_not_depend_on_the_order_of_arrival(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls: list[str | None] = [url for url in URLS if "silent" not in url] * 2
    random.Random(0).shuffle(urls)
    fetch(tmp_path / "first", web, urls)

    class Backwards(Client):
        def fetch(self, *arguments: Any) -> Iterator[Any]:
            return reversed([r for r in super().fetch(*arguments) if r is not None])  # type: ignore[return-value]

    client = Backwards(FETCH, {"*": web.address}, wanted=pages.PAGES)
    monkeypatch.setattr(pages, "shared_client", lambda *arguments: client)
    fetch(tmp_path / "reversed", web, urls)
    assert set(digests(tmp_path / "first")) == {"00000.warc.gz", "00000.pages.parquet"}
    assert digests(tmp_path / "reversed") == digests(tmp_path / "first")


def test_a_retry_asks_for_what_may_heal_and_copies_the_rest(web: Web, tmp_path: Path) -> None:
    fetch(tmp_path / "once", web, list(URLS))
    web.routes["/down.html"] = web.routes["/silent.html"] = reply(200, HTML, AS_HTML)
    asked = fetch(tmp_path / "once", web, list(URLS), replace(FETCH, retry="failed"))
    assert asked == {"/down.html": 1, "/silent.html": 1}
    fetch(tmp_path / "new", web, list(URLS))
    assert digests(tmp_path / "once") == digests(tmp_path / "new")


def test_a_fetch_that_breaks_off_leaves_nothing(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks_off(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pages, "_write", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, web, [f"{HOST}/a.html"])
    assert list(tmp_path.glob("0*")) == []
    monkeypatch.undo()
    fetch(tmp_path, web, [f"{HOST}/a.html"])
    assert read(tmp_path)[0].body == HTML


def test_an_archive_that_is_gone_is_one_clear_line(web: Web, tmp_path: Path) -> None:
    fetch(tmp_path, web, [f"{HOST}/a.html"])
    (tmp_path / "00000.warc.gz").unlink()
    with pytest.raises(ShardError, match=r"has no 00000.warc.gz; run the job again"):
        read(tmp_path)


def test_strangers_are_not_asked_without_a_contact() -> None:
    with pytest.raises(ConfigError, match="contact is empty"):
        FetchPages(FETCH).require(Runtime())


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=300), st.text(max_size=20), st.integers(200, 299)), min_size=1, max_size=4)
)
@example([(b"<p>", "text/html\r\n\r\nWARC/1.1\r\n", 200)])
def test_any_body_under_any_header_comes_back(records: list[tuple[bytes, str, int]]) -> None:
    told = [response_record(str(n), f"{HOST}/{n}", code, kind, body) for n, (body, kind, code) in enumerate(records)]
    data = b"".join([warcinfo_record("00000"), *told])
    found = list(read_records(io.BytesIO(data)))
    assert [r.type for r in found] == ["warcinfo", *["response"] * len(records)]
    assert [(r.payload, r.http_status, r.problem) for r in found[1:]] == [(b, code, None) for b, _, code in records]
