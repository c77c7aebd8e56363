"""Why a page gave no document, in groups."""

import pytest

from curate.archive.record import PROBLEMS
from curate.fetch.status import FetchStatus
from filters.document_status import OTHER, DocumentStatus


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("ok", None),
        ("not_html", "page_not_html"),
        ("revisit", "page_elsewhere"),
        ("http_301", "page_elsewhere"),
        ("http_404", "page_answer_is_error"),
        ("http_503", "page_answer_is_error"),
        ("not_found", "page_answer_is_error"),
        ("bad_chunks", "page_record_broken"),
        ("archive_unreadable", "page_record_broken"),
        ("too_large", "page_too_large"),
        ("too_deep", "page_too_complex"),
        ("too_many_nodes", "page_too_complex"),
        ("empty", "page_empty"),
        ("robots_disallowed", "page_not_fetched"),
        ("extraction_failed", "page_not_extracted"),
        ("strange", "page_not_extracted"),
        (None, "page_not_extracted"),
    ],
)
def test_groups(reasons, status, reason):
    assert reasons(DocumentStatus(), document_status=[status]) == [reason]


def test_no_status_of_an_archive_or_a_fetch_is_without_a_group(reasons):
    known = [*PROBLEMS, *(str(status) for status in FetchStatus)]
    assert OTHER not in reasons(DocumentStatus(), document_status=known)
