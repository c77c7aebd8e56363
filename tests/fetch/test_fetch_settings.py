"""The [fetch] table: what is refused, and in which words."""

import pytest

from curate.config import build
from curate.errors import ConfigError
from curate.fetch.settings import FetchSettings
from curate.stage import settings_of


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"concurrency": 0}, "concurrency = 0 is out of range"),
        ({"concurrency": "many"}, "fetch.concurrency = 'many' must be an integer"),
        ({"concurency": 5}, "concurrency"),
        ({"per_host_rate": -1}, "per_host_rate"),
        ({"retries": 21}, "retries = 21"),
        ({"most_bytes": 0}, "most_bytes"),
        ({"robots": "obay"}, "obey"),
        ({"tdm": "file"}, "well_known|header|ignore"),
        ({"allow_addresses": ["10.0.0.1/8"]}, "allow_addresses"),
        ({"allow_addresses": ["here"]}, "allow_addresses"),
        ({"user_agent": "Mozilla/5.0 (X11)"}, "user_agent"),
        ({"contact": "a\r\nX: y"}, "contact"),
        ({"opt_out": "noai"}, "fetch.opt_out = 'noai' must be a list"),
        ({"retry": "all"}, "failed"),
        ({"retry_round": 0}, "retry_round"),
    ],
)
def test_bad_tables_are_one_clear_line(table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build(FetchSettings, table, "fetch")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["concurrency", "per_host_concurrency"])
def test_bounds_are_included(key: str) -> None:
    assert getattr(build(FetchSettings, {key: 1}, "fetch"), key) == 1
    assert getattr(build(FetchSettings, {key: 10_000}, "fetch"), key) == 10_000
    with pytest.raises(ConfigError):
        build(FetchSettings, {key: 10_001}, "fetch")


def test_an_integer_goes_where_seconds_are_asked_for() -> None:
    assert build(FetchSettings, {"total_timeout_s": 5}, "fetch").total_timeout_s == 5.0


def test_names_we_go_by() -> None:
    settings = FetchSettings(user_agent="Our-Crawl/2.0", contact="a@b.example")
    assert settings.user_agent_header == "Our-Crawl/2.0 (+a@b.example)"
    assert settings.agent_token == "our-crawl"
    assert FetchSettings().user_agent_header == "curate-vl/0.1"


def test_what_only_changes_speed_is_not_part_of_a_fingerprint() -> None:
    kept = settings_of(FetchSettings())
    assert kept == settings_of(
        FetchSettings(concurrency=7, per_host_rate=0, per_host_concurrency=2, contact="x@y.example")
    )
    assert kept != settings_of(FetchSettings(robots="ignore"))
    assert kept != settings_of(FetchSettings(most_bytes=1))


@pytest.mark.parametrize(("workers", "slots", "rate"), [(1, 8, 10.0), (2, 4, 5.0), (8, 1, 1.25), (20, 1, 0.5)])
def test_a_host_is_asked_for_no_more_by_many_workers(workers: int, slots: int, rate: float) -> None:
    part = FetchSettings(per_host_concurrency=8, per_host_rate=10.0).shared_among(workers)
    assert (part.per_host_concurrency, part.per_host_rate) == (slots, rate)
    assert FetchSettings(per_host_rate=0).shared_among(workers).per_host_rate == 0
