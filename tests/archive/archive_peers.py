"""What warcio and FastWARC read in an archive, in one form, so that three readers can be compared record by record."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import warcio.archiveiterator
from fastwarc.warc import ArchiveIterator

from curate.archive.reader import read_records

logging.getLogger("warcio").setLevel(logging.CRITICAL)


class Seen(NamedTuple):
    """One record: `entity` and `body` are digests, of the bytes behind the HTTP headers and of the decoded body."""

    type: str
    url: str | None
    status: int | None
    entity: str
    body: str


def ours(data: bytes) -> list[Seen]:
    return [
        Seen(r.type, r.url, r.http_status, r.payload_digest, digest(r.payload)) for r in read_records(io.BytesIO(data))
    ]


def with_warcio(data: bytes) -> list[Seen]:
    """Up to the record that it cannot read."""
    plain = list(_until_it_fails(_warcio(data, decode=False)))
    bodies = list(_until_it_fails(_warcio(data, decode=True)))
    return [p._replace(body=b.body) for p, b in zip(plain, bodies, strict=True)]


def with_fastwarc(data: bytes) -> list[Seen]:
    plain = list(_until_it_fails(_fastwarc(data, "none")))
    bodies = list(_until_it_fails(_fastwarc(data, "all")))
    bodies += [Seen("", None, None, "", "fails")] * (len(plain) - len(bodies))
    return [p._replace(body=b.body) for p, b in zip(plain, bodies, strict=True)]


def archives_in(data: bytes) -> list[bytes]:
    """The file itself, or the archives of a WACZ: neither peer opens one."""
    if not data.startswith(b"PK\x03\x04"):
        return [data]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [archive.read(name) for name in archive.namelist() if name.startswith("archive/")]


def digest(data: bytes) -> str:
    return f"sha1:{base64.b32encode(hashlib.sha1(data).digest()).decode()}"


def _warcio(data: bytes, decode: bool) -> Iterator[Seen]:
    for record in warcio.archiveiterator.ArchiveIterator(io.BytesIO(data)):
        headers = record.rec_headers
        url = headers.get_header("WARC-Target-URI") or headers.get_header("uri")
        code = record.http_headers.get_statuscode() if record.http_headers and record.rec_type != "request" else ""
        read = record.content_stream if decode else lambda record=record: record.raw_stream
        found = _digest_or_failure(lambda read=read: read().read())
        yield Seen(record.rec_type, url, int(code) if code.isdigit() else None, found, found)


def _fastwarc(data: bytes, decode: str) -> Iterator[Seen]:
    for record in ArchiveIterator(io.BytesIO(data), parse_http=False):
        kind, url = record.headers.get("WARC-Type", "").strip(), record.headers.get("WARC-Target-URI")
        found = _digest_or_failure(lambda record=record: _fastwarc_body(record, decode))
        code = record.http_headers.status_code if record.http_headers is not None and kind != "request" else None
        yield Seen(kind, url.strip("<>") if url else None, code, found, found)


def _fastwarc_body(record, decode: str) -> bytes:
    record.parse_http(auto_decode=decode)
    return record.reader.read()


def _digest_or_failure(read) -> str:
    try:
        return digest(read())
    except Exception:  # noqa: BLE001 (a peer raises whatever it likes)
        return "fails"


def _until_it_fails(records: Iterator[Seen]) -> Iterator[Seen]:
    try:
        yield from records
    except Exception:  # noqa: BLE001 (a peer raises whatever it likes)
        return
