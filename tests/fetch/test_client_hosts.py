"""Hosts share the client and not each other's troubles: limits, rates, suspension."""

import time
from dataclasses import replace
from itertools import pairwise

from fault_web import FAST, Web, collect, reply

from curate.fetch.client import Client


def test_no_host_gets_more_requests_at_once_than_allowed(web: Web) -> None:
    web.routes["/x.jpg"] = lambda c, _: time.sleep(0.02) or reply()
    client = Client(replace(FAST, per_host_concurrency=3), {"*": web.address})
    collect(client, [f"http://{host}.test/x.jpg?{i}" for i in range(20) for host in "ab"])
    client.close()
    assert web.most_active["a.test"] == 3
    assert web.most_active["b.test"] == 3


def test_no_more_transfers_than_allowed_in_all(web: Web) -> None:
    active, most = [0], [0]

    def slow(connection, call):
        active[0] += 1
        most[0] = max(most[0], active[0])
        time.sleep(0.02)
        active[0] -= 1
        return reply()

    web.routes["/x.jpg"] = slow
    client = Client(replace(FAST, concurrency=5, robots="ignore"), {"*": web.address})
    collect(client, [f"http://h{i}.test/x.jpg" for i in range(40)])
    client.close()
    assert 4 <= most[0] <= 5


def test_the_rate_of_a_host_is_kept_and_other_hosts_do_not_wait(web: Web) -> None:
    client = Client(
        replace(FAST, per_host_rate=20, per_host_concurrency=2, robots="ignore", concurrency=8), {"*": web.address}
    )
    collect(client, ["http://slow.test/a.jpg"] * 21 + [f"http://h{i}.test/a.jpg" for i in range(50)])
    client.close()
    slow = [call.at_s for call in web.calls if call.host == "slow.test"]
    others = [call.at_s for call in web.calls if call.host != "slow.test"]
    assert slow[-1] - slow[0] >= 0.9  # 21 requests, a burst of 2, then 20 a second
    assert max(others) < slow[-1]


def test_a_crawl_delay_is_kept_up_to_the_most(web: Web) -> None:
    web.routes["/robots.txt"] = reply(200, b"User-agent: *\nCrawl-delay: 100")
    client = Client(replace(FAST, most_crawl_delay_s=0.25), {"*": web.address})
    collect(client, ["http://a.test/a.jpg"] * 4)
    client.close()
    times = [call.at_s for call in web.calls if call.path == "/a.jpg"]
    assert all(later - earlier >= 0.24 for earlier, later in pairwise(times))


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
    assert 2 <= len(done) <= 4
    assert put_off[0].detail == "waited 1.2 s for its turn"
    assert put_off[0].status.heals


def test_a_host_that_fails_again_and_again_is_suspended_and_comes_back(web: Web) -> None:
    web.routes["/bad.jpg"] = lambda c, _: None
    settings = replace(FAST, breaker_failures=5, breaker_s=1.0, retries=0, per_host_concurrency=1)
    client = Client(settings, {"*": web.address})
    got = collect(client, ["http://bad.test/bad.jpg"] * 50 + ["http://good.test/a.jpg"] * 50)
    assert [response.status for response in got[:50]].count("connection_lost") == 5
    assert [response.status for response in got[:50]].count("host_suspended") == 45
    assert "5 failures in a row" in got[49].detail
    assert {response.status for response in got[50:]} == {"success"}
    assert collect(client, ["http://bad.test/a.jpg"])[0].status == "host_suspended"
    time.sleep(1.1)
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
    settings = replace(FAST, concurrency=2, per_host_concurrency=2, backoff_s=1.0, retries=1, robots="ignore")
    client = Client(settings, {"*": web.address})
    started = time.monotonic()
    got = collect(client, [f"http://h{i}.test/x.jpg" for i in range(40)])
    client.close()
    assert {response.attempts for response in got} == {2}
    assert time.monotonic() - started < 15  # one after the other they would wait 40 s


def test_a_bad_host_among_many_rows_leaves_the_others_alone(web: Web) -> None:
    web.routes["/hang.jpg"] = lambda c, _: time.sleep(1)
    client = Client(
        replace(FAST, concurrency=8, per_host_concurrency=2, first_byte_timeout_s=0.4, retries=0), {"*": web.address}
    )
    urls = ["http://hang.test/hang.jpg"] * 6 + [f"http://h{i % 7}.test/a.jpg?{i}" for i in range(60)]
    order = [response.row for response in client.fetch(list(enumerate(urls))) if response]
    client.close()
    assert sorted(order) == list(range(66))
    assert set(order[:60]) == set(range(6, 66))
