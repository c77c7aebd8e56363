"""Attempts to make the crawler reach into its own network: all end before a socket is connected."""

import os
import threading
from dataclasses import replace

import pytest
from fault_web import FAST, Web, collect, fetch_one, reply

from curate.fetch.client import Client


@pytest.fixture
def port(web: Web) -> str:
    return web.address.partition(":")[2]


@pytest.mark.parametrize("robots", ["obey", "ignore"])
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.1.",
        "１２７.0.0.1", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    ],
)  # fmt: skip
def test_our_own_machine_under_many_names(web: Web, port: str, host: str, robots: str) -> None:
    got = fetch_one(None, f"http://{host}:{port}/a.jpg", robots=robots, retries=0)
    assert (got.status, got.body) == ("address_refused", b"")
    assert web.connections == 0


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "192.168.1.1", "100.64.0.1", "224.0.0.1", "[fe80::1]"]
)
def test_other_places_that_are_not_public(host: str) -> None:
    got = fetch_one(None, f"http://{host}/latest/meta-data/", robots="ignore")
    assert (got.status, got.attempts) == ("address_refused", 1)


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "0x7f.1", "[::1]"])
def test_a_redirect_to_a_private_address_is_refused_even_where_all_names_are_mapped(web: Web, host: str) -> None:
    web.routes["/1"] = reply(302, b"", f"Location: http://{host}/a.jpg")
    got = fetch_one(web, "http://pictures.test/1")
    assert (got.status, got.redirects) == ("address_refused", 1)
    assert got.detail.endswith({"0x7f.1": "127.0.0.1"}.get(host, host.strip("[]")))
    assert "/a.jpg" not in web.paths()


def test_a_robots_txt_that_leads_to_a_private_address_is_refused(web: Web) -> None:
    web.routes["/robots.txt"] = reply(302, b"", "Location: http://10.0.0.1/robots.txt")
    got = fetch_one(web, "http://pictures.test/a.jpg")
    assert (got.status, got.robots) == ("address_refused", "unreachable")


def test_a_name_that_resolves_to_a_private_address_is_refused(web: Web, port: str) -> None:
    client = Client(FAST, lookup=lambda host: ["127.0.0.1"])
    got = collect(client, [f"http://innocent.test:{port}/a.jpg"])[0]
    client.close()
    assert (got.status, web.connections) == ("address_refused", 0)


def test_dns_rebinding_public_when_first_asked_and_loopback_later(web: Web, port: str) -> None:
    """The first answer is a public address (allow-listed loopback stands in for it), the next ones are not."""
    answers = iter([["127.0.0.1"]])
    web.routes["/robots.txt"] = reply(200, b"User-agent: *\nDisallow:", "Connection: close")
    asked = []

    def rebinding(host: str) -> list[str]:
        asked.append(host)
        return next(answers, ["127.0.0.2"])

    client = Client(replace(FAST, allow_addresses=("127.0.0.1/32",), retries=0), lookup=rebinding)
    got = collect(client, [f"http://rebind.test:{port}/a.jpg"])[0]
    client.close()
    assert len(asked) == 2
    assert web.paths() == ["/robots.txt"]
    assert (got.status, got.detail) == ("address_refused", "loopback address 127.0.0.2")


def test_one_private_answer_among_several_is_not_dialled(web: Web, port: str) -> None:
    client = Client(replace(FAST, allow_addresses=("127.0.0.1/32",)), lookup=lambda host: ["10.0.0.1", "127.0.0.1"])
    got = collect(client, [f"http://both.test:{port}/a.jpg"])[0]
    client.close()
    assert got.status == "success"


def test_an_allow_list_opens_what_it_names_and_no_more(web: Web, port: str) -> None:
    url = f"http://127.0.0.1:{port}/a.jpg"
    assert fetch_one(None, url, allow_addresses=("127.0.0.0/8",)).status == "success"
    assert fetch_one(None, url, allow_addresses=("10.0.0.0/8",)).status == "address_refused"


def test_a_proxy_of_the_environment_is_not_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetch_one(web, "http://pictures.test/a.jpg").status == "success"


def test_only_named_hosts_are_mapped(web: Web) -> None:
    client = Client(replace(FAST, robots="ignore", retries=0), {"known.test": web.address})
    known, unknown = collect(client, ["http://known.test/a.jpg", "http://unknown.invalid/a.jpg"])
    client.close()
    assert (known.status, unknown.status) == ("success", "dns_error")


def test_a_handle_that_was_mapped_once_is_not_mapped_for_the_next_host(web: Web, port: str) -> None:
    settings = replace(FAST, robots="ignore", retries=0, allow_addresses=("127.0.0.0/8",))
    client = Client(settings, {"known.test": "127.0.0.1:" + port})
    web.routes["/b.jpg"] = reply()
    assert collect(client, ["http://known.test/a.jpg"])[0].status == "success"
    assert collect(client, ["http://127.0.0.2:1/b.jpg"])[0].status == "connect_error"
    assert collect(client, ["http://unknown.invalid/b.jpg"])[0].status == "dns_error"
    client.close()
    assert web.paths() == ["/a.jpg"]


def test_no_thread_and_no_open_file_is_left_behind(web: Web) -> None:
    threads, files = threading.active_count(), len(os.listdir("/dev/fd"))
    client = Client(replace(FAST, allow_addresses=("127.0.0.0/8",), retries=0))
    port = web.address.partition(":")[2]
    collect(
        client, [f"http://{host}:{port}/a.jpg" for host in ("127.0.0.1", "localhost", "127.0.0.2", "10.0.0.1")] * 20
    )
    client.close()
    assert len(os.listdir("/dev/fd")) <= files + web.connections  # our side is closed; the server's may not be yet
    assert threading.active_count() <= threads + web.connections
