"""One reading of a URL for everybody: what robots.txt is asked about, what is dialled and what is recorded agree.

Two parsers that disagree on where the host ends are a classic way around a guard, so the URL is taken apart here and
put together again from its checked parts, and libcurl gets only the result. Most URLs pass one regular expression
(1 us); the others are mended much as browsers do (WHATWG URL standard): blanks around and line breaks within go,
backslashes become slashes, other characters are percent-encoded, host names become ASCII (IDNA 2003, so that `ß` is
`ss`, unlike in a browser), and numbers such as `2130706433` or `0x7f.1` the address they stand for. A user name or
password in a URL is refused: sending a stranger's credentials is no part of collecting pictures.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin

__all__ = ["Target", "join_url", "parse_url"]

MOST_CHARS = 8_192
MOST_HOST_CHARS = 253

_PLAIN = re.compile(r"(https?)://((?:[a-z0-9-]{1,63}\.)+[a-z]{2,63})(/[!$&-;=?-Z_a-z~%\[\]|]*)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"//([^/]*)(.*)", re.DOTALL)
_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)")
_DOT_SEGMENT = re.compile(r"/(\.|%2e){1,2}(/|\?|$)", re.IGNORECASE)
_PATH_SAFE = "!$%&'()*+,-./:;=@[]_|~"
_QUERY_SAFE = "!$%&()*+,-./:;=?@[]_`{|}~\\^"
_PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """A URL that can be asked for. `host` is lower-case ASCII, an IPv6 address without brackets; `url` is normal."""

    url: str
    scheme: str
    host: str
    port: int
    is_address: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port: what one robots.txt speaks for."""
        return f"{self.scheme}://{_authority(self)}"


def parse_url(text: str) -> Target:
    """The target of a URL as found on a page or in a list. Raises ValueError with the reason."""
    plain = _PLAIN.fullmatch(text)
    if plain and len(text) <= MOST_CHARS and len(plain[2]) <= MOST_HOST_CHARS and not _DOT_SEGMENT.search(text):
        return Target(text, plain[1], plain[2], _PORTS[plain[1]], False)
    return _parse_odd(text)


def join_url(base: Target, location: str) -> Target:
    """Where a redirect leads. Raises ValueError with the reason."""
    return parse_url(urljoin(base.url, location.strip().replace("\\", "/")))


def _parse_odd(text: str) -> Target:
    text = text.strip("".join(map(chr, range(33)))).translate({9: None, 10: None, 13: None})
    if not text:
        raise ValueError("no URL")
    if len(text) > MOST_CHARS:
        raise ValueError(f"longer than {MOST_CHARS} characters")
    scheme_match = _SCHEME.match(text)
    scheme = scheme_match[1].lower() if scheme_match else ""
    if not scheme_match or scheme not in _PORTS:
        raise ValueError(f"scheme {scheme[:20]!r} is not http or https" if scheme else "no scheme")
    rest, _, query = text[scheme_match.end() :].partition("#")[0].partition("?")
    rest = rest.replace("\\", "/")
    parts = _AUTHORITY.fullmatch(rest)
    if not parts:
        raise ValueError("no host")
    host, port, is_address = _parse_authority(parts[1], scheme)
    path = _without_dots(quote(parts[2], safe=_PATH_SAFE) or "/")
    target = Target("", scheme, host, port, is_address)
    tail = path + ("?" + quote(query, safe=_QUERY_SAFE) if query else "")
    if len(tail) > 3 * MOST_CHARS:
        raise ValueError(f"longer than {MOST_CHARS} characters")
    return target._replace(url=f"{scheme}://{_authority(target)}{tail}")


def _parse_authority(authority: str, scheme: str) -> tuple[str, int, bool]:
    if "@" in authority:
        raise ValueError("user name in the URL")
    parts = _HOST_PORT.fullmatch(authority)
    if not parts:
        raise ValueError("host and port cannot be told apart")
    host, is_address = _parse_host(parts[1])
    digits = parts[2] or ""
    port = int(digits) if digits and len(digits) <= 5 else 0 if digits else _PORTS[scheme]
    if not 1 <= port <= 65_535:
        raise ValueError(f"port {digits[:10]} is not from 1 to 65535")
    return host, port, is_address


def _parse_host(text: str) -> tuple[str, bool]:
    """The host in normal form, and whether it is an address."""
    if text.startswith("["):
        if "%" in text:
            raise ValueError("zone in an IPv6 address")
        return str(IPv6Address(text[1:-1])), True
    host = unquote(text, errors="strict")
    if len(host) > MOST_HOST_CHARS:
        raise ValueError(f"host longer than {MOST_HOST_CHARS} characters")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    host = host.lower().removesuffix(".")
    if not _NAME.fullmatch(host):
        raise ValueError("no host" if not host else f"{host[:40]!r} is not a host name")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return socket.inet_ntoa(socket.inet_aton(host)), True
        except OSError:
            raise ValueError(f"{host[:40]!r} is not an address") from None
    return host, False


def _without_dots(path: str) -> str:
    """The path without `.` and `..` steps, percent-encoded ones too, so that none can pass a robots.txt rule."""
    if not _DOT_SEGMENT.search(path):
        return path
    kept: list[str] = []
    steps = path.split("/")[1:]
    for step in steps:
        plain = step.lower().replace("%2e", ".")
        if plain == "..":
            del kept[-1:]
        elif plain != ".":
            kept.append(step)
    if steps[-1].lower().replace("%2e", ".") in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _authority(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == _PORTS[target.scheme] else f"{host}:{target.port}"
