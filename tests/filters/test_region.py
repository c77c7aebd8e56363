"""Parts that are not of the document, by region."""

import pytest

from curate.document.extraction import REGIONS
from filters.region import Region


@pytest.mark.parametrize(
    ("region", "why", "reason"),
    [
        ("main", None, None),
        ("comments", "comments", "in_comments"),
        ("comments", None, None),
        ("navigation", "mostly links", "in_navigation"),
        ("main", "low score", "not_content"),
        ("margin", "unheard of", "not_content"),
        (None, "hidden", "not_content"),
        (None, None, None),
    ],
)
def test_what_extraction_says_decides(reasons, region, why, reason):
    assert reasons(Region(), region=[region], region_reason=[why]) == [reason]


def test_every_region_has_a_reason_of_its_own(reasons):
    names = list(REGIONS)
    given = reasons(Region(), region=names, region_reason=names)
    assert given == [*Region.reasons][:-1]
    assert dict(zip(names, given, strict=True)).items() >= {"aside": "in_aside", "hidden": "is_hidden"}.items()


def test_regions_that_are_let_through(reasons):
    rule = Region(keep=("comments", "aside"))
    regions = ["comments", "aside", "footer", None]
    assert reasons(rule, region=regions, region_reason=["x"] * 4) == [None, None, "in_footer", "not_content"]


def test_a_region_that_is_none_is_refused():
    with pytest.raises(ValueError, match="keep = 'comment' is no region; known: navigation"):
        Region(keep=("comment",))
