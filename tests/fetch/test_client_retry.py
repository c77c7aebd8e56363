"""Redirects, retries, deadlines: what takes more than one request, or too long."""

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate

import pytest
from fault_web import FAST, Call, Web, collect, fetch_one, reply

from curate.fetch.client import Client


def after(failures: int, bad: bytes | None, good: bytes) -> Callable[[object, Call], bytes | None]:
    """A route that fails so many times before it answers."""
    left = [failures]

    def route(connection: object, call: Call) -> bytes | None:
        left[0] -= 1
        return bad if left[0] >= 0 else good

    return route


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_counted(web: Web, code: int) -> None:
    web.routes |= {"/1": reply(code, b"", "Location: /2"), "/2": reply(code, b"", "Location: http://b.test/a.jpg")}
    got = fetch_one(web, "http://pictures.test/1")
    assert (got.status, got.redirects, got.final_url) == ("success", 2, "http://b.test/a.jpg")
    assert got.url == "http://pictures.test/1"
    assert got.attempts == 1


@pytest.mark.parametrize(("most", "status"), [(2, "bad_redirect"), (3, "success")])
def test_the_most_redirects(web: Web, most: int, status: str) -> None:
    web.routes |= {f"/{i}": reply(302, b"", f"Location: /{i + 1}") for i in range(3)} | {"/3": reply()}
    assert fetch_one(web, "http://pictures.test/0", most_redirects=most).status == status


@pytest.mark.parametrize(
    "location",
    ["/loop", "file:///etc/passwd", "javascript:x", "http://", "http://u@a.test/", "ftp://a.test/b", "http://[::1/"],
)
def test_redirects_that_lead_nowhere(web: Web, location: str) -> None:
    web.routes["/loop"] = reply(302, b"", f"Location: {location}")
    got = fetch_one(web, "http://pictures.test/loop")
    assert (got.status, got.http_status, got.attempts) == ("bad_redirect", 302, 1)


def test_a_location_that_is_not_ascii_is_read_as_utf8_or_latin_1(web: Web) -> None:
    web.routes |= {
        "/1": b"HTTP/1.1 302 Words\r\nContent-Length: 0\r\nLocation: /\xc3\xbc.jpg\r\n\r\n",
        "/2": b"HTTP/1.1 302 Words\r\nContent-Length: 0\r\nLocation: /\xfc.jpg\r\n\r\n",
        "/%C3%BC.jpg": reply(),
    }
    assert fetch_one(web, "http://pictures.test/1").status == "success"
    assert fetch_one(web, "http://pictures.test/2").status == "success"


@pytest.mark.parametrize("bad", [reply(500), reply(429), reply(503), None], ids=["500", "429", "503", "closed"])
def test_what_heals_is_asked_for_again_as_often_as_allowed(web: Web, bad: bytes | None) -> None:
    web.routes["/x.jpg"] = after(2, bad, reply())
    got = fetch_one(web, "http://pictures.test/x.jpg", retries=2, robots="ignore")
    assert (got.status, got.attempts) == ("success", 3)
    web.routes["/y.jpg"] = after(2, bad, reply())
    got = fetch_one(web, "http://pictures.test/y.jpg", retries=1, robots="ignore")
    assert (got.status, got.attempts) == (
        {reply(429): "rate_limited", None: "connection_lost"}.get(bad, "server_error"),
        2,
    )


def test_a_retry_begins_at_the_first_url(web: Web) -> None:
    web.routes |= {"/1": reply(302, b"", "Location: /x.jpg"), "/x.jpg": after(1, reply(500), reply())}
    got = fetch_one(web, "http://pictures.test/1")
    assert (got.status, got.attempts, got.redirects) == ("success", 2, 1)
    assert [path for path in web.paths() if path != "/robots.txt"] == ["/1", "/x.jpg", "/1", "/x.jpg"]


def test_the_wait_between_attempts_grows(web: Web) -> None:
    web.routes["/x.jpg"] = reply(500)
    fetch_one(web, "http://pictures.test/x.jpg", backoff_s=0.2, retries=2)
    first, second, third = [call.at_s for call in web.calls if call.path == "/x.jpg"]
    assert second - first >= 0.1
    assert third - second >= 0.2


@pytest.mark.parametrize(("code", "header"), [(429, "0.5"), (503, "date")])
def test_retry_after_is_waited_for_by_the_whole_host(web: Web, code: int, header: str) -> None:
    left = [1]

    def busy_at_first(connection: object, call: Call) -> bytes:
        left[0] -= 1
        when = formatdate(time.time() + 2, usegmt=True) if header == "date" else header  # the date is 1 to 2 s away
        return reply(code, b"", f"Retry-After: {when}") if left[0] >= 0 else reply()

    web.routes |= {"/x.jpg": busy_at_first, "/y.jpg": reply()}
    client = Client(replace(FAST, robots="ignore", per_host_concurrency=1), {"*": web.address})
    got = collect(client, ["http://a.test/x.jpg", "http://a.test/y.jpg", "http://b.test/y.jpg"])
    client.close()
    assert [(response.status, response.attempts) for response in got] == [
        ("success", 2),
        ("success", 1),
        ("success", 1),
    ]
    first, *others = [call.at_s for call in web.calls if call.host == "a.test"]
    assert len(others) == 2
    assert min(others) - first >= 0.5
    assert next(call.at_s for call in web.calls if call.host == "b.test") < min(others)


def test_a_retry_after_beyond_the_most_suspends_the_host_and_is_not_shortened(web: Web) -> None:
    web.routes["/x.jpg"] = reply(429, b"", "Retry-After: 3")
    got = fetch_one(web, "http://pictures.test/x.jpg", most_backoff_s=2.9, robots="ignore")
    assert (got.status, got.attempts, len(web.calls)) == ("rate_limited", 1, 1)


def test_no_answer_in_time(web: Web) -> None:
    web.routes["/x.jpg"] = lambda c, _: time.sleep(30)
    got = fetch_one(web, "http://pictures.test/x.jpg", first_byte_timeout_s=0.3, retries=0, robots="ignore")
    assert (got.status, got.detail) == ("timeout", "no answer after 0.3 s")
    assert got.seconds < 20


def trickle(pause_s: float, pieces: int) -> Callable[[object, Call], None]:
    def route(connection, call: Call) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (10 * pieces))
        for _ in range(pieces):
            time.sleep(pause_s)
            connection.sendall(b"x" * 10)

    return route


def test_a_body_that_only_trickles_is_too_slow(web: Web) -> None:
    web.routes["/x.jpg"] = trickle(0.05, 200)
    got = fetch_one(web, "http://pictures.test/x.jpg", least_rate_bytes_s=1_000, least_rate_window_s=0.5, retries=0)
    assert (got.status, got.body) == ("too_slow", b"")
    assert got.seconds < 9


def test_a_body_at_the_least_rate_is_let_through_and_the_total_bounds_it(web: Web) -> None:
    web.routes["/x.jpg"] = trickle(0.05, 20)
    limits = {"least_rate_bytes_s": 2, "least_rate_window_s": 0.4, "retries": 0, "robots": "ignore"}
    assert fetch_one(web, "http://pictures.test/x.jpg", **limits).status == "success"
    got = fetch_one(web, "http://pictures.test/x.jpg", total_timeout_s=0.4, **limits)
    assert (got.status, got.detail) == ("timeout", "not done after 0.4 s")


def test_the_total_deadline_counts_all_redirects(web: Web) -> None:
    def slow(connection, call: Call) -> bytes:
        time.sleep(0.15)
        return reply(302, b"", f"Location: /{int(call.path[1:]) + 1}")

    web.routes |= {f"/{i}": slow for i in range(20)}
    limits = {"total_timeout_s": 0.5, "most_redirects": 20, "retries": 0, "robots": "ignore"}
    got = fetch_one(web, "http://pictures.test/0", **limits)
    assert got.status == "timeout"
    assert got.redirects <= 4


def test_time_in_which_the_caller_does_not_read_is_not_held_against_the_server(web: Web) -> None:
    web.routes["/x.jpg"] = trickle(0.05, 32)
    limits = replace(FAST, least_rate_bytes_s=2, least_rate_window_s=0.4, total_timeout_s=1.3, robots="ignore")
    client = Client(limits, {"*": web.address})
    responses = client.fetch([(0, "http://pictures.test/x.jpg")])
    next(responses)
    time.sleep(1.5)
    assert [response.status for response in responses if response] == ["success"]
    client.close()


def test_nobody_listens() -> None:
    with socket.socket() as silent:  # bound, so that nobody else gets the port, and not listening
        silent.bind(("127.0.0.1", 0))
        client = Client(replace(FAST, robots="ignore"), {"*": f"127.0.0.1:{silent.getsockname()[1]}"})
        got = collect(client, ["http://pictures.test/x.jpg"])[0]
        client.close()
    assert (got.status, got.attempts) == ("connect_error", 3)


def test_a_name_that_does_not_resolve() -> None:
    got = fetch_one(None, "http://no-such-host.invalid/x.jpg", retries=0, robots="ignore")
    assert (got.status, got.http_status) == ("dns_error", None)


def test_a_failure_is_told_in_words_without_the_moment(web: Web) -> None:
    """The detail is a column of a shard whose bytes must not differ from run to run."""
    told = set()
    for _ in range(2):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            client = Client(replace(FAST, retries=0), {"*": f"127.0.0.1:{closed.getsockname()[1]}"})
            told |= {r.detail for r in client.fetch([(0, "http://pictures.test/a.jpg")]) if r is not None}
            client.close()
    assert told == {"Failed to connect to pictures.test:80: Could not connect to server"}
