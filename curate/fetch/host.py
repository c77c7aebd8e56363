"""Whose turn it is: queues per host, so that a slow or strict host holds up its own rows and nobody else's.

A host may start a request when it has a free slot, its pace allows it (a token bucket, written as the theoretical
arrival time of the generic cell rate algorithm) and it is not paused by a Retry-After. Hosts that may start stand in
a round; hosts that must wait for a time stand in a heap; the others are woken when a request of theirs ends.
A host without state worth keeping is forgotten, so a list of millions of hosts does not grow the process.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from curate.fetch.settings import FetchSettings

__all__ = ["Host", "Hosts"]

W = TypeVar("W")
MOST_IDLE_HOSTS = 20_000


@dataclass(eq=False, slots=True)
class Host(Generic[W]):
    """One host: its waiting work and what we know of its patience. Times are of one monotonic clock, in seconds."""

    name: str
    pace_s: float
    queue: deque[W] = field(default_factory=deque)
    active: int = 0
    due_s: float = 0.0
    paused_until_s: float = 0.0
    suspended_until_s: float = 0.0
    suspended_for: str = ""
    failures: int = 0
    waits: bool = False

    def pause(self, until_s: float) -> None:
        """No new request before that time."""
        self.paused_until_s = max(self.paused_until_s, until_s)

    def suspend(self, until_s: float) -> None:
        """No request before that time, and work for this host is not to wait for it."""
        self.suspended_until_s = max(self.suspended_until_s, until_s)

    def idle(self, now_s: float) -> bool:
        """Whether this host may be forgotten: nothing waits, nothing runs, and it asked for no more patience."""
        last_s = max(self.due_s, self.paused_until_s, self.suspended_until_s)
        return not self.queue and not self.active and last_s <= now_s


class Hosts(Generic[W]):
    """All hosts with work. `W` is whatever waits in the queues."""

    def __init__(self, settings: FetchSettings) -> None:
        self._most_active = settings.per_host_concurrency
        self._pace_s = 1.0 / settings.per_host_rate if settings.per_host_rate else 0.0
        self._most_delay_s = settings.most_crawl_delay_s
        self._breaker_failures, self._breaker_s = settings.breaker_failures, settings.breaker_s
        self._hosts: dict[str, Host[W]] = {}
        self._round: deque[Host[W]] = deque()
        self._later: list[tuple[float, int, Host[W]]] = []
        self._count = 0
        self._most_hosts = MOST_IDLE_HOSTS

    def get(self, name: str, now_s: float) -> Host[W]:
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= self._most_hosts:
                self._forget(now_s)
            host = self._hosts[name] = Host(name, self._pace_s)
        return host

    def slow_down(self, host: Host[W], delay_s: float) -> None:
        """Honour a crawl delay, up to the most the settings allow; it never makes a host faster."""
        host.pace_s = max(self._pace_s, min(delay_s, self._most_delay_s))

    def put(self, host: Host[W], work: W, first: bool = False) -> None:
        if first:
            host.queue.appendleft(work)
        else:
            host.queue.append(work)
        self._line_up(host)

    def take(self, now_s: float) -> tuple[Host[W], W] | None:
        """The next work that may start now; its host has one more active. None if all must wait."""
        while self._later and self._later[0][0] <= now_s:
            self._round.append(heapq.heappop(self._later)[2])
        while self._round:
            host = self._round.popleft()
            host.waits = False
            if not host.queue or host.active >= self._most_active:
                continue
            start_s = self._start_s(host)
            if start_s > now_s:
                self._wait_until(host, start_s)
                continue
            host.active += 1
            host.due_s = max(host.due_s, now_s) + host.pace_s
            work = host.queue.popleft()
            self._line_up(host)
            return host, work
        return None

    def give_back(self, host: Host[W]) -> None:
        """A request of this host has ended."""
        host.active -= 1
        self._line_up(host)

    def put_off(self, host: Host[W]) -> None:
        """The work just taken was not used after all: its place in the pace goes to the next."""
        host.due_s -= host.pace_s
        self.give_back(host)

    def answered(self, host: Host[W]) -> None:
        host.failures = 0

    def failed(self, host: Host[W], now_s: float) -> bool:
        """Count a connection that failed; True if that suspends the host. After a suspension one failure is enough."""
        host.failures += 1
        if host.failures < self._breaker_failures or self._breaker_s == 0:
            return False
        host.failures = self._breaker_failures - 1
        host.suspend(now_s + self._breaker_s)
        return True

    def wake_s(self) -> float | None:
        """When the first waiting host may start, if one waits for a time alone."""
        return self._later[0][0] if self._later else None

    def clear(self) -> None:
        """Drop all work, waiting and running; what is known of the hosts stays."""
        for host in self._hosts.values():
            host.queue.clear()
            host.active = 0

    def _forget(self, now_s: float) -> None:
        self._hosts = {name: host for name, host in self._hosts.items() if not host.idle(now_s)}
        self._most_hosts = max(MOST_IDLE_HOSTS, 2 * len(self._hosts))

    def _start_s(self, host: Host[W]) -> float:
        # A crawl delay asks for a gap between any two requests; our own rate allows a burst of one round of slots.
        burst = self._most_active if host.pace_s == self._pace_s else 1
        return max(host.due_s - (burst - 1) * host.pace_s, host.paused_until_s)

    def _line_up(self, host: Host[W]) -> None:
        if not host.waits and host.queue and host.active < self._most_active:
            host.waits = True
            self._round.append(host)

    def _wait_until(self, host: Host[W], start_s: float) -> None:
        host.waits = True
        self._count += 1
        heapq.heappush(self._later, (start_s, self._count, host))
