"""What the toy web answers to a request: the good, the odd and the bad replies, without a socket in sight.

`Site` decides, `server` delivers. The only state is a bounded cache of bodies and a count of attempts for the few URLs
that fail once and then work; everything else follows from the plan, so any URL can be asked first.
"""

from __future__ import annotations

import io
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image, ImageDraw

from curate.toyweb.pages import ADS_HOST, PAGES_HOST, page, page_number
from curate.toyweb.picture import CONTENT_TYPES, encode_row
from curate.toyweb.plan import DOWN_HOST, FORBIDDEN_HOST, FORBIDDEN_PATH, HOSTS, Plan, Row, row_number

__all__ = ["PRIVATE_TARGETS", "RETRY_AFTER_S", "Reply", "Site"]

RETRY_AFTER_S = 1
PRIVATE_TARGETS = (
    "http://127.0.0.1/admin.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/camera.jpg",
    "http://[::1]/admin.jpg",
    "http://2130706433/admin.jpg",
)
"""Where the row label `redirect_private` leads, evenly: loopback, cloud metadata, an intranet, and two disguises."""

_CACHE_BYTES = 32 << 20
_STATUS = {"not_found": 404, "gone": 410, "server_error": 500}
_ONCE: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "rate_limited_once": (429, {"Retry-After": str(RETRY_AFTER_S)}),
    "server_error_once": (500, {}),
}
_ROBOTS_TAGS = ("noai", "noimageai", "noindex, noai")
_DELIVERY: Mapping[str, Literal["trickle", "endless", "cut"]] = {
    "trickle": "trickle",
    "endless": "endless",
    "closed": "cut",
}
_MOVED, _AGAIN = "/moved", "/again"
_ALLOWED = b"User-agent: examplebot\nDisallow: /\n\nUser-agent: *\nAllow: /\n"
_ROBOTS: Mapping[str, tuple[int, bytes]] = {
    FORBIDDEN_HOST: (200, b"User-agent: *\nDisallow: /\n"),
    DOWN_HOST: (503, b""),
    HOSTS[0]: (200, f"User-agent: *\nDisallow: {FORBIDDEN_PATH}\n".encode()),
    HOSTS[1]: (404, b""),
    HOSTS[2]: (404, b""),
    HOSTS[3]: (200, b""),
}


@dataclass(frozen=True)
class Reply:
    """A reply and the way it goes out.

    `whole` as it should be; `trickle` a byte now and then; `endless` the body and then zeros without end; `cut` half
    of the body and then a closed connection.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delivery: Literal["whole", "trickle", "endless", "cut"] = "whole"


class Site:
    """All hosts of one plan. Not safe for use from two threads."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.attempts: Counter[int] = Counter()
        self._bodies: OrderedDict[int, bytes] = OrderedDict()
        self._held_bytes = 0

    def answer(self, host: str, target: str) -> Reply:
        """The reply to GET `target` (path and query) on `host`; 404 for what the plan does not hold."""
        if target == "/robots.txt":
            status, body = _ROBOTS.get(host, (200, _ALLOWED))
            return Reply(status, {"Content-Type": "text/plain"}, body)
        if host == PAGES_HOST and (number := page_number(target)) is not None:
            return Reply(200, {"Content-Type": "text/html; charset=utf-8"}, page(self.plan, number).html.encode())
        if host in (PAGES_HOST, ADS_HOST):
            return _decoration(target)
        return self._picture(host, target)

    def _picture(self, host: str, target: str) -> Reply:
        number = row_number(target)
        if number is None:
            return Reply(404)
        row = self.plan.row(number)
        url = f"http://{host}{target}"
        if row.defect == "redirect" and url == _elsewhere(row, _MOVED):
            return self._sent(row)
        if row.defect == "redirect_loop" and url == _elsewhere(row, _AGAIN):
            return Reply(302, {"Location": row.url})
        return self._fault(row) or self._sent(row) if url == row.url else Reply(404)

    def _fault(self, row: Row) -> Reply | None:
        """What is said instead of the picture, if anything."""
        if row.defect in _STATUS:
            return Reply(_STATUS[row.defect])
        if row.defect == "redirect":
            return Reply(301, {"Location": _elsewhere(row, _MOVED)})
        if row.defect == "redirect_loop":
            return Reply(302, {"Location": _elsewhere(row, _AGAIN)})
        if row.defect == "redirect_private":
            return Reply(302, {"Location": PRIVATE_TARGETS[int(row.variant * len(PRIVATE_TARGETS))]})
        if row.defect in _ONCE:
            self.attempts[row.number] += 1
            return Reply(*_ONCE[row.defect]) if self.attempts[row.number] == 1 else None
        return None

    def _sent(self, row: Row) -> Reply:
        headers = {"Content-Type": CONTENT_TYPES[row.extension]}
        if row.defect == "opted_out":
            headers["X-Robots-Tag"] = _ROBOTS_TAGS[int(row.variant * len(_ROBOTS_TAGS))]
        elif row.defect == "other_agent_opted_out":
            headers["X-Robots-Tag"] = "examplebot: noai, noindex"
        elif row.defect == "tdm_reserved":
            headers["tdm-reservation"] = "1"
        return Reply(200, headers, self._body(row), _DELIVERY.get(row.defect, "whole"))

    def _body(self, row: Row) -> bytes:
        """The row's bytes, through a cache of 32 MiB: copies and retries ask for the same picture soon again."""
        number = row.original if row.defect == "exact_copy" and row.original is not None else row.number
        found = self._bodies.pop(number, None)
        if found is None:
            found = encode_row(self.plan, row)
            self._held_bytes += len(found)
        self._bodies[number] = found
        while self._held_bytes > _CACHE_BYTES and len(self._bodies) > 1:
            self._held_bytes -= len(self._bodies.popitem(last=False)[1])
        return found


def _elsewhere(row: Row, prefix: str) -> str:
    """The row's path under a prefix, on the next host."""
    host, _, path = row.url.removeprefix("http://").partition("/")
    return f"http://{HOSTS[(HOSTS.index(host) + 1) % len(HOSTS)]}{prefix}/{path}"


def _decoration(target: str) -> Reply:
    """Logos, advertisements and counting pixels: `/<width>x<height>/<words>.png`."""
    size, _, name = target.removeprefix("/").partition("/")
    sides = size.split("x")
    if len(sides) != 2 or not all(s.isascii() and s.isdigit() and 0 < int(s) <= 1000 for s in sides):
        return Reply(404)
    image = Image.new("RGB", (int(sides[0]), int(sides[1])), (250, 230, 160))
    ImageDraw.Draw(image).text((4, 2), name.partition(".")[0], fill=(60, 60, 60))
    target_bytes = io.BytesIO()
    image.save(target_bytes, "PNG")
    return Reply(200, {"Content-Type": "image/png"}, target_bytes.getvalue())
