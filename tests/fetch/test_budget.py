"""Bodies under way are bounded together, and all of them arrive nevertheless."""

import threading
import time
import tracemalloc
from dataclasses import replace

import pytest
from fault_web import FAST, Web, reply

from curate.fetch import transfer
from curate.fetch.budget import SMALL_BYTES, Budget
from curate.fetch.client import Client
from curate.fetch.exchange import Exchange
from curate.fetch.url import parse_url

SIZE_BYTES = 16 << 20
COUNT = 12
MOST_BYTES = 32 << 20
SOCKETS_BYTES = 8 << 20  # what the system takes for one connection before anybody reads


def test_a_small_body_always_grows_and_a_large_one_while_there_is_memory_or_it_is_the_largest() -> None:
    budget: Budget[str] = Budget(most_bytes=4 * SMALL_BYTES)
    assert budget.take("first", 3 * SMALL_BYTES, 0.0)
    assert budget.take("second", SMALL_BYTES, 0.0)
    assert not budget.take("second", 1, 5.0)
    assert not budget.take("third", SMALL_BYTES + 1, 6.0)
    assert not budget.take("second", 1, 7.0)
    assert budget.take("third", SMALL_BYTES, 0.0)
    assert budget.take("first", 1, 0.0)
    assert budget.resume() is None
    budget.drop("first")
    assert budget.resume() == ("second", 5.0)
    assert budget.take("second", 4 * SMALL_BYTES, 0.0)
    assert budget.resume() is None
    budget.drop("third")
    budget.drop("second")
    assert budget.resume() is None


def test_without_room_even_the_largest_waits_and_then_goes_on() -> None:
    budget: Budget[str] = Budget(most_bytes=SMALL_BYTES)
    budget.room = False
    assert budget.take("only", SMALL_BYTES, 0.0)
    assert not budget.take("only", 1, 2.0)
    assert budget.resume() is None
    budget.room = True
    assert budget.resume() == ("only", 2.0)
    assert budget.take("only", SMALL_BYTES, 3.0)


class Large:
    """Sends large bodies and counts what the client has let it send."""

    def __init__(self, web: Web) -> None:
        self.sent_bytes, self.go_on, self._lock = 0, threading.Event(), threading.Lock()
        web.routes = {f"/{row}.jpg": self.send for row in range(COUNT)} | {"/a.jpg": reply()}

    def send(self, connection, call) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE_BYTES)
        piece = bytes(1 << 16)
        for _ in range(SIZE_BYTES // len(piece) - 1):
            connection.sendall(piece)
            with self._lock:
                self.sent_bytes += len(piece)
        self.go_on.wait(30)
        connection.sendall(piece)


@pytest.mark.parametrize("room", [True, False])
def test_many_large_bodies_at_once_are_read_within_the_bound(
    web: Web, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    """None ends before all that may be read is read; without the bound that is all of it, 192 MiB."""
    monkeypatch.setattr(transfer, "Budget", lambda: Budget(MOST_BYTES))
    large = Large(web)
    client = Client(replace(FAST, robots="ignore", per_host_concurrency=COUNT), {"*": web.address})
    opened: list[float] = []
    urls = [(row, f"http://h{row}.test/{row}.jpg") for row in range(COUNT)]
    started = []
    responses = client.fetch(
        (started.append(url) or url for url in urls), lambda: room or len(started) < COUNT or bool(opened)
    )
    before = -1
    while large.sent_bytes != before or len(started) < COUNT or not before:
        before, until = large.sent_bytes, time.monotonic() + 0.5
        while time.monotonic() < until:
            assert next(responses) is None
    most = MOST_BYTES + SIZE_BYTES if room else 0
    assert large.sent_bytes <= most + COUNT * (SMALL_BYTES + SOCKETS_BYTES)
    assert large.sent_bytes < COUNT * (SIZE_BYTES - (1 << 16))
    opened.append(time.monotonic())
    large.go_on.set()
    got = [(response.status, len(response.body)) for response in responses if response]
    assert got == [("success", SIZE_BYTES)] * COUNT
    client.close()


def test_a_transfer_that_is_over_leaves_nothing_of_its_body_behind(web: Web) -> None:
    body = bytes(3_000_000)
    web.routes["/a.jpg"] = reply(200, body)
    client = Client(replace(FAST, robots="ignore", per_host_concurrency=20), {"*": web.address})
    tracemalloc.start()
    assert sum(len(r.body) for r in client.fetch((n, "http://h.test/a.jpg") for n in range(20)) if r) == 60_000_000
    assert tracemalloc.get_traced_memory()[0] < 10_000_000
    tracemalloc.stop()
    client.close()


def test_time_spent_waiting_for_room_is_not_the_servers(web: Web) -> None:
    room, paused = [True], threading.Event()

    def in_two_parts(connection, call) -> None:
        connection.sendall(reply(200, bytes(3 * SMALL_BYTES))[:-1])
        paused.wait(30)
        time.sleep(0.3)
        connection.sendall(b"x")

    web.routes["/large.jpg"] = in_two_parts
    client = Client(replace(FAST, robots="ignore", retries=0, total_timeout_s=1.5), {"*": web.address})
    responses = client.fetch([(0, "http://h.test/large.jpg")], lambda: room[0] or not web.calls)
    room[0] = False
    until = time.monotonic() + 1.8
    while time.monotonic() < until:
        assert next(responses) is None
    room[0] = True
    paused.set()
    got = [response for response in responses if response]
    assert [(r.status, len(r.body)) for r in got] == [("success", 3 * SMALL_BYTES)]
    client.close()


def test_time_that_is_forgiven_counts_neither_for_the_deadline_nor_for_the_rate() -> None:
    settings = replace(FAST, total_timeout_s=60.0, least_rate_window_s=10.0)
    for away_s, verdict in ((100.0, None), (0.0, "timeout"), (45.0, "too_slow")):
        exchange = Exchange(parse_url("http://h.test/a.jpg"), 1_000_000, 60.0)
        exchange.take_header(b"HTTP/1.1 200 OK\r\n")
        exchange.take_header(b"\r\n")
        exchange.forgive(away_s)
        found = exchange.overdue(exchange.started_s - away_s + 101.0, settings)
        assert (found[0] if found else None) == verdict
