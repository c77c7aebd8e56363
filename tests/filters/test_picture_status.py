"""What became of the picture of a slot."""

from curate.fetch.status import FetchStatus
from filters.picture_status import PictureStatus


def test_what_arrived_and_what_was_not_asked_for_is_kept(reasons):
    status = ["success", None, "not_found", "timeout", "strange"]
    given = [None, None, "picture_not_found", "picture_timeout", "picture_failed"]
    assert reasons(PictureStatus(), fetch_status=status) == given


def test_every_failure_has_its_reason(reasons):
    failures = [str(status) for status in FetchStatus if status is not FetchStatus.SUCCESS]
    assert reasons(PictureStatus(), fetch_status=failures) == [f"picture_{status}" for status in failures]
