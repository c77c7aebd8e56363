"""Hosts share the client and not each other's troubles: limits, rates, suspension."""

import threading
import time
from dataclasses import replace

from fault_web import FAST, Web, collect, reply, wait_until

from curate.fetch.client import Client


def test_no_host_gets_more_requests_at_once_than_allowed(web: Web) -> None:
    def together(connection, call):
        wait_until(lambda: web.most_active[call.host] >= 3)
        time.sleep(0.02)
        return reply()

    web.routes["/x.jpg"] = together
    client = Client(replace(FAST, per_host_concurrency=3), {"*": web.address})
    collect(client, [f"http://{host}.test/x.jpg?{i}" for i in range(20) for host in "ab"])
    client.close()
    assert web.most_active["a.test"] == 3
    assert web.most_active["b.test"] == 3


def test_no_more_transfers_than_allowed_in_all(web: Web) -> None:
    lock, active, most = threading.Lock(), [0], [0]

    def together(connection, call):
        with lock:
            active[0] += 1
            most[0] = max(most[0], active[0])
        wait_until(lambda: most[0] >= 5)
        time.sleep(0.02)
        with lock:
            active[0] -= 1
        return reply()

    web.routes["/x.jpg"] = together
    client = Client(replace(FAST, concurrency=5, robots="ignore"), {"*": web.address})
    collect(client, [f"http://h{i}.test/x.jpg" for i in range(40)])
    client.close()
    assert most[0] == 5


def test_the_rate_of_a_host_is_kept_and_other_hosts_do_not_wait(web: Web) -> None:
    client = Client(
        replace(FAST, per_host_rate=20, per_host_concurrency=2, robots="ignore", concurrency=8), {"*": web.address}
    )
    started = time.monotonic()
    collect(client, ["http://slow.test/a.jpg"] * 21 + [f"http://h{i}.test/a.jpg" for i in range(12)])
    assert time.monotonic() - started >= 0.94  # 21 requests, a burst of 2, then 20 a second
    client.close()
    slow = [call.at_s for call in web.calls if call.host == "slow.test"]
    others = [call.at_s for call in web.calls if call.host != "slow.test"]
    assert max(others) < slow[-1]


def test_a_crawl_delay_is_kept_up_to_the_most(web: Web) -> None:
    web.routes["/robots.txt"] = reply(200, b"User-agent: *\nCrawl-delay: 100")
    client = Client(replace(FAST, most_crawl_delay_s=0.2), {"*": web.address})
    started = time.monotonic()
    collect(client, ["http://a.test/a.jpg"] * 4)
    assert time.monotonic() - started >= 0.59  # the last of four begins three waits after the first
    client.close()


def test_rows_that_wait_too_long_for_their_turn_are_put_off(web: Web) -> None:
    web.routes["/robots.txt"] = reply(200, b"User-agent: *\nCrawl-delay: 0.5")
    client = Client(replace(FAST, most_wait_s=1.2), {"*": web.address})
    started = time.monotonic()
    got = collect(client, ["http://a.test/a.jpg"] * 200)
    assert time.monotonic() - started < 20
    client.close()
    done = [response for response in got if response.status == "success"]
    put_off = [response for response in got if response.status == "host_suspended"]
    assert len(done) + len(put_off) == 200
    assert 1 <= len(done) <= 3
    assert put_off[0].detail == "waited 1.2 s for its turn"
    assert put_off[0].status.heals


def test_a_host_that_fails_again_and_again_is_suspended_and_comes_back(web: Web) -> None:
    web.routes["/bad.jpg"] = lambda c, _: None
    settings = replace(FAST, breaker_failures=5, breaker_s=1.0, retries=0, per_host_concurrency=1)
    client = Client(settings, {"*": web.address})
    got = collect(client, ["http://good.test/a.jpg"] * 9 + ["http://bad.test/bad.jpg"] * 50)
    suspended = collect(client, ["http://bad.test/a.jpg"])[0]
    until = time.monotonic() + 1.01
    assert [response.status for response in got[9:]].count("connection_lost") == 5
    assert [response.status for response in got[9:]].count("host_suspended") == 45
    assert "5 failures in a row" in got[-1].detail
    assert {response.status for response in got[:9]} == {"success"}
    assert suspended.status == "host_suspended"
    wait_until(lambda: time.monotonic() > until)
    assert collect(client, ["http://bad.test/a.jpg"])[0].status == "success"
    client.close()


def test_answers_of_any_kind_are_no_reason_to_suspend(web: Web) -> None:
    client = Client(replace(FAST, breaker_failures=2, retries=0), {"*": web.address})
    web.routes["/bad.jpg"] = reply(500)
    got = collect(client, ["http://a.test/bad.jpg"] * 20 + ["http://a.test/missing.jpg"] * 20)
    client.close()
    assert {response.status for response in got} == {"server_error", "not_found"}


def test_failures_between_answers_are_no_reason_to_suspend(web: Web) -> None:
    web.routes["/bad.jpg"] = lambda c, _: None
    settings = replace(FAST, breaker_failures=2, retries=0, per_host_concurrency=1, robots="ignore")
    client = Client(settings, {"*": web.address})
    got = collect(client, ["http://a.test/bad.jpg", "http://a.test/a.jpg"] * 10)
    client.close()
    assert [response.status for response in got] == ["connection_lost", "success"] * 10


def test_a_long_retry_after_suspends_the_rest_of_the_host(web: Web) -> None:
    web.routes["/x.jpg"] = reply(429, b"", "Retry-After: 3600")
    client = Client(replace(FAST, per_host_concurrency=1), {"*": web.address})
    got = collect(client, ["http://a.test/x.jpg"] * 30 + ["http://b.test/a.jpg"] * 5)
    client.close()
    assert [response.status for response in got] == ["rate_limited"] + ["host_suspended"] * 29 + ["success"] * 5
    assert got[29].detail == "asked to wait 3600 s"


def test_waiting_for_a_retry_holds_no_slot(web: Web) -> None:
    web.routes["/x.jpg"] = reply(500)
    settings = replace(FAST, concurrency=2, per_host_concurrency=2, backoff_s=0.2, retries=1, robots="ignore")
    client = Client(settings, {"*": web.address})
    got = collect(client, [f"http://h{i}.test/x.jpg" for i in range(10)])
    client.close()
    assert {response.attempts for response in got} == {2}
    hosts = [call.host for call in web.calls]
    again = next(n for n, host in enumerate(hosts) if host in hosts[:n])
    assert again > 2, "the third host is asked before the first two are asked again"


def test_a_bad_host_among_many_rows_leaves_the_others_alone(web: Web) -> None:
    others_done = threading.Event()
    web.routes["/hang.jpg"] = lambda c, _: reply() if others_done.wait(19) else None
    client = Client(replace(FAST, concurrency=8, per_host_concurrency=2), {"*": web.address})
    urls = ["http://hang.test/hang.jpg"] * 6 + [f"http://h{i % 7}.test/a.jpg?{i}" for i in range(60)]
    order: list[int] = []
    for response in client.fetch(list(enumerate(urls))):
        order += [response.row] if response else []
        if len(order) == 60:
            others_done.set()
    client.close()
    assert sorted(order) == list(range(66))
    assert set(order[:60]) == set(range(6, 66))
