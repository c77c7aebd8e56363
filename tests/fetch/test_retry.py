"""How long a failed row waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.fetch.retry import backoff_s, retry_after_s

NOON = 1_700_000_000.0


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_the_wait_doubles_within_its_jitter_up_to_the_most(attempt: int) -> None:
    waits = [backoff_s(f"http://a.test/{i}", attempt, 1.0, 100.0) for i in range(200)]
    middle = 2.0 ** (attempt - 1)
    assert min(waits) >= 0.5 * middle
    assert max(waits) <= 1.5 * middle
    assert max(waits) - min(waits) > 0.8 * middle
    assert backoff_s("http://a.test/", attempt, 1.0, 0.1) == 0.1


def test_the_wait_is_the_same_every_time() -> None:
    assert backoff_s("http://a.test/", 2, 1.0, 9.0) == backoff_s("http://a.test/", 2, 1.0, 9.0)
    assert backoff_s("http://a.test/", 10_000, 1.0, 9.0) == 9.0
    assert backoff_s("http://a.test/#\ud800", 1, 1.0, 9.0) > 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 23:13:50 +0100", 30.0),
        ("Tue, 14 Nov 2023 22:13:50", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOON) == seconds


@given(st.text(max_size=40))
def test_no_header_raises(header: str) -> None:
    seconds = retry_after_s(header, NOON)
    assert seconds is None or seconds >= 0
