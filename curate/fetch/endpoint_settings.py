"""How an endpoint of a model is asked, and what an address, a key and further members of a request must be.

An address may be private or loopback, for the user's own config names it. A key goes over plain http to this machine
alone without a word: to another one it is told before a run starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from curate.config import require_range

__all__ = ["EndpointSettings", "host_of", "require_base_url", "require_extra", "sent_to"]

RUNTIME = {"runtime": True}
PATHS = ("/chat/completions", "/images/generations")
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")


@dataclass(frozen=True)
class EndpointSettings:
    """How an endpoint is asked. Nothing of it changes what an answer is. Raises ValueError for what is out of range.

    `concurrency`: requests under way at once, of the whole run; each worker has its part, at least one. Seconds:
    `connect_timeout_s`, `total_timeout_s` of one request from its start to the end of the answer. `retries`: more
    attempts after a timeout, a lost connection, a 408, 425, 429 or 5xx, after `backoff_s`, doubled each time, with
    jitter by the question, at most `most_backoff_s`; a Retry-After is kept to, up to `most_backoff_s`, and after a 429
    no other request starts meanwhile. `most_bytes` of an answer. `ca_file`: a bundle of certificates in PEM.
    """

    concurrency: int = field(default=32, metadata=RUNTIME)
    connect_timeout_s: float = field(default=10.0, metadata=RUNTIME)
    total_timeout_s: float = field(default=120.0, metadata=RUNTIME)
    retries: int = field(default=4, metadata=RUNTIME)
    backoff_s: float = field(default=1.0, metadata=RUNTIME)
    most_backoff_s: float = field(default=60.0, metadata=RUNTIME)
    most_bytes: int = field(default=1_000_000, metadata=RUNTIME)
    verify_tls: bool = field(default=True, metadata=RUNTIME)
    ca_file: str = field(default="", metadata=RUNTIME)

    def __post_init__(self) -> None:
        require_range("concurrency", self.concurrency, 1, 1_024)
        require_range("connect_timeout_s", self.connect_timeout_s, 0.05, 3_600)
        require_range("total_timeout_s", self.total_timeout_s, 0.05, 86_400)
        require_range("retries", self.retries, 0, 20)
        require_range("backoff_s", self.backoff_s, 0, 3_600)
        require_range("most_backoff_s", self.most_backoff_s, 0, 86_400)
        require_range("most_bytes", self.most_bytes, 1_000, 100_000_000)


def require_base_url(base_url: str) -> SplitResult:
    """The parts of an endpoint's address. Raises ValueError for what is none, and for a password in it."""
    try:
        parts = urlsplit(base_url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or not all("!" <= letter <= "~" for letter in base_url):
        raise ValueError("base_url must be an address such as http://127.0.0.1:8000/v1 or https://api.example.org/v1")
    if "@" in parts.netloc:
        raise ValueError("base_url holds a name or password; write the key into a file and name it as api_key_file")
    told = next((path for path in PATHS if parts.path.rstrip("/").endswith(path)), "")
    if parts.query or parts.fragment or told:
        raise ValueError(
            f"base_url = {base_url!r} must end before {told or PATHS[0]}, without ? and #, as in http://127.0.0.1:8000/v1"
        )
    return parts


def require_extra(extra: Mapping[str, Any], own: Collection[str]) -> None:
    """Raise ValueError unless `extra` can be members of a request that sets those of `own` itself."""
    for name in extra:
        if name in own:
            raise ValueError(f"extra may not set {name!r}, which is set here")
    try:
        json.dumps(dict(extra), allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("extra holds what JSON has no word for, such as a date or nan") from None


def host_of(base_url: str) -> str:
    """The host of an endpoint, without port, path and key."""
    return require_base_url(base_url).hostname or ""


def sent_to(base_url: str, with_key: bool) -> str:
    """Whom something is sent to, in words for people who should know where a key goes."""
    host = host_of(base_url)
    travels_open = with_key and base_url.startswith("http:") and not _LOOPBACK.fullmatch(host)
    return f"{host}{', unencrypted, and the key' if travels_open else ''}"
