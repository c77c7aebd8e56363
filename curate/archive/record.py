"""What one record of a web archive is, and what could not be read as one.

An archive is read as a stream of these. A broken record is a value with a problem, a place and a reason, and the
reading goes on behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Record"]


@dataclass(frozen=True)
class Record:
    """One record.

    `type` is WARC's (response, resource, revisit, request, metadata, warcinfo, conversion, ...); a record of an ARC is
    a `response`, its first one `warcinfo`; empty where not even that could be read. `offset` and `length` are bytes of
    the file as it lies there (of the compressed member where there is one per record). `headers` are the record's,
    with lower-case names; `http_headers` those of the HTTP answer inside, lower case too, the first of equal names.
    `payload` is what the server meant: without HTTP headers, with chunks joined and content codings undone.
    `payload_digest` is `sha1:BASE32` of the entity as WARC defines it (chunks joined? as the writer computed it: the
    bytes after the HTTP headers as archived). `problem` is None, or a short code such as `truncated`, `bad_chunks`,
    `bad_gzip`, `unknown_coding`, `bad_header`; `detail` the sentence that goes with it.
    """

    type: str
    url: str | None
    offset: int
    length: int
    date: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    http_status: int | None = None
    http_headers: Mapping[str, str] = field(default_factory=dict)
    payload: bytes = b""
    payload_digest: str | None = None
    problem: str | None = None
    detail: str = ""
