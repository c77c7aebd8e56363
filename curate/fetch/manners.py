"""Asking before taking: what each site's robots.txt and tdmrep.json say, asked once per site and remembered.

The answer to the request for robots.txt is read as RFC 9309 section 2.3.1 says: 2xx holds rules, 4xx means there are
none, anything else means stay away for now. 429 is counted with the latter, as Google does. Where the site itself
cannot be reached, the picture could not be either, so its row gets that cause (`dns_error`, `connect_error`, ...);
the others get `robots_unreachable`. Not being reached is remembered for ten minutes only.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from curate.fetch.exchange import Verdict
from curate.fetch.opt_out import TDMREP_PATH, TdmRules
from curate.fetch.robots import ROBOTS_PATH, RobotsRules
from curate.fetch.settings import FetchSettings
from curate.fetch.status import FetchStatus
from curate.fetch.url import Target, parse_url

__all__ = ["Answer", "Manners", "Site"]

W = TypeVar("W")
MOST_SITES = 5_000  # 14 kB each on average over 408 real robots.txt
UNREACHABLE_S = 600.0
_NO_FILE = frozenset({FetchStatus.NOT_FOUND, FetchStatus.GONE, FetchStatus.CLIENT_ERROR, FetchStatus.BAD_REDIRECT})
_NO_SITE = frozenset(
    {
        FetchStatus.DNS_ERROR,
        FetchStatus.CONNECT_ERROR,
        FetchStatus.TLS_ERROR,
        FetchStatus.ADDRESS_REFUSED,
        FetchStatus.HOST_SUSPENDED,
    }
)


@dataclass(frozen=True)
class Answer:
    """May this URL be asked for? `robots` is the decision to record; `verdict` a status and detail if it may not."""

    robots: str
    verdict: Verdict | None = None
    opt_out: str | None = None


@dataclass(eq=False, slots=True)
class Site(Generic[W]):
    """One origin. While its files are asked for, work for it waits here. `to_ask` are the paths still to be asked."""

    origin: str
    to_ask: list[str]
    waiting: list[W] = field(default_factory=list)
    asking: bool = False
    known_until_s: float = -1.0
    robots: str = "not_asked"
    refusal: Verdict | None = None
    rules: RobotsRules | None = None
    tdm: TdmRules | None = None
    delay_s: float = 0.0


class Manners(Generic[W]):
    """The sites known to this process, the most recently used 5,000."""

    def __init__(self, settings: FetchSettings) -> None:
        self._settings = settings
        self._paths = [ROBOTS_PATH] if settings.robots == "obey" else []
        self._paths += [TDMREP_PATH] if settings.tdm == "well_known" else []
        self._sites: OrderedDict[str, Site[W]] = OrderedDict()

    def site(self, target: Target, now_s: float) -> Site[W] | None:
        """The site of a URL, to be asked if `to_ask` is not empty; None if the settings ask nobody."""
        if not self._paths:
            return None
        site = self._sites.get(target.origin)
        if site is None:
            site = self._sites[target.origin] = Site(target.origin, list(self._paths))
            self._forget()
        elif site.known_until_s < now_s and not site.asking and not site.to_ask:
            site.to_ask = list(self._paths)
        self._sites.move_to_end(target.origin)
        return site

    def next_question(self, site: Site[W]) -> Target | None:
        """The next file to ask this site for, or None when all is known."""
        site.asking = bool(site.to_ask)
        return parse_url(site.origin + site.to_ask[0]) if site.to_ask else None

    def learn(self, site: Site[W], outcome: Verdict, body: bytes, now_s: float) -> None:
        """Take in the answer to the site's present question."""
        path = site.to_ask.pop(0)
        site.known_until_s = now_s + self._settings.robots_ttl_s
        if path == TDMREP_PATH:
            site.tdm = TdmRules(body) if outcome[0] is FetchStatus.SUCCESS else None
            return
        site.rules, site.delay_s = None, 0.0
        site.robots, site.refusal = _read(outcome)
        if site.robots == "allowed":
            site.rules = RobotsRules(body, self._settings.agent_token)
            site.delay_s = site.rules.delay_s
        elif site.refusal:
            site.known_until_s = now_s + min(UNREACHABLE_S, self._settings.robots_ttl_s)
            site.to_ask.clear()

    def ask(self, site: Site[W], target: Target) -> Answer:
        """May we ask this site for that URL, by what it has told us?"""
        if site.refusal:
            return Answer(site.robots, site.refusal)
        if site.rules and not site.rules.allows(target.url):
            return Answer("disallowed", (FetchStatus.ROBOTS_DISALLOWED, f"robots.txt of {site.origin}"))
        reserved = site.tdm.refusal(target.url) if site.tdm else None
        if reserved:
            return Answer(site.robots, (FetchStatus.OPTED_OUT, reserved), reserved)
        return Answer(site.robots)

    def clear(self) -> None:
        """Forget work that waits, and questions that were not answered."""
        for origin in [origin for origin, site in self._sites.items() if site.asking or site.to_ask]:
            del self._sites[origin]

    def _forget(self) -> None:
        while len(self._sites) > MOST_SITES:
            origin, site = next(iter(self._sites.items()))
            if site.waiting or site.asking:
                return
            del self._sites[origin]


def _read(outcome: Verdict) -> tuple[str, Verdict | None]:
    """The decision to record, and the refusal for every row of the site if there is one."""
    status, detail = outcome
    if status is FetchStatus.SUCCESS:
        return "allowed", None
    if status in _NO_FILE:
        return "no_robots", None
    if status in _NO_SITE:
        return "unreachable", (status, detail)
    return "unreachable", (FetchStatus.ROBOTS_UNREACHABLE, f"robots.txt: {status}: {detail}"[:200])
