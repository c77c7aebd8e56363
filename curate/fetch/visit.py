"""A row under way and what it becomes: the data that the client moves along, and how an HTTP answer is read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from curate.fetch.exchange import Exchange, Verdict
from curate.fetch.host import Host
from curate.fetch.manners import Site
from curate.fetch.status import FetchStatus
from curate.fetch.url import Target

__all__ = ["Response", "Visit", "read_answer"]

MOST_DETAIL_CHARS = 200
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CODES = {
    404: FetchStatus.NOT_FOUND,
    408: FetchStatus.TIMEOUT,
    410: FetchStatus.GONE,
    429: FetchStatus.RATE_LIMITED,
}
_CLASSES = {3: FetchStatus.BAD_REDIRECT, 4: FetchStatus.CLIENT_ERROR, 5: FetchStatus.SERVER_ERROR}


@dataclass(frozen=True, slots=True)
class Response:
    """What became of one row.

    `body` is empty unless `status` is SUCCESS. `robots` is allowed, disallowed, no_robots, unreachable or not_asked,
    for the last hop; `opt_out` is the rule that refused the picture. `attempts` counts how often the URL was asked
    for, `redirects` the hops of the last time. `started` is Unix time; `seconds` is time spent transferring.
    """

    row: int
    url: str
    status: FetchStatus
    detail: str = ""
    http_status: int | None = None
    final_url: str | None = None
    content_type: str | None = None
    body: bytes = b""
    redirects: int = 0
    robots: str = "not_asked"
    opt_out: str | None = None
    attempts: int = 0
    started: float = field(default_factory=time.time)
    seconds: float = 0.0


@dataclass(eq=False, slots=True)
class Visit:
    """A row under way; or, where `question_to` is set, a request for a file that says what we may do on a site.

    `start` is the row's own URL and `target` the present hop. `attempt_s` is the transfer time of this attempt.
    `decode` is False once a body turned out to have no coding, whatever its header says.
    """

    row: int
    url: str
    start: Target
    target: Target
    question_to: Site[Visit] | None = None
    host: Host[Visit] | None = None
    queued_s: float = 0.0
    attempts: int = 0
    redirects: int = 0
    attempt_s: float = 0.0
    spent_s: float = 0.0
    started: float = field(default_factory=time.time)
    robots: str = "not_asked"
    opt_out: str | None = None
    http_status: int | None = None
    content_type: str | None = None
    decode: bool = True

    def take_in(self, exchange: Exchange) -> None:
        """Note what the end of one hop tells about the row."""
        self.spent_s += exchange.seconds
        self.attempt_s += exchange.seconds
        self.http_status = exchange.http_status
        self.content_type = (exchange.header(b"content-type") or "")[:MOST_DETAIL_CHARS] or None

    def begin_attempt(self) -> None:
        self.target, self.redirects, self.attempt_s = self.start, 0, 0.0

    def response(self, verdict: Verdict, body: bytes) -> Response:
        status, detail = verdict
        return Response(
            row=self.row,
            url=self.url,
            status=status,
            detail=detail[:MOST_DETAIL_CHARS],
            http_status=self.http_status,
            final_url=self.target.url if self.attempts else None,
            content_type=self.content_type,
            body=body,
            redirects=self.redirects,
            robots=self.robots,
            opt_out=self.opt_out,
            attempts=self.attempts,
            started=self.started,
            seconds=self.spent_s,
        )


def read_answer(exchange: Exchange, is_picture: bool) -> Verdict:
    """The status of an exchange that ended, HTTP code included; a redirect is BAD_REDIRECT until it is followed."""
    if exchange.status is not FetchStatus.SUCCESS or exchange.http_status is None:
        return exchange.status or FetchStatus.CONNECTION_LOST, exchange.detail
    code = exchange.http_status
    if 200 <= code < 300:
        empty = is_picture and not exchange.size_bytes
        return (FetchStatus.EMPTY_BODY, f"HTTP {code} without a body") if empty else (FetchStatus.SUCCESS, "")
    return _CODES.get(code) or _CLASSES.get(code // 100, FetchStatus.CLIENT_ERROR), f"HTTP {code}"
