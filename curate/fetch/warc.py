"""A fetched page as a WARC 1.1 record, one gzip member each, the same bytes for the same page.

Two things in a WARC are different every time: ids and dates. The id here is made from the shard, the row and the URL.
WARC-Date, which the format demands, is a fixed one, and the first record says so: the true times are in
`00000.pages_log.parquet`, where all times of a shard are kept apart from what must be the same on every run.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
import zlib
from http.client import responses

__all__ = ["NO_DATE", "response_record", "warcinfo_record"]

NO_DATE = "1970-01-01T00:00:00Z"
LEVEL = 6


def warcinfo_record(shard: str) -> bytes:
    """The first member of a file: what wrote it, and that its dates are none."""
    fields = {
        "software": "curate-vl",
        "format": "WARC File Format 1.1",
        "description": "WARC-Date is fixed, so that the same pages give the same bytes; "
        f"times of retrieval are in {shard}.pages_log.parquet",
    }
    headers = {"WARC-Type": "warcinfo", "WARC-Record-ID": _id(shard), "Content-Type": "application/warc-fields"}
    return _member(headers, "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode())


def response_record(name: str, url: str, http_status: int, content_type: str | None, body: bytes) -> bytes:
    """One response as a gzip member. `name` makes its id; `url` is where the body came from, after all redirects.

    `body` is without transfer and content codings, and the HTTP headers are those that say what it is.
    """
    lines = [f"HTTP/1.1 {http_status} {responses.get(http_status, '')}".rstrip()]
    lines += [f"Content-Type: {_one_line(content_type)}"] if content_type else []
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    digest = base64.b32encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()
    headers = {
        "WARC-Type": "response",
        "WARC-Record-ID": _id(f"{name} {url}"),
        "WARC-Target-URI": _one_line(url),
        "WARC-Payload-Digest": f"sha1:{digest}",
        "Content-Type": "application/http; msgtype=response",
    }
    return _member(headers, head.encode() + body)


def _member(headers: dict[str, str], block: bytes) -> bytes:
    """zlib's own gzip header holds neither a time nor a name."""
    headers |= {"WARC-Date": NO_DATE, "Content-Length": str(len(block))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    record = packer.compress(f"WARC/1.1\r\n{head}\r\n".encode()) + packer.compress(block)
    return record + packer.compress(b"\r\n\r\n") + packer.flush()


def _id(name: str) -> str:
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}>"


def _one_line(value: str) -> str:
    """A header's value without what would end it: servers may send anything."""
    return "".join(letter if letter >= " " else " " for letter in value).strip()
