"""Who may ask: this machine's own browser, or who has the token.

On a loopback address every page of the web that this browser has open could ask too. So a request must name a loopback
host (a name that was bent to 127.0.0.1 is refused: DNS rebinding), and what another site embeds or fetches is refused
by the browser's own `Sec-Fetch-Site`. On any other address there is a token of 256 bits: it is told once, in an
address, and kept by the browser as a cookie that no script reads and no other site sends.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from curate.browse.answer import Answer, Asked, refusal

__all__ = ["Access", "is_loopback", "new_token"]


@dataclass(frozen=True)
class Access:
    """The rules of one server. `loopback`: it is bound to this machine alone. `token`: empty where none is asked for.
    `port` is in the cookie's name, for cookies of one host are shared by all its ports."""

    loopback: bool
    token: str = ""
    port: int = 0

    def check(self, asked: Asked, headers: Mapping[str, list[str]]) -> Answer | None:
        """None where the request may be answered, else the answer to it. `headers`: all values by their name in lower
        case. `/?token=...` with the right token sets the cookie."""
        if self.loopback and not is_loopback(_host_of(headers.get("host", []))):
            return refusal(403, "this server answers to 127.0.0.1 and localhost only; open it by one of these")
        if _is_embedded(headers):
            return refusal(403, "another site may not embed or fetch what is here; open the address itself")
        if not self.token or self._has_cookie(headers.get("cookie", [])):
            return None
        if "token" in asked.query and not asked.path:
            return self._welcome() if self._is_token(asked.query["token"]) else _missing("the token is wrong")
        return _missing("a token is asked for")

    @property
    def cookie(self) -> str:
        """The cookie's name."""
        return f"curate_browse_{self.port}"

    def _welcome(self) -> Answer:
        """The cookie, and a way on that is a request of this page: one that follows a stranger's link would be without
        it."""
        body = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>curate browse</title>'
            '<link rel="icon" href="data:,">'
            '<meta http-equiv="refresh" content="0; url=/"><p><a href="/">To the data set</a></p></html>'
        )
        keep = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        return Answer(body.encode(), headers=(("Set-Cookie", keep),))

    def _has_cookie(self, cookies: list[str]) -> bool:
        """Cut by hand, for the library's parser gives up at the first cookie of another server that it dislikes."""
        pairs = (one.strip().partition("=") for line in cookies for one in line.split(";"))
        return any(name == self.cookie and self._is_token(value) for name, _, value in pairs)

    def _is_token(self, told: str) -> bool:
        return hmac.compare_digest(told.encode("utf-8", "replace"), self.token.encode())


def new_token() -> str:
    """43 letters of 256 random bits."""
    return secrets.token_urlsafe(32)


def is_loopback(host: str) -> bool:
    """Whether an address to bind is reached from this machine alone. A name other than `localhost` is not taken for
    one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_of(values: list[str]) -> str:
    """The host that a request names, without its port (a tunnel has a port of its own); empty where it names none, or
    several."""
    if len(values) != 1:
        return ""
    host = values[0].strip().lower()
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isascii() and port.isdigit() else host).removeprefix("[").removesuffix("]")


def _is_embedded(headers: Mapping[str, list[str]]) -> bool:
    """Whether a page of another site asks for this without going there: a picture, a frame, a fetch."""
    site, into = (headers.get(f"sec-fetch-{name}", [""])[0].strip() for name in ("site", "dest"))
    return site in ("cross-site", "same-site") and into != "document"


def _missing(why: str) -> Answer:
    return refusal(403, f"{why}; open the address that `curate browse` printed, with its ?token= at the end")
