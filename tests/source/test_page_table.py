"""Tables of page URLs: the formats of a URL table, and pages from the archive that was fetched for them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.config import build
from curate.errors import ConfigError, SourceError
from curate.fetch.pages import FETCHED_COLUMNS
from curate.fetch.warc import response_record, warcinfo_record
from curate.manifest import Attempt
from curate.shard import Shard
from curate.source.kinds import build_source
from curate.source.page_table import PageTable
from curate.storage import Storage


def rows(source: PageTable) -> list[dict[str, object]]:
    return [row for part in source.parts() for batch in part for row in batch.to_pylist()]


def test_rows_are_those_of_a_table_of_urls(tmp_path: Path) -> None:
    (tmp_path / "pages.csv").write_text("link,rank,note\nhttp://a.test/,1,x\n,2,y\n")
    source = PageTable(str(tmp_path), url_column="link", columns=("rank",), types={"rank": "int"})
    assert rows(source) == [{"rank": 1, "url": "http://a.test/"}, {"rank": 2, "url": ""}]
    assert source.known_columns() == ("rank", "url")
    assert source.fetches_pages
    with source.serve() as addresses:
        assert addresses == {}


def test_a_list_and_a_parquet_file_are_tables_too(tmp_path: Path) -> None:
    (tmp_path / "pages.txt").write_text("http://a.test/1\nhttp://a.test/2\n")
    pq.write_table(pa.table({"url": ["http://a.test/3"], "title": ["said elsewhere"]}), tmp_path / "pages.parquet")
    assert [r["url"] for r in rows(PageTable(str(tmp_path / "pages.txt")))] == ["http://a.test/1", "http://a.test/2"]
    source = build_source({"kind": "page_table", "path": str(tmp_path / "pages.parquet"), "columns": "all"})
    assert source.known_columns() is None
    assert [list(row) for part in source.parts() for b in part for row in b.to_pylist()] == [["title", "url"]]


def test_the_identity_is_that_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "pages.txt").write_text("http://a.test/1\n")
    before = PageTable(str(tmp_path)).identity()
    assert PageTable(str(tmp_path)).identity() == before
    (tmp_path / "pages.txt").write_text("http://a.test/1\nhttp://a.test/2\n")
    assert PageTable(str(tmp_path)).identity() != before


@pytest.mark.parametrize("column", ["title", "charset", "page_status"])
def test_a_column_that_a_later_stage_writes_is_refused(column: str) -> None:
    with pytest.raises(ConfigError, match=f"'{column}' is written by a later stage"):
        build(PageTable, {"path": "x.csv", "columns": [column]}, "source")


def test_a_table_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no parquet or csv"):
        rows(PageTable(str(tmp_path)))


def shard_of(root: Path, archive: bytes, found: list[dict[str, object]]) -> Shard:
    attempt = Attempt(Storage(str(root)), "fetch_pages", "00000", "0")
    attempt.write_bytes("00000.warc.gz", archive)
    attempt.write_table("00000.pages.parquet", pa.Table.from_pylist(found, pa.schema(FETCHED_COLUMNS)))
    attempt.commit()
    return Shard(attempt.storage, "00000")


def test_pages_come_from_the_archive_in_row_order_the_missing_ones_too(tmp_path: Path) -> None:
    first, second = warcinfo_record("00000"), response_record("1", "http://a.test/2", 200, "text/html", b"<p>two")
    found = [
        {"page_url": "http://a.test/1", "page_status": "not_found", "page_detail": "HTTP 404", "page_http_status": 404},
        {
            "page_url": "http://a.test/redirect",
            "page_final_url": "http://a.test/2",
            "page_status": "ok",
            "page_http_status": 200,
            "page_content_type": "text/html",
            "page_offset": len(first),
            "page_length": len(second),
        },
    ]
    shard = shard_of(tmp_path, first + second, found)
    missing, page = PageTable("x.txt").pages(pa.table({"url": ["", ""]}), shard)
    assert (missing.url, missing.status, missing.detail, missing.body) == (
        "http://a.test/1",
        "not_found",
        "HTTP 404",
        b"",
    )
    assert (page.url, page.status, page.body, page.content_type) == ("http://a.test/2", "ok", b"<p>two", "text/html")
    assert (page.file, page.offset, page.length, page.row) == ("00000.warc.gz", len(first), len(second), 1)


@pytest.mark.parametrize("cut", [300, 30, 0])
def test_a_record_that_was_cut_off_is_a_page_with_that_status(tmp_path: Path, cut: int) -> None:
    record = response_record("0", "http://a.test/", 200, "text/html", bytes(range(256)) * 8)
    found = {"page_url": "u", "page_status": "ok", "page_offset": 0, "page_length": len(record)}
    shard = shard_of(tmp_path, record[:cut], [found])
    (page,) = PageTable("x.txt").pages(pa.table({"url": [""]}), shard)
    assert page.status != "ok"
