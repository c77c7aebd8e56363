"""The `[fetch]` table of a config, so that every number which decides how we treat a host stands in one file.

The defaults lean to the polite side: eight requests at a time and ten a second for one host, robots.txt obeyed, two
retries and only of what can heal. A benchmark against one loopback host sets `per_host_rate = 0` and a higher
`per_host_concurrency`. Fields marked `runtime` change how fast a result comes and not what it is; they stay out of
fingerprints, so a run can be made faster or gentler half-way without fetching again what is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Literal

from curate.config import require_range
from curate.errors import ConfigError

__all__ = ["FetchSettings"]

_HEADER_SAFE = re.compile(r"[ -~]*")
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)?")
RUNTIME = {"runtime": True}


@dataclass(frozen=True)
class FetchSettings:
    """How URLs are asked for. Times in seconds, sizes in bytes; a bound is included.

    Who asks
        `user_agent` is a product and version, `contact` an address or page where a site's owner can reach you; both
        are sent. `contact` may stay empty only where nothing but the run's own or allow-listed addresses is dialled.
    How much at once
        `concurrency` transfers per worker; per host `per_host_concurrency` and `per_host_rate` requests a second (0:
        no bound) for the whole run, of which each worker has its part and at least one slot.
        A crawl delay in robots.txt lowers the rate, up to `most_crawl_delay_s`. A row that has waited `most_wait_s`
        for its host's turn is put off as `host_suspended`, so that one slow host does not hold a shard.
    Deadlines of one attempt, from the start of its request
        `connect_timeout_s`; `first_byte_timeout_s` to the first header; `total_timeout_s` with all redirects; fewer
        than `least_rate_bytes_s` a second over `least_rate_window_s` is `too_slow`.
    Sizes
        `most_bytes` of a body after decompression, `most_redirects`.
    Failures
        `retries` more attempts where the status heals, after `backoff_s`, doubled each time, with jitter, at most
        `most_backoff_s`. A `Retry-After` above that suspends the host instead of being shortened. After
        `breaker_failures` failed connections in a row a host is suspended for `breaker_s`.
    Manners
        `robots`; `opt_out`: X-Robots-Tag directives that refuse a picture; `tdm`: TDM reservation by header, or also
        by the site's `/.well-known/tdmrep.json` (one more request per host). Answers are kept for `robots_ttl_s`.
    Network
        `allow_addresses`: networks (CIDR) exempt from the guard; `verify_tls`, `ca_file`; `dns_cache_s`.
    Work
        `retry = "failed"` asks again only for rows whose status heals, and a higher `retry_round` once more;
        `backend` chooses the program that downloads; img2dataset runs under `img2dataset_python` (empty: this
        interpreter) and honours none of the guards and manners, which `backend_unguarded` accepts.
    """

    user_agent: str = "curate-vl/0.1"
    contact: str = field(default="", metadata=RUNTIME)
    concurrency: int = field(default=256, metadata=RUNTIME)
    per_host_concurrency: int = field(default=8, metadata=RUNTIME)
    per_host_rate: float = field(default=10.0, metadata=RUNTIME)
    most_crawl_delay_s: float = 10.0
    most_wait_s: float = 300.0
    connect_timeout_s: float = 10.0
    first_byte_timeout_s: float = 20.0
    total_timeout_s: float = 60.0
    least_rate_bytes_s: int = 1_000
    least_rate_window_s: float = 10.0
    most_bytes: int = 50_000_000
    most_redirects: int = 5
    retries: int = 2
    backoff_s: float = 1.0
    most_backoff_s: float = 60.0
    breaker_failures: int = 10
    breaker_s: float = 120.0
    robots: Literal["obey", "ignore"] = "obey"
    robots_ttl_s: float = 86_400.0
    opt_out: tuple[str, ...] = ("noai", "noimageai", "noindex", "noimageindex")
    tdm: Literal["ignore", "header", "well_known"] = "header"
    allow_addresses: tuple[str, ...] = ()
    verify_tls: bool = True
    ca_file: str = ""
    dns_cache_s: int = field(default=600, metadata=RUNTIME)
    retry: Literal["none", "failed"] = "none"
    retry_round: int = 1
    backend: Literal["curate", "img2dataset"] = "curate"
    backend_unguarded: bool = False
    img2dataset_python: str = field(default="", metadata=RUNTIME)

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            require_range(name, getattr(self, name), low, high)
        if not _PRODUCT.fullmatch(self.user_agent):
            raise ValueError(f"user_agent = {self.user_agent!r} must be a product and version, such as curate-vl/0.1")
        if not _HEADER_SAFE.fullmatch(self.contact):
            raise ValueError(f"contact = {self.contact!r} must be printable ASCII: a mail address or a page")
        for network in self.allow_addresses:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"allow_addresses: {error}; write a network such as 10.1.0.0/16") from None

    @property
    def agent_token(self) -> str:
        """The name that robots.txt and X-Robots-Tag call us by: the product without its version, lower case."""
        return self.user_agent.partition("/")[0].lower()

    @property
    def user_agent_header(self) -> str:
        """What is sent: product, version and contact."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent

    def shared_among(self, workers: int) -> FetchSettings:
        """The part of one of several workers in what a host is asked for; the slots of a host are at least one each."""
        slots = max(1, self.per_host_concurrency // workers)
        return replace(self, per_host_concurrency=slots, per_host_rate=self.per_host_rate / workers)

    def round_before(self) -> FetchSettings | None:
        """The settings whose finished result these start from: without `retry` none; before round 1 the plain fetch."""
        if self.retry == "none":
            return None
        if self.retry_round > 1:
            return replace(self, retry_round=self.retry_round - 1)
        return replace(self, retry="none")

    def require_contact(self, addresses: Mapping[str, str]) -> None:
        """Raise ConfigError if strangers would be asked and could not find out by whom."""
        if not self.contact and "*" not in addresses and not self.allow_addresses:
            raise ConfigError(
                '[fetch] contact is empty; set it to a mail address or page, e.g. contact = "you@example.org"'
            )


_DAY_S = 86_400.0
_RANGES: tuple[tuple[str, float, float | None], ...] = (
    ("concurrency", 1, 10_000),
    ("per_host_concurrency", 1, 10_000),
    ("per_host_rate", 0, None),
    ("most_crawl_delay_s", 0, 3_600),
    ("most_wait_s", 0, _DAY_S),
    ("connect_timeout_s", 0.05, 3_600),
    ("first_byte_timeout_s", 0.05, 3_600),
    ("total_timeout_s", 0.05, _DAY_S),
    ("least_rate_bytes_s", 0, None),
    ("least_rate_window_s", 0.1, 3_600),
    ("most_bytes", 1, None),
    ("most_redirects", 0, 30),
    ("retries", 0, 20),
    ("backoff_s", 0, 3_600),
    ("most_backoff_s", 0, _DAY_S),
    ("breaker_failures", 1, None),
    ("breaker_s", 0, _DAY_S),
    ("robots_ttl_s", 0, _DAY_S),
    ("dns_cache_s", 0, int(_DAY_S)),
    ("retry_round", 1, None),
)
