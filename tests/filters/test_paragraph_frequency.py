"""How often a domain says a paragraph."""

import pytest

from filters.paragraph_frequency import ParagraphFrequency


@pytest.mark.parametrize(
    ("documents", "count", "default", "obelics"),
    [
        (2, 2, None, None),
        (3, 3, "paragraph_on_many_pages", "paragraph_said_often"),
        (1, 3, None, "paragraph_said_often"),
        (None, None, None, None),
    ],
)
def test_documents_count_by_default_and_occurrences_as_in_obelics(reasons, documents, count, default, obelics):
    assert reasons(ParagraphFrequency(), paragraph_documents=[documents]) == [default]
    assert reasons(ParagraphFrequency(None, 2), paragraph_count=[count]) == [obelics]


def test_both(reasons):
    values = {"paragraph_documents": [2, 3, 1], "paragraph_count": [2, 3, 9]}
    given = [None, "paragraph_on_many_pages", "paragraph_said_often"]
    assert reasons(ParagraphFrequency(max_count=8), **values) == given


@pytest.mark.parametrize("settings", [{"max_documents": None}, {"max_documents": 0}, {"max_count": 0}])
def test_settings_that_drop_nothing_or_all_are_refused(settings):
    with pytest.raises(ValueError, match=r"nothing would be dropped|out of range"):
        ParagraphFrequency(**settings)
