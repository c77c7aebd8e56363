"""What a server did to a body is undone, as far as it was done, within a bound."""

import gzip
import random
import zlib

import pyarrow as pa
import pytest
from archive_bytes import read, warc_record
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.archive.coding import join_chunks, undo_codings
from curate.archive.record import PROBLEMS

HTML = b"<!doctype html><p>" + random.Random(5).randbytes(3000).hex().encode()


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


def brotli(data: bytes) -> bytes:
    return pa.compress(data, codec="brotli", asbytes=True)


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize(
    ("body", "joined", "problem"),
    [
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc", None),
        (b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789", None),
        (b"3\nabc\n2\nde\n0\n\n", b"abcde", None),
        (b"3;name=value\r\nabc\r\n0\r\nTrailer: x\r\n\r\n", b"abc", None),
        (b" 3 \r\nabc\r\n000\r\n", b"abc", None),
        (b"3\r\nabc\r\n", b"abc", "truncated"),
        (b"9\r\nabc\r\n", b"abc\r\n", "truncated"),
        (b"3\r\nabc\r\nzz\r\nde\r\n0\r\n\r\n", b"abc", "bad_chunks"),
        (b"3\r\nabcz\r\n0\r\n\r\n", b"abc", "bad_chunks"),
        (b"<!doctype html>", b"<!doctype html>", None),
        (b"", b"", None),
        (b"0\r\n\r\n", b"", None),
        (b"face\r\nis a word here", b"face\r\nis a word here", None),
        (b"ffffffffffffffffffff\r\nabc", b"ffffffffffffffffffff\r\nabc", None),
    ],
)
def test_chunks(body: bytes, joined: bytes, problem: str | None) -> None:
    done = join_chunks(body)
    assert (done.data, done.problem) == (joined, problem)


@pytest.mark.parametrize(
    ("coded", "header"),
    [
        (gzip.compress(HTML), "gzip"),
        (gzip.compress(HTML), "x-gzip"),
        (gzip.compress(HTML), " GZIP "),
        (zlib.compress(HTML), "deflate"),
        (raw_deflate(HTML), "deflate"),
        (brotli(HTML), "br"),
        (zstd(HTML), "zstd"),
        (gzip.compress(brotli(HTML)), "br, gzip"),
        (HTML, "gzip"),
        (HTML, "deflate"),
        (HTML, "br"),
        (HTML, "zstd"),
        (HTML, "identity"),
        (HTML, "UTF-8"),
        (HTML, "none, gzip"),
        (HTML, "sdch"),
        (HTML, ""),
    ],
)
def test_codings(coded: bytes, header: str) -> None:
    assert undo_codings(coded, header, 1 << 20) == (HTML, None, "")


@pytest.mark.parametrize(
    ("coded", "header", "problem", "kept"),
    [
        (gzip.compress(HTML)[:-20], "gzip", "truncated", 5000),
        (zlib.compress(HTML)[:-20], "deflate", "truncated", 5000),
        (raw_deflate(HTML)[:-20], "deflate", "truncated", 5000),
        (gzip.compress(HTML)[:1000] + b"\xff" * 500, "gzip", "bad_coding", 1000),
        (zstd(HTML)[:-20], "zstd", "bad_coding", 0),
        (b"\x80\x81\x82" * 100, "br", "bad_coding", 0),
        (b"\x80\x81\x82" * 100, "compress", "unknown_coding", 300),
        (HTML, "gzip, gzip, gzip, gzip", "unknown_coding", len(HTML)),
    ],
)
def test_codings_that_break(coded: bytes, header: str, problem: str, kept: int) -> None:
    done = undo_codings(coded, header, 1 << 20)
    assert done.problem == problem
    assert done.problem in PROBLEMS
    assert len(done.data) >= kept
    assert done.detail


@pytest.mark.parametrize("code", [gzip.compress, zlib.compress, raw_deflate, brotli, zstd])
def test_no_bomb_passes(code) -> None:
    header = {gzip.compress: "gzip", brotli: "br", zstd: "zstd"}.get(code, "deflate")
    at_bound = undo_codings(code(b"\0" * 100_000), header, 100_000)
    assert (len(at_bound.data), at_bound.problem) == (100_000, None)
    above = undo_codings(code(b"\0" * 50_000_000), header, 100_000)
    assert (len(above.data), above.problem) == (100_000, "too_large")


def test_a_bomb_in_a_bomb_is_bounded_at_each_layer() -> None:
    done = undo_codings(gzip.compress(gzip.compress(b"\0" * 100_000_000)), "gzip, gzip", 1 << 20)
    assert (len(done.data), done.problem) == (1 << 20, "too_large")


@given(data=st.binary(max_size=300), header=st.sampled_from(["gzip", "deflate", "br", "zstd", "br, gzip"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_undone_or_a_problem(data: bytes, header: str) -> None:
    for body in (data, b"\x1f\x8b\x08\0" + data, b"\x28\xb5\x2f\xfd" + data):
        done = undo_codings(body, header, 10_000)
        assert len(done.data) <= max(10_000, len(body))
        assert done.problem is None or done.problem in PROBLEMS


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_chunks_are_joined_or_a_problem(data: bytes) -> None:
    for body in (data, b"1\r\na\r\n" + data):
        done = join_chunks(body)
        assert done.problem is None or done.problem in PROBLEMS
        assert len(done.data) <= len(body)


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


@pytest.mark.parametrize(
    ("http", "body", "payload", "problem"),
    [
        (HEADERS, HTML, HTML, None),
        (HEADERS.replace(b"\r\n", b"\n"), HTML, HTML, None),
        (HEADERS + b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(HTML), HTML), HTML, None),
        (HEADERS + b"Transfer-Encoding: chunked\r\n", HTML, HTML, None),
        (
            HEADERS + b"Transfer-Encoding: Chunked\r\nContent-Encoding: gzip\r\n",
            b"5\r\n\x1f\x8b\x08\0\0\r\n",
            b"",
            "truncated",
        ),
        (HEADERS + b"Content-Encoding: br\r\n", brotli(HTML), HTML, None),
        (HEADERS + b"Content-Encoding:\r\n", HTML, HTML, None),
        (HEADERS + b"content-encoding: GZIP\r\n", gzip.compress(HTML), HTML, None),
        (HEADERS + b"Content-Encoding: gzip\r\nContent-Encoding: br\r\n", gzip.compress(HTML), HTML, None),
    ],
)
def test_the_body_of_a_record(http: bytes, body: bytes, payload: bytes, problem: str | None) -> None:
    record = read(warc_record(body, http))[0]
    assert (record.payload, record.problem) == (payload, problem)
    assert record.entity.endswith(body[-20:])


def test_headers_of_every_make() -> None:
    http = b"HTTP/1.1 200 OK\r\nServer: \xe9\xe8\r\nX-Folded: a\r\n  b\r\nset-cookie: 1\r\nSet-Cookie: 2\r\n"
    record = read(warc_record(HTML, http + b"no colon\r\nX-Empty:\r\n"))[0]
    assert record.http_status == 200
    expected = {"server": "éè", "x-folded": "a b", "set-cookie": "1", "x-empty": ""}
    assert dict(record.http_headers) == expected


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/1.1 200 OK", 200),
        (b"HTTP/1.0 404", 404),
        (b"HTTP/2 503 ", 503),
        (b"HTTP/1.1  301 Moved", 301),
        (b"HTTP/1.1 2000 OK", None),
        (b"HTTP/1.1 OK", None),
        (b"ICY 200 OK", None),
    ],
)
def test_status_lines(line: bytes, status: int | None) -> None:
    assert read(warc_record(HTML, line + b"\r\nA: b\r\n"))[0].http_status == status


def test_a_record_that_its_writer_cut_off_says_so() -> None:
    record = read(warc_record(HTML, WARC_Truncated="length"))[0]
    assert (record.problem, record.detail, record.payload) == ("truncated", "WARC-Truncated: length", HTML)


def test_a_response_without_http_is_its_own_payload() -> None:
    record = read(warc_record(b"", b"a.example. 300 IN A 127.0.0.1", WARC_Target_URI="dns:a.example"))[0]
    assert (record.http_status, record.payload) == (None, b"a.example. 300 IN A 127.0.0.1\r\n")
