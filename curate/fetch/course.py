"""The way of a row, from its URL to its answer: permission, the host's turn, transfer, redirects, another attempt.

A row is a *visit*. Requests for robots.txt are visits too, so they keep the same deadlines, guard, host limits and
retries. Nothing here waits: the client's loop says what time it is, starts what may start and brings what has ended.
"""

from __future__ import annotations

import heapq
import time
from collections import deque

from curate.fetch.exchange import Exchange, Verdict
from curate.fetch.host import Host, Hosts
from curate.fetch.manners import Manners, Site
from curate.fetch.opt_out import robots_tag_refusal, tdm_header_refusal
from curate.fetch.retry import backoff_s, retry_after_s
from curate.fetch.robots import MOST_ROBOTS_BYTES
from curate.fetch.settings import FetchSettings
from curate.fetch.status import FetchStatus
from curate.fetch.transfer import Wire
from curate.fetch.url import join_url, parse_url
from curate.fetch.visit import REDIRECTS, Response, Visit, read_answer
from curate.fetch.wanted import Wanted

__all__ = ["Course"]

MOST_ROBOTS_REDIRECTS = 5  # RFC 9309, section 2.3.1.2
MOST_SUSPENSION_S = 86_400.0
_BROKEN_HOST = frozenset(
    {
        FetchStatus.DNS_ERROR,
        FetchStatus.CONNECT_ERROR,
        FetchStatus.TLS_ERROR,
        FetchStatus.TIMEOUT,
        FetchStatus.CONNECTION_LOST,
    }
)


class Course:
    """All visits under way. `held` rows are not answered yet; `ready` are answers that nobody has taken.

    What is known of hosts and sites outlives the visits.
    """

    def __init__(self, settings: FetchSettings, wire: Wire, wanted: Wanted) -> None:
        self._settings = settings
        self._wanted = wanted
        self._wire = wire
        self._hosts: Hosts[Visit] = Hosts(settings)
        self._manners: Manners[Visit] = Manners(settings)
        self.clear()

    def clear(self) -> None:
        """Drop all visits; what is known of hosts and sites stays."""
        self._wire.abandon()
        self._hosts.clear()
        self._manners.clear()
        self._flying: dict[Exchange, Visit] = {}
        self._later: list[tuple[float, int, Visit]] = []
        self._retried = 0
        self.ready: deque[Response] = deque()
        self.held = 0

    def admit(self, row: int, url: str, now: float) -> None:
        """Begin a row; one whose URL is none is answered at once."""
        try:
            target = parse_url(url)
        except (ValueError, TypeError) as error:
            self.ready.append(Response(row, url, FetchStatus.INVALID_URL, str(error)[:200]))
            return
        self.held += 1
        self._route(Visit(row, url, target, target), now)

    def resume(self, now: float) -> None:
        """Begin the next attempt of those whose wait is over."""
        while self._later and self._later[0][0] <= now:
            visit = heapq.heappop(self._later)[2]
            visit.begin_attempt()
            self._route(visit, now)

    def wake_s(self, with_hosts: bool) -> float | None:
        """When something may start without anything ending: a retry, and with `with_hosts` a host's next turn."""
        wakes = [self._later[0][0]] if self._later else []
        host_s = self._hosts.wake_s() if with_hosts else None
        return min([*wakes, *([host_s] if host_s is not None else [])], default=None)

    def launch(self, now: float) -> bool:
        """Start the visit whose turn it is; False when it is nobody's."""
        taken = self._hosts.take(now)
        if taken:
            self._launch(*taken, now)
        return bool(taken)

    def _route(self, visit: Visit, now: float) -> None:
        """Ask the site about this hop, or let it wait until the site has answered."""
        site = self._manners.site(visit.target, now) if visit.question_to is None else None
        if site is None:
            self._queue(visit, now)
        elif site.to_ask:
            site.waiting.append(visit)
            if not site.asking:
                self._ask(site, now)
        else:
            self._permit(visit, site, now)

    def _ask(self, site: Site[Visit], now: float) -> None:
        """Put the next question to the site; when none is left, let go those who waited."""
        target = self._manners.next_question(site)
        if target:
            self._queue(Visit(-1, target.url, target, target, question_to=site), now)
            return
        waiting, site.waiting = site.waiting, []
        for visit in waiting:
            self._permit(visit, site, now)

    def _permit(self, visit: Visit, site: Site[Visit], now: float) -> None:
        answer = self._manners.ask(site, visit.target)
        visit.robots, visit.opt_out = answer.robots, answer.opt_out
        if answer.verdict:
            self._end(visit, answer.verdict)
            return
        self._hosts.slow_down(self._hosts.get(visit.target.host, now), site.delay_s)
        self._queue(visit, now)

    def _queue(self, visit: Visit, now: float) -> None:
        visit.host = host = self._hosts.get(visit.target.host, now)
        visit.queued_s = now
        if host.suspended_until_s > now:
            self._end(visit, (FetchStatus.HOST_SUSPENDED, host.suspended_for))
        else:
            self._hosts.put(host, visit, first=visit.question_to is not None or visit.redirects > 0)

    def _launch(self, host: Host[Visit], visit: Visit, now: float) -> None:
        settings = self._settings
        if now - visit.queued_s > settings.most_wait_s:
            self._hosts.put_off(host)
            self._end(visit, (FetchStatus.HOST_SUSPENDED, f"waited {settings.most_wait_s:g} s for its turn"))
            return
        if not visit.redirects:
            visit.attempts += 1
        left_s = settings.total_timeout_s - visit.attempt_s
        if visit.question_to is None:
            exchange = Exchange(visit.target, settings.most_bytes, left_s, self._judge, decode=visit.decode)
        else:
            exchange = Exchange(visit.target, MOST_ROBOTS_BYTES, left_s, cut=True, decode=visit.decode)
        self._flying[exchange] = visit
        self._wire.start(exchange)

    def _judge(self, exchange: Exchange) -> Verdict | None:
        """Whether the headers of an answer opt it out, or say that it is nothing that we are out for."""
        settings = self._settings
        tags = exchange.headers.get(b"x-robots-tag", ())
        directive = robots_tag_refusal(tags, settings.agent_token, settings.opt_out) if tags else None
        rule = f"x-robots-tag: {directive}" if directive else None
        if rule is None and settings.tdm != "ignore":
            rule = tdm_header_refusal(exchange.headers.get(b"tdm-reservation", ()))
        self._flying[exchange].opt_out = rule
        return (FetchStatus.OPTED_OUT, rule) if rule else self._wanted.refusal(exchange.header(b"content-type"))

    def land(self, exchange: Exchange) -> None:
        """Take in what has ended: an answer, a redirect, or a reason to try again."""
        visit, now = self._flying.pop(exchange), time.monotonic()
        host = self._host_of(visit)
        self._hosts.give_back(host)
        visit.take_in(exchange)
        verdict = read_answer(exchange, visit.question_to is None)
        if exchange.http_status is not None:
            self._hosts.answered(host)
        elif visit.attempts == 1 and verdict[0] in _BROKEN_HOST and self._hosts.failed(host, now):
            self._suspend(host, f"{self._settings.breaker_failures} failures in a row, the last: {verdict[1]}")
        location = exchange.header(b"location")
        if verdict[0] is FetchStatus.BAD_REDIRECT and exchange.http_status in REDIRECTS and location:
            self._redirect(visit, location, now)
        elif verdict[0] is FetchStatus.IMAGE_BROKEN and exchange.miscoded:
            visit.decode = False
            self._queue(visit, now)
        elif not self._try_later(visit, exchange, verdict, now):
            self._end(visit, verdict, exchange.body if verdict[0] is FetchStatus.SUCCESS else b"")

    def _redirect(self, visit: Visit, location: str, now: float) -> None:
        most = self._settings.most_redirects if visit.question_to is None else MOST_ROBOTS_REDIRECTS
        if visit.redirects >= most:
            self._end(visit, (FetchStatus.BAD_REDIRECT, f"more than {most} redirects"))
            return
        try:
            visit.target = join_url(visit.target, location)
        except ValueError as error:
            self._end(visit, (FetchStatus.BAD_REDIRECT, f"to {location[:100]!r}: {error}"))
            return
        visit.redirects += 1
        self._route(visit, now)

    def _try_later(self, visit: Visit, exchange: Exchange, verdict: Verdict, now: float) -> bool:
        """Whether this visit gets another attempt; a Retry-After is honoured for the whole host."""
        settings, host = self._settings, self._host_of(visit)
        wait_s = backoff_s(visit.url, visit.attempts, settings.backoff_s, settings.most_backoff_s)
        if exchange.http_status in (429, 503):
            asked_s = retry_after_s(exchange.header(b"retry-after"), time.time())
            if asked_s is not None and asked_s > settings.most_backoff_s:
                host.suspend(now + min(asked_s, MOST_SUSPENSION_S))
                self._suspend(host, f"asked to wait {asked_s:.0f} s")
                return False
            wait_s = max(wait_s, asked_s or 0.0)
            if asked_s or exchange.http_status == 429:
                host.pause(now + wait_s)
        if not verdict[0].heals or visit.attempts > settings.retries:
            return False
        self._retried += 1
        heapq.heappush(self._later, (now + wait_s, self._retried, visit))
        return True

    def _suspend(self, host: Host[Visit], reason: str) -> None:
        """End all that waits for a host which has just been suspended."""
        host.suspended_for = reason[:200]
        waiting = list(host.queue)
        host.queue.clear()
        for visit in waiting:
            self._end(visit, (FetchStatus.HOST_SUSPENDED, host.suspended_for))

    def _end(self, visit: Visit, verdict: Verdict, body: bytes = b"") -> None:
        site = visit.question_to
        if site is None:
            self.held -= 1
            self.ready.append(visit.response(verdict, body))
            return
        now = time.monotonic()
        self._manners.learn(site, verdict, body, now)
        self._ask(site, now)

    @staticmethod
    def _host_of(visit: Visit) -> Host[Visit]:
        if visit.host is None:
            raise RuntimeError("a visit was launched before it was queued")
        return visit.host
