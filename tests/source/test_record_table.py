"""Pages by pointers: one range request each, in the order of the table, and a status for every one that fails."""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_bytes import pack, packed, page, read, warc_record, warcio_records
from range_server import serving

from curate.archive.reader import MOST_BYTES
from curate.errors import ConfigError, SourceError
from curate.shard import Shard
from curate.source import open_archive
from curate.source.kinds import build_source
from curate.source.raw_page import OK, RawPage
from curate.source.record_table import RecordTable
from curate.storage import Storage

NAMES = ("url", "warc_filename", "warc_record_offset", "warc_record_length")
PAGES = [warc_record(page(n, 2000), WARC_Target_URI=f"http://a/{n}") for n in range(40)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_archive, "_PAUSES_S", (0.0, 0.0))


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return Shard(Storage(str(tmp_path / "set")), "00000")


def write_table(path: Path, rows: list[tuple[Any, ...]], names: tuple[str, ...] = NAMES) -> str:
    if path.suffix == ".csv":
        with path.open("w", newline="") as handle:
            csv.writer(handle).writerows([names, *rows])
    else:
        pq.write_table(pa.table([list(c) for c in zip(*rows, strict=True)], list(names)), path)
    return str(path)


def pointers(data: bytes, name: str = "a.warc.gz") -> list[tuple[Any, ...]]:
    return [(r.url, name, r.offset, r.length) for r in read(data)]


def pages(source: RecordTable, shard: Shard) -> list[RawPage]:
    tables = [pa.Table.from_batches(list(part)) for part in source.parts()]
    return [p for table in tables for p in source.pages(table, shard)]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["plain", "gzip", "lz4", "zstd"])
def test_each_pointer_is_a_page(tmp_path: Path, shard: Shard, ending: str, kind: str) -> None:
    data = packed(PAGES, kind)
    (tmp_path / "a.warc.gz").write_bytes(data)
    rows = pointers(data)[::-1]
    source = RecordTable(write_table(tmp_path / f"index.{ending}", rows), prefix=str(tmp_path))
    found = pages(source, shard)
    assert [p.url for p in found] == [r[0] for r in rows]
    assert [p.body for p in found] == [page(n, 2000) for n in range(39, -1, -1)]
    assert [(p.offset, p.length, p.row) for p in found] == [(r[2], r[3], i) for i, r in enumerate(rows)]
    assert {p.status for p in found} == {OK}


@pytest.mark.parametrize("odd", ["x", "1.5", "", "nan", "1e300"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_cell_that_is_no_number_is_a_bad_pointer(tmp_path: Path, shard: Shard, ending: str, odd: str) -> None:
    (tmp_path / "a.warc.gz").write_bytes(packed(PAGES, "gzip"))
    url, name, offset, length = pointers(packed(PAGES, "gzip"))[0]
    first = (url, name, str(offset), str(length))
    rows = [first, (url, name, odd, str(length)), first]
    source = RecordTable(write_table(tmp_path / f"index.{ending}", rows), prefix=str(tmp_path))
    assert [p.status for p in pages(source, shard)] == [OK, "bad_pointer", OK]


def test_numbers_with_a_point_and_with_gaps_are_read(tmp_path: Path, shard: Shard) -> None:
    (tmp_path / "a.warc.gz").write_bytes(packed(PAGES, "gzip"))
    url, name, offset, length = pointers(packed(PAGES, "gzip"))[1]
    rows = [(url, name, float(offset), float(length)), (url, name, float("nan"), float(length))]
    source = RecordTable(write_table(tmp_path / "index.parquet", rows), prefix=str(tmp_path))
    assert [p.status for p in pages(source, shard)] == [OK, "bad_pointer"]


def test_pointers_that_lead_nowhere_keep_their_place(tmp_path: Path, shard: Shard) -> None:
    data = packed(warcio_records(4), "gzip")
    (tmp_path / "a.warc.gz").write_bytes(data)
    ok, request, revisit, moved = pointers(data)
    rows = [
        ok,
        ("http://a/none", None, 0, 5),
        ("http://a/none", "a.warc.gz", None, 5),
        ("http://a/none", "a.warc.gz", -1, 5),
        ("http://a/none", "a.warc.gz", 0, 0),
        ("http://a/none", "gone.warc.gz", 0, 500),
        ("http://a/none", "a.warc.gz", len(data) + 9, 500),
        ("http://a/none", "a.warc.gz", ok[2] + 1, ok[3]),
        ("http://a/none", "a.warc.gz", 0, MOST_BYTES + 1),
        (ok[0], "a.warc.gz", ok[2], ok[3] - 40),
        request,
        revisit,
        moved,
        ok,
    ]
    source = RecordTable(write_table(tmp_path / "index.parquet", rows), prefix=str(tmp_path), at_once=3)
    found = pages(source, shard)
    assert [p.status for p in found] == [
        OK,
        *["bad_pointer"] * 4,
        "archive_unreadable",
        "truncated",
        "not_an_archive",
        "too_large",
        OK,
        "not_a_page",
        "revisit",
        "http_301",
        OK,
    ]
    assert found[9].detail.startswith("truncated")
    assert [p.row for p in found] == list(range(14))
    assert [p.url for p in found[1:9]] == ["http://a/none"] * 8


def test_other_column_names(tmp_path: Path, shard: Shard) -> None:
    data = pack(PAGES[0], "gzip")
    (tmp_path / "a.warc.gz").write_bytes(data)
    path = write_table(tmp_path / "index.csv", pointers(data), ("u", "f", "o", "l"))
    named = {"url_column": "u", "file_column": "f", "offset_column": "o", "length_column": "l"}
    assert [p.status for p in pages(RecordTable(path, prefix=str(tmp_path), **named), shard)] == [OK]
    with pytest.raises(SourceError, match="warc_filename"):
        pages(RecordTable(path, url_column="u"), shard)
    with pytest.raises(ConfigError, match="at_once"):
        build_source({"kind": "record_table", "path": path, "at_once": 0})


def test_a_web_server_is_asked_for_the_ranges_alone(tmp_path: Path, shard: Shard) -> None:
    data = packed(PAGES, "gzip")
    (tmp_path / "a.warc.gz").write_bytes(data)
    rows = pointers(data)[5:15]
    path = write_table(tmp_path / "index.parquet", rows)
    with serving(tmp_path) as server:
        found = pages(RecordTable(path, prefix=server.url), shard)
        assert sorted(r for _, _, r in server.asked) == sorted(f"bytes={o}-{o + n - 1}" for _, _, o, n in rows)
        assert server.sent_bytes == sum(r[3] for r in rows)
    assert [p.url for p in found] == [r[0] for r in rows]


def test_a_web_server_without_ranges_is_told(tmp_path: Path, shard: Shard) -> None:
    data = packed(PAGES, "gzip")
    (tmp_path / "a.warc.gz").write_bytes(data)
    path = write_table(tmp_path / "index.parquet", pointers(data)[-2:])
    with serving(tmp_path, ranges=False) as server:
        found = pages(RecordTable(path, prefix=server.url), shard)
    assert [p.status for p in found] == ["archive_unreadable"] * 2
    assert "range" in found[0].detail


def test_a_web_server_that_fails_once_is_asked_again(tmp_path: Path, shard: Shard) -> None:
    data = packed(PAGES, "gzip")
    (tmp_path / "a.warc.gz").write_bytes(data)
    path = write_table(tmp_path / "index.parquet", pointers(data)[:3])
    with serving(tmp_path, failures=2) as server:
        assert [p.status for p in pages(RecordTable(path, prefix=server.url, at_once=1), shard)] == [OK] * 3


def test_pointers_into_a_bucket(s3: Storage, tmp_path: Path, shard: Shard) -> None:
    data = packed(PAGES, "gzip")
    s3.write("crawl/a.warc.gz", data)
    rows = [*pointers(data, "crawl/a.warc.gz"), ("http://a/none", "crawl/gone.warc.gz", 0, 500)]
    path = write_table(tmp_path / "index.parquet", rows)
    found = pages(RecordTable(path, prefix=s3.root), shard)
    assert [p.status for p in found] == [OK] * 40 + ["archive_unreadable"]
    assert [p.body for p in found[:40]] == [page(n, 2000) for n in range(40)]


def test_stopping_early_leaves_nothing_behind(tmp_path: Path, shard: Shard) -> None:
    data = packed(PAGES, "gzip")
    (tmp_path / "a.warc.gz").write_bytes(data)
    source = RecordTable(write_table(tmp_path / "index.parquet", pointers(data)), prefix=str(tmp_path))
    table = pa.Table.from_batches(list(next(source.parts())))
    stream = source.pages(table, shard)
    assert next(stream).url == "http://a/0"
    stream.close()
