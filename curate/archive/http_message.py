"""The HTTP message inside a record: its status line, its headers, and the body that was meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from curate.archive.coding import Decoded, join_chunks, undo_codings
from curate.archive.header import MOST_HEADER_BYTES, Header, blank_line, parse_fields

__all__ = ["HttpMessage", "read_block"]

_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?!\d)")


class HttpMessage(NamedTuple):
    """`entity` is the body as archived, `body` without chunks and codings. `status` is None for a request."""

    status: int | None
    headers: Mapping[str, str]
    entity: bytes
    body: Decoded


def read_block(header: Header, block: bytes, most: int) -> HttpMessage:
    """The HTTP message that a record's block is; the block itself as a body where it is none."""
    answer = header.type in ("response", "revisit") and block[:5] == b"HTTP/"
    asked = header.type == "request" and header.fields.get("content-type", "").startswith("application/http")
    if not answer and not asked:
        return HttpMessage(None, {}, block, Decoded(block))
    found = _STATUS.match(block)
    end = blank_line(block, 0, MOST_HEADER_BYTES) or min(len(block), MOST_HEADER_BYTES)
    headers = parse_fields(block[block.find(b"\n", 0, end) + 1 : end])
    entity = block[end:]
    return HttpMessage(int(found[1]) if found else None, headers, entity, _body(entity, headers, most))


def _body(entity: bytes, headers: Mapping[str, str], most: int) -> Decoded:
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    joined = join_chunks(entity) if chunked else Decoded(entity)
    coding = headers.get("content-encoding")
    if not coding:
        return joined
    done = undo_codings(joined.data, coding, most)
    return done if joined.problem is None else Decoded(done.data, joined.problem, joined.detail)
