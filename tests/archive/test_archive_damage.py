"""What is wrong in an archive is told, with its place, and the reading goes on behind it."""

import gzip
import io
import random
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_bytes import pack, packed, page, read, warc_record, warcio_records
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.archive.reader import read_records
from curate.archive.record import PROBLEMS

A, B = (
    warc_record(b"<p>a", WARC_Target_URI="http://a.example/a"),
    warc_record(b"<p>b", WARC_Target_URI="http://a.example/b"),
)
BODY = b"<p>" + b"x" * 300
HTTP_BYTES = len(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")


def length(change: int) -> bytes:
    """A record whose length is wrong by some bytes."""
    return warc_record(BODY, Content_Length=HTTP_BYTES + len(BODY) + change)


@pytest.mark.parametrize("kind", ["plain", "gzip", "gzip_whole", "lz4", "zstd"])
@pytest.mark.parametrize(
    ("record", "problem", "payload"),
    [
        (length(0), None, BODY),
        (length(-1), "bad_length", BODY[:-1]),
        (length(-200), "bad_length", BODY[:-200]),
        (length(2), None, BODY + b"\r\n"),
        (length(6), "bad_length", None),
        (length(5000), "bad_length", None),
        (length(10**15), "bad_length", None),
        (warc_record(BODY, Content_Length=None), "bad_header", b""),
        (warc_record(BODY, Content_Length="-1"), "bad_header", b""),
        (warc_record(BODY, Content_Length="twelve"), "bad_header", b""),
        (warc_record(BODY, WARC_Type=None), None, None),
        (b"\r\n\r\n\r\n" + warc_record(BODY), None, BODY),
        (b"GET / HTTP/1.0\r\nnothing\r\n\r\n", "not_a_record", b""),
        (b"\x00" * 10_000, "nothing", b""),
        (random.Random(0).randbytes(5000), "not_a_record", b""),
        (b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 5\r\n", "bad_header", b""),
    ],
)
def test_one_bad_record_between_two(kind: str, record: bytes, problem: str | None, payload: bytes | None) -> None:
    records = read(packed([A, record, B], kind))
    assert [records[0].url, records[-1].url] == ["http://a.example/a", "http://a.example/b"]
    middle = records[1:-1]
    if problem == "nothing":
        assert middle == []
        return
    assert len(middle) == 1
    found = middle[0]
    if kind != "plain" and kind != "gzip_whole" and problem == "bad_length" and payload is None:
        assert found.problem == "truncated", "the unit's end is the record's"
    else:
        assert found.problem == problem
    assert payload is None or found.payload == payload
    assert found.detail or problem is None


def test_a_length_that_is_too_long_does_not_eat_the_next_record() -> None:
    first = read(packed([A, length(6), B], "plain"))[1]
    assert first.payload.startswith(BODY)
    assert len(first.payload) <= len(BODY) + 4


def test_a_length_that_is_too_short_says_how_much_is_left_out() -> None:
    assert "+202 bytes" in read(packed([A, length(-198), B], "plain"))[1].detail


@pytest.mark.parametrize("kind", ["plain", "gzip", "gzip_whole", "lz4", "zstd"])
def test_a_file_that_ends_anywhere(kind: str) -> None:
    data = packed([A, B], kind)
    whole = len(read(packed([A], kind)))
    for end in range(1, len(data)):
        records = read(data[:end])
        assert 1 <= len(records) <= 2, end
        assert all(r.problem in PROBLEMS for r in records if r.problem)
        if len(records) == 2 and kind != "gzip_whole":
            assert records[0].problem is None
    assert whole == 1
    last = read(data[: -len(data) // 4])[-1]
    assert last.problem is not None


@pytest.mark.parametrize("kind", ["gzip", "lz4", "zstd"])
def test_bytes_between_units_are_told_and_passed_over(kind: str) -> None:
    garbage = b"\x1f\x8b\x08 not a member" * 20
    records = read(pack(A, kind) + garbage + pack(B, kind))
    assert [r.problem for r in records] == [None, "bad_compression", None]
    assert (records[1].offset, records[1].length) == (len(pack(A, kind)), len(garbage))


def test_zeros_behind_members_are_padding() -> None:
    records = read(pack(A, "gzip") + b"\0" * 200_000 + pack(B, "gzip") + b"\0" * 512)
    assert [r.problem for r in records] == [None, None]


def test_a_wrong_checksum_keeps_the_page() -> None:
    member = bytearray(pack(A, "gzip"))
    member[-6] ^= 1
    records = read(bytes(member) + pack(B, "gzip"))
    assert [r.problem for r in records] == ["bad_compression", None]
    assert records[0].payload == b"<p>a"
    assert records[0].length == len(member)


def test_damage_in_a_member_keeps_what_came_before_it() -> None:
    body = page(1, 60_000)
    member = bytearray(pack(warc_record(body), "gzip"))
    member[len(member) // 2] ^= 0xFF
    record = read(bytes(member) + pack(B, "gzip"))[0]
    assert record.problem in ("bad_compression", "truncated", "bad_length")
    assert body.startswith(record.payload[:10_000])


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_other_members_survive_damage_to_one(seed: int) -> None:
    chance = random.Random(seed)
    members = [pack(record, "gzip") for record in warcio_records(12)]
    victim = chance.randrange(12)
    broken = bytearray(members[victim])
    for _ in range(chance.randint(1, 20)):
        broken[chance.randrange(len(broken))] = chance.randrange(256)
    records = read(b"".join([*members[:victim], bytes(broken), *members[victim + 1 :]]))
    found = {r.url for r in records}
    assert found >= {f"http://a.example/{n}" for n in range(12) if n != victim}


STARTS = [
    b"",
    b"\x1f\x8b\x08\0",
    b"WARC/1.0\r\n",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"PK\x03\x04",
    b"\x50\x2a\x4d\x18",
    b"filedesc://a 1.2.3.4 20240506070809 text/plain 5\n",
]


@given(data=st.binary(max_size=400), start=st.sampled_from(STARTS))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_record_or_a_problem(data: bytes, start: bytes) -> None:
    records = read(start + data)
    assert records or not data.strip(b"\r\n\0")
    assert all(r.problem is None or r.problem in PROBLEMS for r in records)
    assert all(0 <= r.offset <= len(start + data) and r.length >= 0 for r in records)


@pytest.mark.parametrize("kind", ["plain", "gzip", "gzip_whole", "lz4", "zstd"])
def test_a_record_above_the_bound_is_cut_there(kind: str) -> None:
    large = warc_record(b"<p>" + b"y" * 50_000, WARC_Target_URI="http://a.example/large")
    records = read(packed([A, large, B], kind), most_bytes=20_000)
    assert [r.problem for r in records] == [None, "too_large", None]
    assert len(records[1].entity) == 20_000 - HTTP_BYTES
    assert records[2].url == "http://a.example/b"


def test_a_member_that_never_ends_is_left_at_the_bound() -> None:
    bomb = gzip.compress(warc_record(b"", Content_Length=10**12) + b"\0" * 80_000_000, mtime=0)
    records = list(read_records(io.BytesIO(bomb + pack(B, "gzip")), most_bytes=1_000_000))
    assert [r.problem for r in records] == ["too_large", None]
    assert len(records[0].entity) < 1_000_001


def test_the_rest_of_a_member_that_begins_above_the_bound_is_not_looked_at() -> None:
    large = warc_record(b"<p>" + b"y" * 50_000)
    assert [r.problem for r in read(pack(large + A, "gzip") + pack(B, "gzip"), most_bytes=20_000)] == [
        "too_large",
        None,
    ]
    assert [r.problem for r in read(pack(A + large + B, "gzip"), most_bytes=20_000)] == [None, "too_large", None]


def test_a_large_record_that_holds_records_is_jumped_over() -> None:
    large = warc_record(b"<p>" + b"y" * 50_000 + b"\r\n\r\n" + A + b"z" * 1000)
    assert [r.problem for r in read(large + B, most_bytes=20_000)] == ["too_large", None]


def test_a_member_of_something_else_is_left_at_the_bound() -> None:
    records = read(pack(b"<p>\n" * 10_000_000, "gzip") + pack(A, "gzip"), most_bytes=1_000_000)
    assert [r.problem for r in records] == ["not_a_record", None]
    assert int(records[0].detail.split()[0]) < 20_000_000


def test_a_long_padding_needs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse.warc"
    with path.open("wb") as file:
        file.write(A)
        file.seek(60_000_000, io.SEEK_CUR)
        file.write(B)
    tracemalloc.start()
    with path.open("rb") as file:
        urls = [r.url for r in read_records(file)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert urls == ["http://a.example/a", "http://a.example/b"]
    assert peak < 10_000_000


def test_a_header_without_an_end_is_bounded() -> None:
    endless = b"WARC/1.0\r\nWARC-Type: response\r\n" + b"X: y\r\n" * 50_000
    records = read(endless + b"\r\n" + A)
    assert [r.problem for r in records] == ["bad_header", None]


def test_zstd_with_a_dictionary_is_told() -> None:
    frame = b"\x5d\x2a\x4d\x18" + (8).to_bytes(4, "little") + b"dictdict"
    records = read(frame + pack(A, "zstd"))
    assert [(r.problem, r.offset) for r in records] == [("zstd_dictionary", 0)]


def test_frames_to_be_skipped_are_skipped() -> None:
    frame = b"\x53\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert [r.url for r in read(frame + pack(A, "zstd") + frame + pack(B, "zstd"))] == [
        "http://a.example/a",
        "http://a.example/b",
    ]


def lz4_frame(data: bytes) -> bytes:
    """Content size, block checksums and a content checksum, none of which Arrow writes; one block, stored."""
    xxhash = pytest.importorskip("xxhash")
    head = bytes([0b01111100, 0x70]) + struct.pack("<Q", len(data))
    checked = head + bytes([xxhash.xxh32(head).intdigest() >> 8 & 0xFF])
    block = struct.pack("<I", len(data) | 0x80000000) + data + struct.pack("<I", xxhash.xxh32(data).intdigest())
    return b"\x04\x22\x4d\x18" + checked + block + bytes(4) + struct.pack("<I", xxhash.xxh32(data).intdigest())


def zstd_frame(data: bytes) -> bytes:
    """A window instead of a content size, and a checksum; one block, stored."""
    xxhash = pytest.importorskip("xxhash")
    block = (len(data) << 3 | 1).to_bytes(3, "little") + data
    return b"\x28\xb5\x2f\xfd\x04\x58" + block + struct.pack("<I", xxhash.xxh64(data).intdigest() & 0xFFFFFFFF)


@pytest.mark.parametrize("frame", [lz4_frame, zstd_frame])
def test_frames_with_checksums(frame: Callable[[bytes], bytes]) -> None:
    data = frame(A) + frame(B) + frame(A)
    records = read(data)
    assert [r.problem for r in records] == [None] * 3
    assert [r.length for r in records] == [len(frame(A)), len(frame(B)), len(frame(A))]


def test_zstd_and_lz4_frames_of_every_make() -> None:
    """Blocks of all kinds: raw, run and compressed; more blocks than one."""
    bodies = [b"", b"z" * 3_000_000, random.Random(1).randbytes(900_000), page(3, 500_000)]
    for kind in ("zstd", "lz4"):
        data = b"".join(pack(warc_record(body), kind) for body in bodies)
        assert [r.payload for r in read(data, 400_000, 1_000_000)] == bodies


def test_what_is_no_archive_is_one_problem() -> None:
    records = read(b"<html>" + b"no archive " * 1000)
    assert [(r.problem, r.offset, r.length) for r in records] == [("not_an_archive", 0, 11_006)]
    assert read(b"") == []
    assert len(read(b"<html>" + b"no archive " * 1000, 500)) == 1


def test_a_file_that_begins_with_something_else() -> None:
    for kind in ("plain", "gzip", "lz4", "zstd"):
        records = read(
            b"#!/bin/sh\nsome text\n" + pack(A, kind) + pack(B, kind) if kind != "plain" else b"text\n" + A + B
        )
        assert [r.url for r in records][-2:] == ["http://a.example/a", "http://a.example/b"], kind
        assert records[0].problem in ("not_a_record", "bad_compression")


def wacz(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def test_the_archives_of_a_wacz_have_offsets_of_the_file() -> None:
    data = wacz({"datapackage.json": b"{}", "archive/1.warc.gz": packed([A, B], "gzip"), "archive/2.warc": A + B})
    records = read(data)
    assert [r.url[-1] for r in records] == ["a", "b", "a", "b"]
    assert data[records[3].offset :].startswith(B)
    for cut in range(1, len(data), 11):
        assert read(data, cut) == records


def test_a_compressed_archive_in_a_wacz_is_read_too() -> None:
    data = wacz({"archive/1.warc": A + B, "archive/2.warc.gz": packed([A, B], "gzip")}, zipfile.ZIP_DEFLATED)
    records = read(data)
    assert [r.url[-1] for r in records] == ["a", "b", "a", "b"]
    assert [(r.offset, r.length) for r in records[:2]] == [(0, 0)] * 2
    for cut in range(1, len(data), 11):
        assert read(data, cut) == records


def test_broken_zips_are_problems() -> None:
    data = wacz({"archive/1.warc": A + B})
    assert [r.problem for r in read(data[:-30])] == ["bad_zip"]
    assert [r.problem for r in read(wacz({"pages.jsonl": b"{}"}))] == ["bad_zip"]
    assert [r.problem for r in read(wacz({"archive/1.warc": A}, zipfile.ZIP_BZIP2))] == ["bad_zip"]
    damaged = bytearray(wacz({"archive/1.warc": A + b"".join(warcio_records(20)) + B}, zipfile.ZIP_DEFLATED))
    damaged[len(damaged) // 2] ^= 0xFF
    assert [r.problem for r in read(bytes(damaged))] == ["bad_zip"]


def test_members_that_share_bytes_are_read_once() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("archive/1.warc", A)
        archive.filelist *= 1000
        archive.NameToInfo.update()
    records = read(sink.getvalue())
    assert [r.problem for r in records].count(None) == 1
    assert {r.problem for r in records} == {None, "bad_zip"}


def test_arc_of_both_versions() -> None:
    http = b"HTTP/1.0 404 Not Found\r\nContent-Type: text/html\r\n\r\n<p>gone"
    one = b"http://a.example/a b 127.0.0.1 20240506070809 text/html %d\n%b\n" % (len(http), http)
    two = b"http://a.example/ 127.0.0.1 20240506070809 text/html 404 - - 0 x.arc %d\n%b\n" % (len(http), http)
    dns = b"dns:a.example 127.0.0.1 20240506070809 text/dns 4\nhost\n"
    about = b"1 0 A\nURL IP-address Archive-date Content-type Archive-length\n"
    head = b"filedesc://x.arc 0.0.0.0 20240506070809 text/plain %d\n%b\n" % (len(about), about)
    for data in (head + one + two + dns, b"".join(pack(r, "gzip") for r in (head, one, two, dns))):
        records = read(data)
        assert [r.url for r in records] == [
            "filedesc://x.arc",
            "http://a.example/a b",
            "http://a.example/",
            "dns:a.example",
        ]
        assert [r.type for r in records] == ["warcinfo", "response", "response", "response"]
        assert [r.http_status for r in records] == [None, 404, 404, None]
        assert [r.payload for r in records[1:]] == [b"<p>gone", b"<p>gone", b"host"]
        assert records[1].date == "2024-05-06T07:08:09Z"
        assert not [r for r in records if r.problem]


def test_versions_and_line_ends_of_headers() -> None:
    for version in (b"0.17", b"0.18", b"1.0", b"1.1"):
        for end in (b"\r\n", b"\n"):
            head = (
                b"WARC/" + version + b"\nwarc-type: Resource\nWARC-Target-URI: <http://a.example/>\nContent-Length: 4"
            )
            data = head.replace(b"\n", end) + end + end + b"text" + end + end
            records = read(data + data)
            assert [(r.type, r.url, r.payload, r.problem) for r in records] == [
                ("resource", "http://a.example/", b"text", None)
            ] * 2


def test_a_digest_is_that_of_the_bytes_as_archived() -> None:
    body = zlib.compress(b"<p>hello")
    record = read(warc_record(body, b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n"))[0]
    assert record.payload == b"<p>hello"
    assert record.entity == body
    assert record.payload_digest != read(warc_record(b"<p>hello"))[0].payload_digest
    assert read(warc_record(b""))[0].payload_digest == "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ"


@pytest.mark.parametrize(("count", "found"), [(49_000, True), (60_000, False)])
def test_a_file_of_magic_numbers_is_given_up_at_some_point(count: int, found: bool) -> None:
    records = read(pack(A, "gzip") + b"\x1f\x8b\x08" * count + pack(B, "gzip"))
    assert [r.problem for r in records] == [None, "bad_compression", *([None] if found else [])]
    assert sum(r.length for r in records) == len(pack(A, "gzip") + b"\x1f\x8b\x08" * count + pack(B, "gzip"))


def test_headers_within_headers_take_no_time_of_their_own() -> None:
    """Each is a problem, and none reads on to the next blank line."""
    records = read(A + b"WARC/1.0\r\na:\r\n" * 20_000 + B)
    assert len(records) == 20_002
    assert records[-1].url == "http://a.example/b"
