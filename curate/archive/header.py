"""The headers of WARC and ARC records: where one begins, and what it says.

Real headers hold every mistake there is: bare line feeds, letters that are no UTF-8, URLs with spaces or in angle
brackets, lengths of -1. What can be understood is; the length alone must be a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = [
    "HEAD_BYTES",
    "MOST_HEADER_BYTES",
    "Header",
    "blank_line",
    "find_record",
    "parse_fields",
    "read_header",
    "starts_record",
]

HEAD_BYTES = 8192
"""So much of a record is enough to see that it is one."""

MOST_HEADER_BYTES = 65_536
"""A longer header is none."""

_USUAL_BYTES = 4096
_WARC = rb"WARC/\d\.\d{1,2}\r?\n"
_ARC = rb"[A-Za-z][A-Za-z0-9+.-]{1,20}:[^\n]{0,4000} \d{12,18} [^\n]{1,400}\n"
_RECORD = re.compile(_WARC + rb"|" + _ARC)
_NEXT = re.compile(_WARC + rb"[A-Za-z-]{1,40}:|(?<=\n)" + _ARC)
_ARC_LINE = re.compile(r"(\S.*?) (\S+) (\d{12,18}) (.+) (-?\d+)")
_ARC_2_LINE = re.compile(r"(\S.*?) (\S+) (\d{12,18}) (.+?) (\d{3}|-) (\S+) (\S+) (\d+) (\S+) (-?\d+)")
_FOLD = re.compile(r"\r?\n[ \t]+")
_DATE = re.compile(r"\d{4}[0-9T:.Z+-]*")


class Header(NamedTuple):
    """What a record's header says. `length` is None where it gives no number that can be used."""

    type: str
    url: str | None
    date: str | None
    length: int | None
    fields: Mapping[str, str]


def starts_record(data: bytes, at: int = 0) -> bool:
    """Whether a WARC or ARC record begins at `at`; HEAD_BYTES are enough to tell."""
    return _RECORD.match(data, at) is not None


def find_record(data: bytes, start: int = 0) -> int | None:
    """Where a record seems to begin, behind `start`. One of an ARC begins a line; no page holds `WARC/1.0` and a field
    behind it by chance, so one of a WARC may follow garbage without a line's end."""
    found = _NEXT.search(data, start + 1)
    return found.start() if found else None


def parse_fields(block: bytes) -> dict[str, str]:
    """`name: value` lines as a mapping with lower-case names; the first of equal ones counts, folded lines are joined.

    Bytes that are no UTF-8 are read as Latin-1, so that nothing is lost. Lines without a colon are passed over.
    """
    try:
        text = block.decode()
    except UnicodeDecodeError:
        text = block.decode("latin-1")
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon and (name := name.strip().lower()) not in fields:
            fields[name] = value.strip()
    return fields


def read_header(data: bytes, at: int = 0) -> tuple[Header, int] | None:
    """The header at `at`, and its size with the blank line behind it. None where no header begins, or none ends."""
    if not starts_record(data, at):
        return None
    if not data.startswith(b"WARC/", at):
        end = data.find(b"\n", at) + 1
        return _read_arc(data[at:end]), end - at
    end = blank_line(data, at, at + _USUAL_BYTES)
    if not end and data.find(b"\nWARC/", at, at + _USUAL_BYTES) < 0:
        end = blank_line(data, at, at + MOST_HEADER_BYTES)
    if not end or data.find(b"\nWARC/", at, end) >= 0:  # the blank line of another record
        return None
    return _read_warc(data[at:end]), end - at


def blank_line(data: bytes, start: int, stop: int) -> int:
    """The position behind the first empty line, ended by CRLF or LF alone; 0 where there is none."""
    crlf = data.find(b"\n\r\n", start, stop) + 3
    lf = data.find(b"\n\n", start, crlf if crlf > 2 else stop) + 2
    return lf if lf > 1 else crlf if crlf > 2 else 0


def _read_warc(block: bytes) -> Header:
    fields = parse_fields(block.partition(b"\n")[2])
    date = fields.get("warc-date", "")
    return Header(
        type=fields.get("warc-type", "").lower(),
        url=_clean_url(fields.get("warc-target-uri", "")),
        date=date if _DATE.fullmatch(date) else None,
        length=_length(fields.get("content-length", "")),
        fields=fields,
    )


def _read_arc(line: bytes) -> Header:
    """The one line of an ARC record, of version 1 (five fields) or 2 (ten)."""
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        text = line.decode("latin-1").strip()
    found = _ARC_2_LINE.fullmatch(text) or _ARC_LINE.fullmatch(text)
    if found is None:
        return Header("", _clean_url(text.split(" ", 1)[0]), None, None, {})
    values = found.groups()
    names = ("uri", "ip-address", "archive-date", "content-type", "result-code", "checksum", "location", "offset")
    fields = dict(zip(names, values[:-1], strict=False)) | {"archive-length": values[-1]}
    kind = "warcinfo" if text.startswith("filedesc:") else "response"
    return Header(kind, _clean_url(values[0]), _arc_date(values[2]), _length(values[-1]), fields)


def _clean_url(url: str) -> str | None:
    """A target as writers meant it: wget puts it in angle brackets. None for an empty one."""
    url = url.strip()
    return (url[1:-1] if url.startswith("<") and url.endswith(">") else url) or None


def _length(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _arc_date(digits: str) -> str | None:
    """`20080430204825` as `2008-04-30T20:48:25Z`; None for another number of digits (a date cut short, or longer)."""
    if len(digits) != 14:
        return None
    year, month, day, hour, minute, second = (
        digits[:4], digits[4:6], digits[6:8], digits[8:10], digits[10:12], digits[12:],
    )  # fmt: skip
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}Z"
