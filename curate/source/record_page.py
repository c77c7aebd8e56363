"""Which records of an archive are pages, and what is said of those that are not."""

from __future__ import annotations

from curate.archive.record import Record
from curate.source.raw_page import OK, RawPage

__all__ = ["is_html", "record_page"]

_HTML = frozenset(("text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"))
_NO_TYPE = frozenset(("", "unknown/unknown", "application/unknown", "*/*", "no-type"))
_PASSED_OVER = frozenset(("request", "metadata", "warcinfo"))
_SNIFF_BYTES = 1024
_OPENINGS = (
    b"<!doctype html",
    b"<html",
    b"<head",
    b"<body",
    b"<title",
    b"<script",
    b"<h1",
    b"<div",
    b"<p>",
    b"<table",
    b"<!--",
)
"""What the WHATWG's sniffing counts as HTML, and the commonest others."""


def record_page(record: Record, file: str) -> RawPage | None:
    """The page of a record, or its place with a status; None for records that only speak of others.

    `revisit`: the page is elsewhere. `http_404` and the like: an answer outside 200 to 299. `not_html`: by its type,
    or by its first bytes where no type is given. A problem of the record is the status, except that a page which was
    cut off and has bytes is kept, with that in its detail. `conversion` records (WET) have text.
    """
    if record.type in _PASSED_OVER:
        return None
    content_type = _content_type(record)
    status, detail = _status(record, content_type)
    text = record.payload.decode("utf-8", "replace") if status == OK and record.type == "conversion" else None
    return RawPage(
        url=record.url,
        body=record.payload if status == OK and text is None else b"",
        status=status,
        detail=detail,
        content_type=content_type,
        http_status=record.http_status,
        date=record.date,
        file=file,
        offset=record.offset,
        length=record.length or None,
        text=text,
    )


def is_html(content_type: str | None, body: bytes) -> bool:
    """By the Content-Type, and by the first bytes where it says nothing."""
    kind = (content_type or "").split(";", 1)[0].strip().lower()
    if kind in _NO_TYPE or "/" not in kind:
        head = body[:_SNIFF_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        return head.startswith(_OPENINGS) or b"<html" in head
    return kind in _HTML


def _content_type(record: Record) -> str | None:
    """The HTTP answer's; the record's own where there is no HTTP inside (a resource, an ARC's)."""
    own = record.headers.get("content-type", "")
    if record.http_status is not None or own.startswith("application/http"):
        return record.http_headers.get("content-type")
    return own or None


def _status(record: Record, content_type: str | None) -> tuple[str, str]:
    if record.type == "revisit":
        return "revisit", record.headers.get("warc-refers-to-target-uri", "")
    code, body = record.http_status, record.payload
    if code is not None and not 200 <= code <= 299:
        return f"http_{code}", record.http_headers.get("location", "")
    answer = record.type in ("response", "resource")
    if answer and (body or record.problem is None) and not is_html(content_type, body):
        return "not_html", content_type or "no Content-Type, and the first bytes are not those of a page"
    if record.problem is not None and not (record.problem == "truncated" and body):
        return record.problem, record.detail
    if not answer and record.type != "conversion":
        return "not_a_page", f"a record of type {record.type[:40]!r}"
    return OK, f"{record.problem}: {record.detail}" if record.problem else ""
