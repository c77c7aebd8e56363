"""Archives as a source: which files, which ranges, which records are pages, and what is said of the others."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from archive_bytes import pack, packed, page, warc_record, warcio_records
from range_server import serving

from curate.errors import ConfigError, SourceError, StorageError
from curate.shard import Shard
from curate.source import open_archive
from curate.source.archive_files import under
from curate.source.archives import Archives
from curate.source.kinds import build_source
from curate.source.open_archive import is_final
from curate.source.raw_page import OK, RawPage
from curate.source.record_page import is_html
from curate.storage import Storage

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
HTML = b"<!doctype html><p>hello"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_archive, "_PAUSES_S", (0.0, 0.0))


def ranges(source: Archives) -> list[dict[str, Any]]:
    return [row for part in source.parts() for batch in part for row in batch.to_pylist()]


def pages(source: Archives, shard: Shard) -> list[RawPage]:
    return [p for part in source.parts() for batch in part for p in source.pages(pa.Table.from_batches([batch]), shard)]


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return Shard(Storage(str(tmp_path / "set")), "00000")


def one(tmp_path: Path, shard: Shard, record: bytes) -> list[RawPage]:
    (tmp_path / "one.warc.gz").write_bytes(pack(record, "gzip"))
    return pages(Archives(str(tmp_path / "one.warc.gz")), shard)


HTTP = b"HTTP/1.1 200 OK\r\n"
TYPED = HTTP + b"Content-Type: text/html; charset=x\r\n"


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (warc_record(HTML, TYPED), OK),
        (warc_record(HTML, HTTP + b"Content-Type: application/xhtml+xml\r\n"), OK),
        (warc_record(HTML, HTTP + b"content-type: TEXT/HTML\r\n"), OK),
        (warc_record(HTML, HTTP), OK),
        (warc_record(b"\xef\xbb\xbf \n<HTML>", HTTP), OK),
        (warc_record(b"", b"<html><p>no HTTP"), OK),
        (warc_record(b"\x89PNG\r\n", HTTP), "not_html"),
        (warc_record(b"just text", HTTP), "not_html"),
        (warc_record(HTML, HTTP + b"Content-Type: text/plain\r\n"), "not_html"),
        (warc_record(HTML, HTTP + b"Content-Type: image/png\r\n"), "not_html"),
        (warc_record(HTML, HTTP + b"Content-Type: nonsense\r\n"), OK),
        (warc_record(HTML, TYPED.replace(b"200", b"404")), "http_404"),
        (warc_record(HTML, TYPED.replace(b"200", b"299")), OK),
        (warc_record(HTML, TYPED.replace(b"200", b"300")), "http_300"),
        (warc_record(HTML, TYPED.replace(b"200", b"199")), "http_199"),
        (warc_record(b"", TYPED.replace(b"200", b"301")), "http_301"),
        (warc_record(HTML, TYPED, WARC_Type="revisit"), "revisit"),
        (warc_record(HTML, TYPED, WARC_Type="continuation"), "not_a_page"),
        (warc_record(HTML, TYPED + b"Content-Encoding: compress, br\r\n"), OK),
        (warc_record(b"\x80\x81" * 50, TYPED + b"Content-Encoding: compress\r\n"), "unknown_coding"),
        (warc_record(b"3\r\nabc\r\nzz\r\n", TYPED + b"Transfer-Encoding: chunked\r\n"), "bad_chunks"),
        (warc_record(HTML, TYPED, Content_Length=None), "bad_header"),
        (b"no record at all", "not_a_record"),
    ],
)
def test_what_a_record_is_as_a_page(tmp_path: Path, shard: Shard, record: bytes, status: str) -> None:
    found = one(tmp_path, shard, record)
    assert [p.status for p in found] == [status]
    assert (found[0].body != b"") == (status == OK)


@pytest.mark.parametrize("kind", ["request", "metadata", "warcinfo"])
def test_records_that_speak_of_others_are_passed_over(tmp_path: Path, shard: Shard, kind: str) -> None:
    assert one(tmp_path, shard, warc_record(HTML, WARC_Type=kind)) == []


def test_a_page_says_where_it_lies(tmp_path: Path, shard: Shard) -> None:
    record = pack(warc_record(HTML, TYPED), "gzip")
    (tmp_path / "two.warc.gz").write_bytes(record + record)
    found = pages(Archives(str(tmp_path / "two.warc.gz")), shard)[1]
    assert found == RawPage(
        url="http://a.example/",
        body=HTML,
        content_type="text/html; charset=x",
        http_status=200,
        date="2024-05-06T07:08:09Z",
        file=str(tmp_path / "two.warc.gz"),
        offset=len(record),
        length=len(record),
    )


def test_a_resource_is_a_page_by_its_own_type(tmp_path: Path, shard: Shard) -> None:
    head = b"WARC/1.0\r\nWARC-Type: resource\r\nWARC-Target-URI: urn:x\r\nContent-Type: text/html\r\n"
    head += b"Content-Length: 4\r\n\r\n"
    assert [(p.status, p.body) for p in one(tmp_path, shard, head + b"<p>a\r\n\r\n")] == [(OK, b"<p>a")]


def test_a_conversion_has_text(tmp_path: Path, shard: Shard) -> None:
    head = b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n"
    found = one(tmp_path, shard, head + "héé".encode() + b"\r\n\r\n")[0]
    assert (found.status, found.text, found.body) == (OK, "héé", b"")


def test_a_page_that_was_cut_off_is_kept_and_marked(tmp_path: Path, shard: Shard) -> None:
    data = pack(warc_record(page(1, 6000), TYPED), "gzip")
    (tmp_path / "cut.warc.gz").write_bytes(data[: len(data) // 2])
    found = pages(Archives(str(tmp_path / "cut.warc.gz")), shard)[0]
    assert found.status == OK
    assert found.detail.startswith("truncated: the file ends")
    assert page(1, 6000).startswith(found.body)
    (tmp_path / "cut.warc.gz").write_bytes(data[:60])
    assert [p.status for p in pages(Archives(str(tmp_path / "cut.warc.gz")), shard)] == ["truncated"]


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/html", b"", True),
        ("text/html ; charset=utf-8", b"", True),
        ("text/htmlx", b"<html>", False),
        ("application/json", b"<html>", False),
        (None, b"<html>", True),
        (None, b"\n <!DOCTYPE HTML PUBLIC", True),
        (None, b"<?xml version='1.0'?><html xmlns=x>", True),
        (None, b"<?xml version='1.0'?><rss>", False),
        (None, b"", False),
        ("unknown/unknown", b"<body>", True),
        ("*/*", b"<body>", True),
        (None, b" " * 2000 + b"<html>", False),
    ],
)
def test_html_is_told_by_type_or_by_its_first_bytes(content_type: str | None, body: bytes, expected: bool) -> None:
    assert is_html(content_type, body) is expected


def test_ranges_are_cut_by_size_alone(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"x" * 2_500_000)
    (tmp_path / "b.arc").write_bytes(b"x" * 1_000_000)
    (tmp_path / "notes.txt").write_bytes(b"x")
    (tmp_path / "_SUCCESS").write_bytes(b"")
    rows = ranges(Archives(str(tmp_path), range_mb=1))
    assert [(Path(r["archive"]).name, r["start"], r["end"], r["url"]) for r in rows] == [
        ("a.warc.gz", 0, 1_000_000, None),
        ("a.warc.gz", 1_000_000, 2_000_000, None),
        ("a.warc.gz", 2_000_000, None, None),
        ("b.arc", 0, None, None),
    ]


@pytest.mark.parametrize("kind", ["plain", "gzip", "gzip_whole", "lz4", "zstd"])
def test_any_range_gives_the_same_pages(tmp_path: Path, shard: Shard, kind: str) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(packed([warc_record(page(n, 40_000), WARC_Target_URI=f"http://a/{n}") for n in range(120)], kind))
    found = pages(Archives(str(path), range_mb=1), shard)
    assert [p.url for p in found] == [f"http://a/{n}" for n in range(120)]
    assert found == pages(Archives(str(path), range_mb=1000), shard)
    assert len(ranges(Archives(str(path), range_mb=1))) >= (2 if kind not in ("gzip_whole",) else 1)


def test_a_file_without_bytes_is_told(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"")
    (found,) = pages(Archives(str(tmp_path / "a.warc.gz")), shard)
    assert (found.status, found.file, found.offset) == ("not_an_archive", str(tmp_path / "a.warc.gz"), 0)


def test_a_list_of_paths_is_put_behind_the_prefix(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "crawl").mkdir()
    for name in ("a", "b"):
        (tmp_path / "crawl" / f"{name}.warc.gz").write_bytes(packed([warc_record(HTML, TYPED)], "gzip"))
    lines = "crawl/b.warc.gz\n\ncrawl/a.warc.gz\ncrawl/gone.warc.gz\n"
    (tmp_path / "warc.paths.gz").write_bytes(gzip.compress(lines.encode()))
    source = Archives(paths_file=str(tmp_path / "warc.paths.gz"), prefix=str(tmp_path))
    found = pages(source, shard)
    assert [(Path(p.file or "").name, p.status) for p in found] == [
        ("b.warc.gz", OK),
        ("a.warc.gz", OK),
        ("gone.warc.gz", "archive_unreadable"),
    ]
    assert "no such file" in found[2].detail


@pytest.mark.parametrize(
    ("prefix", "path", "url"),
    [
        ("https://a.example/", "b/c.gz", "https://a.example/b/c.gz"),
        ("s3://commoncrawl", "b/c.gz ", "s3://commoncrawl/b/c.gz"),
        ("/mirror/", "b/c.gz", "/mirror/b/c.gz"),
        ("/mirror/", "/b/c.gz", "/b/c.gz"),
        ("/mirror/", "s3://b/c.gz", "s3://b/c.gz"),
    ],
)
def test_where_a_path_of_a_list_lies(prefix: str, path: str, url: str) -> None:
    assert under(prefix, path) == url


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either path or paths_file"):
        build_source({"kind": "archives"})
    with pytest.raises(ConfigError, match="either path or paths_file"):
        build_source({"kind": "archives", "path": "a", "paths_file": "b"})
    with pytest.raises(ConfigError, match="range_mb"):
        build_source({"kind": "archives", "path": "a", "range_mb": 0})
    with pytest.raises(SourceError, match="check \\[source\\] path"):
        ranges(Archives(str(tmp_path)))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SourceError, match="check \\[source\\] path"):
        ranges(Archives(paths_file=str(tmp_path / "empty.txt")))


def test_the_identity_tells_files_and_ranges_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"x" * 100)
    before = Archives(str(path)).identity()
    assert Archives(str(path)).identity() == before
    assert Archives(str(path), range_mb=1).identity() != before
    path.write_bytes(b"x" * 101)
    assert Archives(str(path)).identity() != before


class Answer(Exception):
    """What a web client raises for a status."""

    def __init__(self, status: int) -> None:
        self.status = status


def test_archives_on_a_web_server_are_read_by_ranges(tmp_path: Path, shard: Shard) -> None:
    records = [warc_record(page(n, 60_000), WARC_Target_URI=f"http://a/{n}") for n in range(200)]
    (tmp_path / "a.warc.gz").write_bytes(packed(records, "gzip"))
    (tmp_path / "paths.txt").write_text("a.warc.gz\n")
    with serving(tmp_path) as server:
        source = Archives(paths_file=str(tmp_path / "paths.txt"), prefix=server.url, range_mb=1)
        assert len(ranges(source)) >= 4
        found = pages(source, shard)
        assert all(r for method, _, r in server.asked if method == "GET")
    assert [p.url for p in found] == [f"http://a/{n}" for n in range(200)]


def test_a_server_that_fails_for_a_while_is_asked_again(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "a.warc.gz").write_bytes(packed(warcio_records(8), "gzip"))
    (tmp_path / "paths.txt").write_text("a.warc.gz\n")
    with serving(tmp_path, failures=2) as server:
        found = pages(Archives(paths_file=str(tmp_path / "paths.txt"), prefix=server.url), shard)
        assert [p.status for p in found] == [OK, "revisit", "http_301"] * 2
    with serving(tmp_path, failures=1000) as server, pytest.raises(StorageError, match="503"):
        pages(Archives(paths_file=str(tmp_path / "paths.txt"), prefix=server.url), shard)


@pytest.mark.parametrize(
    ("cause", "final"),
    [
        (FileNotFoundError(), True),
        (PermissionError(), True),
        (OSError("timed out"), False),
        (ConnectionError(), False),
        (Answer(403), True),
        (Answer(410), True),
        (Answer(429), False),
        (Answer(503), False),
    ],
)
def test_an_outage_is_no_final_answer(cause: Exception, final: bool) -> None:
    error = StorageError("cannot read it")
    error.__cause__ = cause
    assert is_final(error) == final


def test_archives_in_a_bucket(s3: Storage, shard: Shard) -> None:
    s3.write("crawl/a.warc.gz", packed(warcio_records(8), "gzip"))
    s3.write("warc.paths", b"crawl/a.warc.gz\ncrawl/gone.warc.gz\n")
    found = pages(Archives(f"{s3.root}/crawl/*.warc.gz"), shard)
    assert [p.status for p in found] == [OK, "revisit", "http_301"] * 2
    listed = pages(Archives(paths_file=f"{s3.root}/warc.paths", prefix=s3.root), shard)
    assert [p.status for p in listed] == [OK, "revisit", "http_301"] * 2 + ["archive_unreadable"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not beside the checkout")
def test_real_archives_are_read_the_same_in_any_ranges(shard: Shard) -> None:
    for folder in ("web", "broken"):
        whole = pages(Archives(str(DATA / folder / "warc"), range_mb=1000), shard)
        assert whole == pages(Archives(str(DATA / folder / "warc"), range_mb=1), shard)
        assert len([p for p in whole if p.status == OK]) > 40
        assert all(p.file and p.offset is not None for p in whole)
