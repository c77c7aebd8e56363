"""Asking before taking: robots.txt, X-Robots-Tag, TDM reservation, as the client keeps them."""

import json
from dataclasses import replace

import pytest
from fault_web import FAST, Web, collect, fetch_one, reply

from curate.fetch.client import Client

NOTHING = b"User-agent: *\nDisallow: /"


@pytest.mark.parametrize(
    ("robots", "status", "decision"),
    [
        (reply(404, b""), "success", "no_robots"),
        (reply(403, b""), "success", "no_robots"),
        (reply(410, NOTHING), "success", "no_robots"),
        (reply(200, b""), "success", "allowed"),
        (reply(200, b"User-agent: *\nDisallow: /private"), "success", "allowed"),
        (reply(200, b"User-agent: otherbot\nDisallow: /"), "success", "allowed"),
        (reply(200, NOTHING), "robots_disallowed", "disallowed"),
        (reply(200, b"User-agent: curate-vl\nDisallow: /a.jpg"), "robots_disallowed", "disallowed"),
        (reply(500, NOTHING), "robots_unreachable", "unreachable"),
        (reply(503, b""), "robots_unreachable", "unreachable"),
        (reply(429, b""), "robots_unreachable", "unreachable"),
        (lambda c, _: None, "robots_unreachable", "unreachable"),
        (reply(302, b"", "Location: /robots.txt"), "success", "no_robots"),
        (reply(301, b"", "Location: http://b.test/rules"), "robots_disallowed", "disallowed"),
        (lambda c, _: c.sendall(reply(200, NOTHING + b"\n#" + b"x" * 2_000_000)), "robots_disallowed", "disallowed"),
    ],
    ids=["404", "403", "410", "empty", "open", "other", "closed", "us", "500", "503",
         "429", "lost", "loop", "moved", "large"],
)  # fmt: skip
def test_robots_txt_is_read_as_rfc_9309_says(web: Web, robots: object, status: str, decision: str) -> None:
    web.routes |= {"/robots.txt": robots, "/rules": reply(200, NOTHING)}
    got = fetch_one(web, "http://pictures.test/a.jpg")
    assert (got.status, got.robots) == (status, decision)
    assert web.paths().count("/a.jpg") == (1 if status == "success" else 0)
    assert got.attempts == (1 if status == "success" else 0)


def test_robots_txt_is_asked_for_once_per_site_and_first(web: Web) -> None:
    web.routes["/robots.txt"] = reply(200, b"User-agent: *\nDisallow: /no")
    client = Client(FAST, {"*": web.address})
    for _ in range(2):
        got = collect(client, [f"http://{host}.test/{path}" for host in "abc" for path in ("a.jpg", "no.jpg") * 5])
        assert [response.status for response in got] == ["success", "robots_disallowed"] * 15
    client.close()
    for host in ("a.test", "b.test", "c.test"):
        paths = [call.path for call in web.calls if call.host == host]
        assert paths[0] == "/robots.txt"
        assert paths.count("/robots.txt") == 1
        assert "/no.jpg" not in paths


def test_robots_txt_is_asked_for_again_when_its_time_is_over(web: Web) -> None:
    client = Client(replace(FAST, robots_ttl_s=0), {"*": web.address})
    for _ in range(3):
        collect(client, ["http://a.test/a.jpg"])
    client.close()
    assert web.paths().count("/robots.txt") == 3


def test_the_host_of_a_redirect_is_asked_too(web: Web) -> None:
    web.routes |= {"/1": reply(302, b"", "Location: http://b.test/a.jpg"), "b.test/robots.txt": reply(200, NOTHING)}
    got = fetch_one(web, "http://a.test/1")
    assert (got.status, got.redirects, got.robots) == ("robots_disallowed", 1, "disallowed")
    assert "/a.jpg" not in web.paths()


def test_ignored_robots_are_not_asked_for(web: Web) -> None:
    web.routes["/robots.txt"] = reply(200, NOTHING)
    got = fetch_one(web, "http://a.test/a.jpg", robots="ignore")
    assert (got.status, got.robots, web.paths()) == ("success", "not_asked", ["/a.jpg"])


def test_a_site_that_cannot_be_reached_says_why_on_each_row() -> None:
    client = Client(replace(FAST, retries=0))
    got = collect(client, [f"http://no-such-host.invalid/{i}.jpg" for i in range(20)])
    client.close()
    assert {(response.status, response.robots, response.attempts) for response in got} == {
        ("dns_error", "unreachable", 0)
    }


@pytest.mark.parametrize(
    ("headers", "rule"),
    [
        ((), None),
        (("X-Robots-Tag: noai",), "x-robots-tag: noai"),
        (("x-robots-tag: nofollow", "X-ROBOTS-TAG: noindex, x"), "x-robots-tag: noindex"),
        (("X-Robots-Tag: otherbot: noai",), None),
        (("X-Robots-Tag: curate-vl: noai",), "x-robots-tag: noai"),
        (("tdm-reservation: 1",), "tdm-reservation: 1"),
        (("tdm-reservation: 0",), None),
    ],
)
def test_a_picture_opted_out_by_its_headers_is_not_kept(web: Web, headers: tuple[str, ...], rule: str | None) -> None:
    web.routes["/x.jpg"] = reply(200, b"x" * 9_000, *headers)
    got = fetch_one(web, "http://a.test/x.jpg")
    assert (got.status, got.opt_out) == (("opted_out", rule) if rule else ("success", None))
    assert len(got.body) == (0 if rule else 9_000)
    assert got.http_status == 200


def test_the_transfer_ends_at_the_headers(web: Web) -> None:
    sent = []

    def opted_out(connection, call):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\nX-Robots-Tag: noai\r\n\r\n")
        for _ in range(2_000):
            connection.sendall(bytes(100_000))
            sent.append(100_000)

    web.routes["/x.jpg"] = opted_out
    assert fetch_one(web, "http://a.test/x.jpg", most_bytes=2_000_000_000).status == "opted_out"
    assert sum(sent) < 50_000_000


def test_settings_decide_what_is_an_opt_out(web: Web) -> None:
    web.routes["/x.jpg"] = reply(200, b"x", "X-Robots-Tag: noindex", "tdm-reservation: 1")
    assert fetch_one(web, "http://a.test/x.jpg", opt_out=("noai",)).opt_out == "tdm-reservation: 1"
    assert fetch_one(web, "http://a.test/x.jpg", opt_out=(), tdm="ignore").status == "success"


def test_the_tdm_file_of_a_site_is_asked_for_when_told_so(web: Web) -> None:
    rules = [{"location": "/closed/", "tdm-reservation": 1}]
    web.routes |= {"/.well-known/tdmrep.json": reply(200, json.dumps(rules).encode()), "/closed/a.jpg": reply()}
    client = Client(replace(FAST, tdm="well_known"), {"*": web.address})
    free, closed = collect(client, ["http://a.test/a.jpg", "http://a.test/closed/a.jpg"])
    client.close()
    assert (free.status, closed.status, closed.opt_out) == ("success", "opted_out", "tdmrep.json")
    assert sorted(web.paths()) == ["/.well-known/tdmrep.json", "/a.jpg", "/robots.txt"]
    web.calls.clear()
    assert fetch_one(web, "http://a.test/closed/a.jpg").status == "success"
    assert "/.well-known/tdmrep.json" not in web.paths()


def test_a_site_whose_robots_txt_is_unreachable_is_asked_no_more(web: Web) -> None:
    web.routes["/robots.txt"] = reply(500)
    assert fetch_one(web, "http://a.test/a.jpg", tdm="well_known", retries=0).status == "robots_unreachable"
    assert web.paths() == ["/robots.txt"]


def test_a_question_that_fails_once_is_asked_again(web: Web) -> None:
    answers = iter([reply(500), reply(200, NOTHING)])
    web.routes["/robots.txt"] = lambda c, _: next(answers)
    assert fetch_one(web, "http://a.test/a.jpg").status == "robots_disallowed"
