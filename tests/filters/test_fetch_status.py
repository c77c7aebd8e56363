"""Each status but success is its own reason."""

from curate.fetch.status import FetchStatus
from filters.fetch_status import FetchSucceeded


def test_each_failure_is_its_own_reason(reasons):
    statuses = [str(s) for s in FetchStatus]
    expected = [None if s == "success" else s for s in statuses]
    assert reasons(FetchSucceeded(), fetch_status=statuses) == expected
    assert set(FetchSucceeded.reasons) == {*filter(None, expected), "not_fetched"}


def test_no_status_and_a_foreign_one_were_not_fetched(reasons):
    assert reasons(FetchSucceeded(), fetch_status=[None, "ok", "success"]) == ["not_fetched", "not_fetched", None]
