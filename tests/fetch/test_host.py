"""Whose turn it is, by a clock the test moves."""

from hypothesis import given
from hypothesis import strategies as st

from curate.fetch.host import MOST_IDLE_HOSTS, Host, Hosts
from curate.fetch.settings import FetchSettings


def hosts(rate: float = 0.0, at_once: int = 2, failures: int = 3) -> Hosts[str]:
    return Hosts(FetchSettings(per_host_rate=rate, per_host_concurrency=at_once, breaker_failures=failures))


def put(queue: Hosts[str], name: str, *work: str) -> Host[str]:
    host = queue.get(name, 0.0)
    for item in work:
        queue.put(host, item)
    return host


def take_all(queue: Hosts[str], now_s: float) -> list[str]:
    taken = []
    while (item := queue.take(now_s)) is not None:
        taken.append(item[1])
    return taken


def test_hosts_take_turns_up_to_their_slots() -> None:
    queue = hosts()
    a = put(queue, "a", "a1", "a2", "a3")
    put(queue, "b", "b1")
    assert take_all(queue, 0.0) == ["a1", "b1", "a2"]
    queue.give_back(a)
    assert take_all(queue, 0.0) == ["a3"]
    assert take_all(queue, 9.0) == []


def test_first_goes_before_what_waits() -> None:
    queue = hosts()
    host = put(queue, "a", "row")
    queue.put(host, "question", first=True)
    assert take_all(queue, 0.0) == ["question", "row"]


def test_a_rate_is_a_burst_of_slots_and_then_one_by_one() -> None:
    queue = hosts(rate=10.0)
    host = put(queue, "a", *"12345")
    assert take_all(queue, 0.0) == ["1", "2"]
    queue.give_back(host)
    queue.give_back(host)
    assert take_all(queue, 0.09) == []
    wake_s = queue.wake_s()
    assert wake_s is not None
    assert abs(wake_s - 0.1) < 1e-9
    assert take_all(queue, wake_s) == ["3"]
    queue.give_back(host)
    assert take_all(queue, 0.21) == ["4"]
    assert queue.wake_s() is None or take_all(queue, 0.25) == []


def test_a_crawl_delay_allows_no_burst() -> None:
    queue = hosts(rate=10.0)
    host = put(queue, "a", *"123")
    queue.slow_down(host, 2.0)
    assert take_all(queue, 0.0) == ["1"]
    assert take_all(queue, 1.9) == []
    assert take_all(queue, 2.0) == ["2"]


def test_a_crawl_delay_makes_nobody_faster_and_ends_at_the_most() -> None:
    queue = hosts(rate=0.5)
    host = put(queue, "a")
    queue.slow_down(host, 0.1)
    assert host.pace_s == 2.0
    queue.slow_down(host, 1e6)
    assert host.pace_s == 10.0


def test_work_that_is_put_off_leaves_its_place_to_the_next() -> None:
    queue = hosts(rate=1.0, at_once=1)
    host = put(queue, "a", *"12")
    assert queue.take(5.0) == (host, "1")
    queue.put_off(host)
    assert queue.take(5.0) == (host, "2")


def test_a_pause_holds_one_host_alone() -> None:
    queue = hosts()
    put(queue, "a", "a1").pause(3.0)
    put(queue, "b", "b1")
    assert take_all(queue, 2.9) == ["b1"]
    assert take_all(queue, 3.0) == ["a1"]


def test_failures_in_a_row_suspend_and_one_more_suspends_again() -> None:
    queue = hosts(failures=3)
    host = put(queue, "a")
    assert [queue.failed(host, 1.0) for _ in range(2)] == [False, False]
    queue.answered(host)
    assert [queue.failed(host, 2.0) for _ in range(3)] == [False, False, True]
    assert host.suspended_until_s == 122.0
    assert queue.failed(host, 200.0)


def test_hosts_that_ask_for_nothing_are_forgotten() -> None:
    queue = hosts()
    busy = put(queue, "busy", "work")
    paused = put(queue, "paused")
    paused.pause(1e9)
    for number in range(MOST_IDLE_HOSTS + 5):
        queue.get(f"h{number}", 10.0)
    assert len(queue._hosts) < MOST_IDLE_HOSTS
    assert queue.get("busy", 10.0) is busy
    assert queue.get("paused", 10.0) is paused


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 4), st.sampled_from([0.0, 5.0]))
def test_everything_put_in_comes_out_once_and_no_limit_is_passed(names: str, at_once: int, rate: float) -> None:
    queue, out, running = hosts(rate, at_once), [], []
    for number, name in enumerate(names):
        put(queue, name, f"{name}{number}")
    now_s = 0.0
    while len(out) < len(names):
        while (item := queue.take(now_s)) is not None:
            running.append(item[0])
            out.append(item[1])
        assert all(running.count(host) <= at_once for host in running)
        for host in running[:2]:
            queue.give_back(host)
        del running[:2]
        now_s += 0.05
        assert now_s < 1_000
    assert sorted(out) == sorted(f"{name}{number}" for number, name in enumerate(names))
    assert all([o for o in out if o[0] == n] == [f"{n}{i}" for i, m in enumerate(names) if m == n] for n in "abc")
