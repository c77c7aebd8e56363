"""Pages of one address."""

from filters.url_duplicate import UrlDuplicate


def test_what_has_a_better_copy_falls(reasons):
    assert reasons(UrlDuplicate(), url_duplicate_of=["00000000001", None]) == ["duplicate_url", None]
