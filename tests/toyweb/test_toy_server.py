"""The real server over real sockets: every label answers as the truth says, and shutting down waits for nobody."""

import io
import socket
import threading
import time
import zlib
from collections import Counter
from contextlib import suppress

import pycurl
import pytest

from curate.toyweb.answers import PRIVATE_TARGETS, RETRY_AFTER_S
from curate.toyweb.defects import CLEAN, DEFECTS
from curate.toyweb.pages import ADS_HOST, PAGES_HOST, page
from curate.toyweb.picture import encode_row
from curate.toyweb.plan import DOWN_HOST, FORBIDDEN_HOST, FORBIDDEN_PATH, HOSTS, Plan
from curate.toyweb.server import serve

PLAN = Plan(0)
ROWS = list(PLAN.rows(0, 600))
ENOUGH_BYTES = 3_000_000
FAULTS = {"not_found", "gone", "server_error", "redirect", "redirect_loop", "redirect_private", "trickle", "endless"}
FAULTS |= {"closed", "rate_limited_once", "server_error_once"}


@pytest.fixture(scope="module")
def address():
    with serve(PLAN) as found:
        yield found


def first(defect):
    return next(row for row in ROWS if row.defect == defect)


def ask(address, url, **options):
    """(HTTP status or curl's error number, body, headers as sent) of one GET."""
    body, headers, curl = io.BytesIO(), [], pycurl.Curl()

    def take(data):
        body.write(data)
        return len(data) if body.tell() < ENOUGH_BYTES else 0

    settings = {"URL": url, "CONNECT_TO": [f"::{address}"], "WRITEFUNCTION": take, "HEADERFUNCTION": headers.append}
    for name, value in {**settings, "TIMEOUT": 20, **options}.items():
        curl.setopt(getattr(pycurl, name), value)
    try:
        curl.perform()
        status = curl.getinfo(pycurl.RESPONSE_CODE)
    except pycurl.error as error:
        status = -error.args[0]
    fields = [h.decode().strip().partition(": ") for h in headers if b": " in h]
    return status, body.getvalue(), {name.lower(): value for name, _, value in fields}


def connect(address, row):
    """A raw connection on which the row has been asked for."""
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    name, path = row.url.removeprefix("http://").split("/", 1)
    connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    return connection


@pytest.mark.parametrize("defect", [d for d in DEFECTS if d not in FAULTS])
def test_what_is_sent_whole(address, defect):
    row = first(defect)
    status, body, headers = ask(address, row.url)
    assert status == 200
    assert body == encode_row(PLAN, row)
    assert headers["content-type"].startswith("image/")
    tag = headers.get("x-robots-tag", "")
    assert ("noai" in tag or "noimageai" in tag) == (defect in ("opted_out", "other_agent_opted_out"))
    assert tag.startswith("examplebot: ") == (defect == "other_agent_opted_out")
    assert headers.get("tdm-reservation") == ("1" if defect == "tdm_reserved" else None)


@pytest.mark.parametrize(("defect", "status"), [("not_found", 404), ("gone", 410), ("server_error", 500)])
def test_lasting_failures_last(address, defect, status):
    for _ in range(3):
        assert ask(address, first(defect).url)[0] == status


@pytest.mark.parametrize(("defect", "status"), [("rate_limited_once", 429), ("server_error_once", 500)])
def test_passing_failures_pass(defect, status):
    row = first(defect)
    with serve(PLAN) as address:
        code, _, headers = ask(address, row.url)
        assert code == status
        assert headers.get("retry-after") == (str(RETRY_AFTER_S) if status == 429 else None)
        for _ in range(2):
            assert ask(address, row.url)[:2] == (200, encode_row(PLAN, row))


def test_redirects(address):
    row = first("redirect")
    status, _, headers = ask(address, row.url)
    assert status == 301
    assert headers["location"] != row.url
    assert ask(address, row.url, FOLLOWLOCATION=1)[:2] == (200, encode_row(PLAN, row))
    assert ask(address, first("redirect_loop").url, FOLLOWLOCATION=1, MAXREDIRS=10)[0] == -pycurl.E_TOO_MANY_REDIRECTS


def test_redirects_to_private_addresses(address):
    found = {ask(address, row.url)[2]["location"] for row in PLAN.rows(0, 2500) if row.defect == "redirect_private"}
    assert found == set(PRIVATE_TARGETS)


def test_a_closed_connection_has_sent_half(address):
    row = first("closed")
    status, body, _ = ask(address, row.url)
    assert status == -pycurl.E_PARTIAL_FILE
    assert body == encode_row(PLAN, row)[: len(body)]
    assert 0 < len(body) < len(encode_row(PLAN, row))


def test_an_endless_body_goes_on(address):
    status, body, headers = ask(address, first("endless").url)
    assert status == -pycurl.E_WRITE_ERROR  # we stopped, not the server
    assert len(body) >= ENOUGH_BYTES
    assert "content-length" not in headers


def test_an_endless_body_ends_after_all(monkeypatch):
    monkeypatch.setattr("curate.toyweb.server.ENDLESS_BYTES", 1 << 20)
    row = first("endless")
    with serve(PLAN) as address:
        status, body, _ = ask(address, row.url)
    assert status == 200
    assert len(body) == (1 << 20) + len(encode_row(PLAN, row))


def test_a_trickle_trickles(address):
    with connect(address, first("trickle")) as connection:
        pieces = [connection.recv(4096) for _ in range(3)]
    assert pieces[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert all(len(piece) < 9 for piece in pieces[1:])  # one each, where nobody is held up


@pytest.mark.parametrize(
    ("host", "status", "said"),
    [
        (FORBIDDEN_HOST, 200, "Disallow: /\n"),
        (DOWN_HOST, 503, ""),
        (HOSTS[0], 200, f"Disallow: {FORBIDDEN_PATH}\n"),
        (HOSTS[1], 404, ""),
        (HOSTS[3], 200, ""),
        (HOSTS[4], 200, "User-agent: *\nAllow: /\n"),
        (PAGES_HOST, 200, "User-agent: *\nAllow: /\n"),
    ],
)
def test_robots(address, host, status, said):
    code, body, _ = ask(address, f"http://{host}/robots.txt")
    assert code == status
    assert body.decode().endswith(said)


def test_robots_say_what_the_labels_say(address):
    from protego import Protego

    hosts = {row.url.split("/")[2] for row in ROWS} - {DOWN_HOST}
    rules = {host: Protego.parse(ask(address, f"http://{host}/robots.txt")[1].decode()) for host in hosts}
    for row in ROWS:
        host = row.url.split("/")[2]
        if host != DOWN_HOST:
            assert rules[host].can_fetch(row.url, "curate-vl") == (row.defect != "robots_forbidden"), row.url


def test_pages_and_what_surrounds_them(address):
    found = page(PLAN, 2)
    status, body, headers = ask(address, found.url)
    assert (status, body.decode()) == (200, found.html)
    assert headers["content-type"] == "text/html; charset=utf-8"
    for url in (f"http://{ADS_HOST}/728x90/sale-1.png", f"http://{PAGES_HOST}/120x40/logo.png"):
        assert ask(address, url)[1].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOSTS[0]}/",
        f"http://{HOSTS[0]}/favicon.ico",
        f"http://unknown.toyweb.test{first(CLEAN).url[len('http://') :].partition('/')[1]}",
        f"{first(CLEAN).url}x",
        f"http://{HOSTS[0]}/moved/img/000000.jpg",
        f"http://{ADS_HOST}/0x90/a.png",
        f"http://{ADS_HOST}/99999x90/a.png",
        "http://127.0.0.1/admin.jpg",
    ],
)
def test_what_is_not_there_is_not_found(address, url):
    assert ask(address, url)[0] == 404


def test_a_connection_is_kept_for_the_next_request(address):
    host, port = address.split(":")
    row = first(CLEAN)
    name, path = row.url.removeprefix("http://").split("/", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for _ in range(3):
            connection.sendall(f"HEAD /{path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            head = connection.recv(65536)
            assert head.endswith(b"Connection: keep-alive\r\n\r\n")
            assert f"Content-Length: {len(encode_row(PLAN, row))}\r\n".encode() in head
        connection.sendall(f"POST /{path} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 405 ")
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "noise", [b"\r\n\r\n", b"\x16\x03\x01\x02\x00" + bytes(100), b"GET / HTTP/1.1\r\n" + b"a" * 40_000]
)
def test_noise_is_survived(address, noise):
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            connection.recv(65536)
    assert ask(address, first(CLEAN).url)[0] == 200


def test_shutting_down_waits_for_no_client():
    with serve(PLAN) as address:
        held = [connect(address, first(defect)) for defect in ("trickle", "endless", CLEAN)]
        for connection in held:
            assert connection.recv(16).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
    assert time.monotonic() - start < 60  # a trickle alone would take an hour
    for connection in held:
        connection.close()


def test_a_server_stops_when_its_block_fails():
    before = servers()
    with pytest.raises(RuntimeError, match="1 server more"), serve(PLAN):
        raise RuntimeError(f"{servers() - before} server more")
    assert servers() == before


def servers():
    return [thread.name for thread in threading.enumerate()].count("toyweb")


def test_two_servers_send_the_same_bytes():
    digests = []
    for _ in range(2):
        with serve(Plan(4)) as address:
            rows = [row for row in Plan(4).rows(0, 60) if DEFECTS[row.defect].kind != "bad"]
            digests.append([zlib.crc32(ask(address, row.url, FOLLOWLOCATION=1)[1]) for row in rows])
    assert digests[0] == digests[1]
    assert len(Counter(digests[0])) > 20
