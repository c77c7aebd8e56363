"""The transport of `curate browse`, byte by byte: what is refused, what is bounded, what every answer carries."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse

import pytest

from curate.browse.answer import Answer, Asked
from curate.browse.server import BrowseServer, Limits

HASTY = Limits(head_s=0.4)
CROWDED = Limits(connections=4, wait_s=0.2, crowd_s=60)


WAITING: list[int] = []
"""One entry for each request that waits now."""
MOST = [0]
"""How many there were at once."""


def echo(asked: Asked) -> Answer:
    """A site that tells what it was asked, waits for `/wait`, and fails for `/fail`."""
    if asked.path == ("fail",):
        raise RuntimeError("secret words")
    if asked.path == ("wait",):
        WAITING.append(1)
        MOST[0] = max(MOST[0], len(WAITING))
        time.sleep(0.3)
        WAITING.pop()
    return Answer(json.dumps([asked.path, dict(asked.query)]).encode(), media="application/json")


@contextmanager
def serving(**options: object) -> Iterator[BrowseServer]:
    server = BrowseServer(echo, **options)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def server(told: list[str]) -> Iterator[BrowseServer]:
    with serving(limits=Limits(head_bytes=16 << 10), tell=told.append) as running:
        yield running


def ask(server: BrowseServer, target: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    """A request through Python's client, which sends a Host of 127.0.0.1 unless told otherwise."""
    with closing(HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)) as client:
        client.putrequest(method, target, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            client.putheader(name.replace("_", "-"), value)
        client.endheaders()
        response = client.getresponse()
        return response, response.read()


def connected(server: BrowseServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=20)


def raw(server: BrowseServer, data: bytes) -> bytes:
    """All that comes back for these bytes."""
    with connected(server) as client:
        client.sendall(data)
        return received(client)


def received(client: socket.socket) -> bytes:
    found = b""
    while more := client.recv(1 << 16):
        found += more
    return found


def test_path_and_query_are_decoded(server: BrowseServer) -> None:
    response, body = ask(server, "/sample/00000/a%20b%2Fc?where=x%3D%271%27&where=y&empty=")
    assert response.status == 200
    assert json.loads(body) == [["sample", "00000", "a b/c"], {"where": "y", "empty": ""}]
    assert json.loads(ask(server, "/")[1]) == [[], {}]


def test_every_answer_has_the_headers_that_keep_a_page_to_itself(server: BrowseServer) -> None:
    for target in ("/", "/fail", "x", "/%ff"):
        headers = ask(server, target)[0].headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'"), target
        for rule in ("frame-ancestors 'none'", "script-src 'none'", "base-uri 'none'", "form-action 'self'"):
            assert rule in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert "Python" not in headers["Server"]


def test_a_request_of_an_old_kind_is_answered_with_headers_too(server: BrowseServer) -> None:
    for line in (b"GET / HTTP/0.9", b"GET /"):
        answer = raw(server, line + b"\r\nHost: 127.0.0.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.0 200 ")
        assert b"Content-Security-Policy" in answer


def test_head_is_get_without_its_body(server: BrowseServer) -> None:
    got, body = ask(server, "/sample/00000/1")
    head, nothing = ask(server, "/sample/00000/1", "HEAD")
    assert (head.status, nothing) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(body))
    assert raw(server, b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_other_methods_are_refused(server: BrowseServer, method: str) -> None:
    answer = raw(server, f"{method} / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhello".encode())
    assert answer.startswith(b"HTTP/1.0 405 ")
    assert b"\r\nAllow: GET, HEAD\r\n" in answer


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://127.0.0.1/", 404),
        (b"x", 404),
        (b"*", 404),
        (b"/%ff", 404),
        (b"/" + b"a" * 10_000, 414),
        (b"/?" + b"a" * 10_000, 414),
        (b"/?" + b"&".join(b"n%d=1" % n for n in range(41)), 400),
        (b"/?" + b"&".join(b"n%d=1" % n for n in range(40)), 200),
        (b"/" + b"a" * 8_191, 200),
        (b"/" + b"a" * 8_192, 414),
    ],
)
def test_odd_targets(server: BrowseServer, target: bytes, status: int) -> None:
    answer = raw(server, b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 %d " % status)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 403),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / x HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"H%d: 1\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nBig: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_answered_and_not_served(server: BrowseServer, data: bytes, status: int) -> None:
    answer = raw(server, data)
    assert answer.startswith(b"HTTP/1.0 %d " % status), answer
    assert b"Content-Security-Policy" in answer
    assert b"[[], {}]" not in answer
    assert json.loads(ask(server, "/")[1]) == [[], {}]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9999", 200),
        ("localhost:80", 200),
        ("LOCALHOST", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("evil.example:127.0.0.1", 403),
        ("0.0.0.0", 403),
        ("192.168.0.1", 403),
        ("", 403),
    ],
)
def test_a_name_that_is_not_this_machine_is_refused(server: BrowseServer, host: str, status: int) -> None:
    assert ask(server, "/", Host=host)[0].status == status


def test_two_hosts_or_none_are_refused(server: BrowseServer) -> None:
    assert raw(server, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 403 ")
    both = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"
    assert raw(server, both).startswith(b"HTTP/1.0 403 ")


@pytest.mark.parametrize(
    ("site", "into", "status"),
    [
        ("none", "document", 200),
        ("same-origin", "image", 200),
        ("cross-site", "document", 200),
        ("cross-site", "image", 403),
        ("cross-site", "iframe", 403),
        ("same-site", "empty", 403),
    ],
)
def test_other_sites_may_link_here_and_not_embed(server: BrowseServer, site: str, into: str, status: int) -> None:
    assert ask(server, "/", Sec_Fetch_Site=site, Sec_Fetch_Dest=into)[0].status == status


def test_a_page_that_fails_tells_the_terminal_and_not_the_client(server: BrowseServer, told: list[str]) -> None:
    response, body = ask(server, "/fail")
    assert response.status == 500
    assert b"secret" not in body
    assert told[-1:] == ["'/fail' failed: RuntimeError: secret words"]


def test_a_client_that_dribbles_its_request_is_cut_off() -> None:
    began = time.monotonic()
    with serving(limits=HASTY) as server, connected(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        client.setblocking(False)
        answer = b""
        while not answer and time.monotonic() - began < 10:
            with suppress(OSError):
                client.sendall(b"A: b\r\n")
            time.sleep(0.05)
            with suppress(BlockingIOError):
                answer = client.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.0 408 ")


def test_silent_clients_hold_their_places_for_a_while_only() -> None:
    with serving(limits=HASTY) as server, connected(server) as silent:
        assert silent.recv(100) == b""


def test_silent_clients_lose_their_places_as_soon_as_others_wait() -> None:
    limits = Limits(head_s=60, crowd_s=0.1, connections=4, wait_s=30)
    with serving(limits=limits) as server, ExitStack() as silent:
        for _ in range(12):
            silent.enter_context(connected(server))
        assert ask(server, "/")[0].status == 200
        assert len(server.asking) <= limits.connections


def test_many_at_once_are_served_in_turn() -> None:
    found: list[int] = []
    with serving(limits=Limits(connections=4, crowd_s=20, wait_s=20)) as server:
        threads = [threading.Thread(target=lambda: found.append(ask(server, "/")[0].status)) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert found == [200] * 30


def test_more_than_the_places_that_wait_long_are_told_so() -> None:
    found: list[int] = []
    with serving(limits=CROWDED) as server:
        threads = [threading.Thread(target=lambda: found.append(ask(server, "/wait")[0].status)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(found) == 12
    assert set(found) <= {200, 503}
    assert found.count(200) >= 4
    assert 2 <= MOST[0] <= CROWDED.connections


@pytest.fixture(scope="module")
def open_server() -> Iterator[BrowseServer]:
    with serving(host="0.0.0.0") as running:
        yield running


def test_off_loopback_nothing_is_shown_without_the_token(open_server: BrowseServer) -> None:
    token = open_server.access.token
    assert len(token) == 43
    assert open_server.url.endswith(f"/?token={token}")
    cookie = f"curate_browse_{open_server.server_address[1]}"
    for target in ("/", "/samples", "/picture/00000/1", "/?token=", f"/?token={token[:-1]}", "/?token=%C3%A9"):
        response, body = ask(open_server, target)
        assert (response.status, response.headers["Set-Cookie"]) == (403, None), target
        assert token.encode() not in body
    for wrong in ("", f"{cookie}=", f"{cookie}={token}x", f"other={token}", f"{cookie}=é".encode().decode("latin-1")):
        assert ask(open_server, "/", Cookie=wrong)[0].status == 403, wrong
    assert ask(open_server, f"/samples?token={token}")[0].status == 403


def test_the_token_becomes_a_cookie_that_no_script_and_no_other_site_has(open_server: BrowseServer) -> None:
    response, body = ask(open_server, f"/?token={open_server.access.token}", Host="some.host:80")
    assert response.status == 200
    assert b"[[], " not in body
    cookie = response.headers["Set-Cookie"]
    assert cookie.split("; ")[1:] == ["HttpOnly", "SameSite=Strict", "Path=/"]
    again = ask(open_server, "/samples", Cookie=f"a=b;bad cookie; {cookie.split(';')[0]}")
    assert (again[0].status, json.loads(again[1])) == (200, [["samples"], {}])


def test_each_server_has_a_token_of_its_own(open_server: BrowseServer) -> None:
    with serving(ask_token=True) as other:
        assert other.access.token not in ("", open_server.access.token)
        assert ask(other, "/")[0].status == 403
        assert ask(other, f"/?token={other.access.token}")[0].status == 200
        assert ask(other, f"/?token={other.access.token}", Host="evil.example")[0].status == 403


def test_on_loopback_the_address_has_no_token(server: BrowseServer) -> None:
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"
