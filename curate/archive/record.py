"""What one record of a web archive is, and what could not be read as one.

An archive is read as a stream of these. A broken record is a value with a problem, a place and a reason, and the
reading goes on behind it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["PROBLEMS", "Record"]

PROBLEMS: Mapping[str, str] = {
    "truncated": "the record, or the body in it, ends before it is complete; what is there is kept",
    "bad_chunks": "chunked transfer coding that breaks off in the middle; the chunks before are kept",
    "bad_coding": "a body that cannot be decompressed as its Content-Encoding says; what came out is kept",
    "unknown_coding": "a Content-Encoding that is not gzip, deflate, br or zstd; the payload is still coded",
    "too_large": "more bytes than the bound; what is below it is kept",
    "bad_length": "Content-Length does not fit: other bytes than a record follow, or records lie within it",
    "bad_header": "the record's header has no end, or no length that can be used",
    "not_a_record": "bytes that are no record, up to the next one",
    "bad_compression": "a gzip member, lz4 frame or zstd frame that cannot be decompressed; what came out is kept",
    "zstd_dictionary": "zstd frames that need a dictionary; the rest of the file cannot be read",
    "bad_zip": "a WACZ whose table of contents, or one of whose members, cannot be read",
    "not_an_archive": "no record anywhere in the first MiB",
}
"""What can be wrong with a record, and what it means."""


@dataclass(frozen=True)
class Record:
    """One record.

    `type` is WARC's (response, resource, revisit, request, metadata, warcinfo, conversion, ...); a record of an ARC is
    a `response`, its first one `warcinfo`; empty where not even that could be read. `headers` are the record's, with
    lower-case names; `http_headers` those of the HTTP message inside, lower case too; the first of equal names counts.

    `offset` and `length` are bytes of the file as it lies there (of the compressed member where there is one per
    record), so that `read_record_at` finds it again. `length` is 0 where the record shares its compressed member with
    others (a file gzipped as a whole); then `inner_offset` is its place in the decompressed member.

    `entity` are the bytes after the HTTP headers as archived (the whole block where there is no HTTP), and `payload`
    is what the server meant: chunks joined, content codings undone. `problem` is None or one of PROBLEMS, and
    `detail` the sentence that goes with it.
    """

    type: str
    url: str | None
    offset: int
    length: int
    inner_offset: int = 0
    date: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    http_status: int | None = None
    http_headers: Mapping[str, str] = field(default_factory=dict)
    entity: bytes = b""
    payload: bytes = b""
    problem: str | None = None
    detail: str = ""

    @property
    def payload_digest(self) -> str:
        """`sha1:BASE32` of `entity`, as writers compute WARC-Payload-Digest: before chunks and codings are undone."""
        sha1 = hashlib.sha1(self.entity, usedforsecurity=False)
        return f"sha1:{base64.b32encode(sha1.digest()).decode()}"
