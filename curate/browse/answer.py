"""What is asked of the browser and what it answers, as data: pages are functions between the two, tested without HTTP.

Every answer carries the same headers, whatever it is: a page may load pictures from where it came from and nothing
else, run no script, be framed by nobody, and is not kept by a cache (a data set may hold what has to go tomorrow).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import parse_qsl, unquote, urlsplit

from curate.report.page import policy

__all__ = ["STYLE_SHEET", "Answer", "Asked", "BadAddress", "content_policy", "headers", "read_target", "refusal"]

MOST_LETTERS = 8_192
"""Of an address with its query: a condition of two pages fits."""
MOST_FIELDS = 40
"""Names in a query."""

STYLE_SHEET = "browse.css"
"""The one file beside pages and pictures that a page asks for."""

HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)


class BadAddress(ValueError):
    """An address that cannot be read; its text says why. `status` is HTTP's."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Asked:
    """A request. `path`: its segments, decoded; none is ever the name of a file. `query`: the last value of a name."""

    path: tuple[str, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A response. `media`: the content type; text is UTF-8."""

    body: bytes
    status: int = 200
    media: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


def read_target(target: str) -> Asked:
    """What a request line asks for. Raises BadAddress: 414 for one that is too long, 400 for one with too many names,
    404 for what is no path here."""
    if len(target) > MOST_LETTERS:
        raise BadAddress(414, f"this address has {len(target):,} letters; at most {MOST_LETTERS:,} are read")
    raw, _, query = target.partition("?")
    if not raw.startswith("/") or urlsplit(raw).path != raw:
        raise BadAddress(404, "this is no page of the data set")
    try:
        path = tuple(unquote(segment, errors="strict") for segment in raw[1:].split("/"))
        pairs = parse_qsl(query, keep_blank_values=True, errors="replace", max_num_fields=MOST_FIELDS)
    except UnicodeDecodeError:
        raise BadAddress(404, "this is no page of the data set") from None
    except ValueError:
        raise BadAddress(400, f"this address has more than {MOST_FIELDS} names in its query") from None
    return Asked(() if path == ("",) else path, dict(pairs))


def refusal(status: int, words: str) -> Answer:
    """Words as plain text, for what is refused before there is a page."""
    return Answer(f"{words}\n".encode("utf-8", "replace"), status, "text/plain; charset=utf-8")


@cache
def content_policy() -> str:
    """What a page may do: show pictures and use style sheets of this server, send its form here, and nothing else."""
    return policy(images="'self' data:", forms="'self'").replace("style-src ", "style-src 'self' ")


@cache
def headers() -> tuple[tuple[str, str], ...]:
    """Of every answer. What strangers wrote is escaped; this is the second wall."""
    return (("Content-Security-Policy", f"{content_policy()}; frame-ancestors 'none'"), *HEADERS)
