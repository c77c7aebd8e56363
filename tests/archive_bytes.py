"""Archives for the tests, written by warcio or by hand."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence

import pyarrow as pa
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from curate.archive.reader import read_records
from curate.archive.record import Record


def read(data: bytes, *cuts: int, most_bytes: int = 64 << 20) -> list[Record]:
    """All records, read range by range: each cut ends one and begins the next."""
    ends = [*sorted(cuts), None]
    starts = [0, *sorted(cuts)]
    ranges = zip(starts, ends, strict=True)
    return [r for start, end in ranges for r in read_records(io.BytesIO(data), start, end, most_bytes)]


def page(number: int, size: int = 600) -> bytes:
    """HTML that differs from page to page and does not compress away."""
    words = " ".join(f"{(number * 7919 + i * 104729) % 99991:x}" for i in range(size // 6))
    return f"<!doctype html><title>{number}</title><p>{words}</p>".encode()


def warcio_records(count: int) -> list[bytes]:
    """Whole records as warcio writes them, uncompressed: responses with requests, a revisit and a redirect."""
    return [_write(number) for number in range(count)]


def warc_record(
    body: bytes, http: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", **fields: object
) -> bytes:
    """A response by hand. `fields` replace header fields by their names with `_` for `-`; None leaves one out."""
    block = http + b"\r\n" + body
    header: dict[str, object] = {
        "WARC-Type": "response",
        "WARC-Record-ID": "<urn:uuid:00000000-0000-0000-0000-000000000000>",
        "WARC-Date": "2024-05-06T07:08:09Z",
        "WARC-Target-URI": "http://a.example/",
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": len(block),
    }
    names = {name.lower().replace("-", "_"): name for name in header}
    header |= {names.get(name.lower(), name.replace("_", "-")): value for name, value in fields.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in header.items() if value is not None)
    return b"WARC/1.0\r\n" + lines.encode() + b"\r\n" + block + b"\r\n\r\n"


def packed(records: Sequence[bytes], kind: str) -> bytes:
    """Records as an archive: plain, gzip, gzip_whole, gzip_blocks (borders anywhere), lz4 or zstd."""
    whole = b"".join(records)
    if kind == "plain":
        return whole
    if kind == "gzip_whole":
        return gzip.compress(whole, mtime=0)
    if kind == "gzip_blocks":
        return b"".join(gzip.compress(whole[i : i + 700], mtime=0) for i in range(0, len(whole), 700))
    return b"".join(pack(record, kind) for record in records)


def pack(data: bytes, kind: str) -> bytes:
    """One gzip member, lz4 frame or zstd frame."""
    return gzip.compress(data, mtime=0) if kind == "gzip" else pa.compress(data, codec=kind, asbytes=True)


def _write(number: int) -> bytes:
    sink = io.BytesIO()
    writer = WARCWriter(sink, gzip=False)
    fixed = {"WARC-Record-ID": f"<urn:uuid:{number:036}>", "WARC-Date": "2024-05-06T07:08:09Z"}
    url = f"http://a.example/{number}"
    ok = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
    kind = number % 4
    if kind == 1:
        ask = StatusAndHeaders("GET / HTTP/1.1", [("Host", "a.example")], is_http_request=True)
        record = writer.create_warc_record(url, "request", http_headers=ask, warc_headers_dict=fixed)
    elif kind == 2:
        digest = "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ"
        record = writer.create_revisit_record(
            url, digest, "http://a.example/0", fixed["WARC-Date"], warc_headers_dict=fixed
        )
    elif kind == 3:
        moved = StatusAndHeaders("301 Moved", [("Location", "http://b.example/")], protocol="HTTP/1.1")
        record = writer.create_warc_record(
            url, "response", io.BytesIO(b""), http_headers=moved, warc_headers_dict=fixed
        )
    else:
        record = writer.create_warc_record(
            url, "response", io.BytesIO(page(number)), http_headers=ok, warc_headers_dict=fixed
        )
    writer.write_record(record)
    return sink.getvalue()
