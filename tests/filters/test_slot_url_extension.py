"""Extensions in URLs."""

import pytest

from filters.slot_url_extension import SlotUrlExtension

MMC4 = SlotUrlExtension(("png", "jpeg", "jpg"), missing=False)
REFUSED, MISSING = "url_extension_refused", "url_extension_missing"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://a.com/a.jpg", None),
        ("https://a.com/b/c/a.JPEG?w=300&f=x.gif#top", None),
        ("https://a.com/a.min.png", None),
        ("https://a.com/a.gif", REFUSED),
        ("https://a.com/a.svg?x=.png", REFUSED),
        ("https://a.com/a.jpg/", MISSING),
        ("https://a.com/v1.2/photo", MISSING),
        ("https://a.com/photo.original", MISSING),
        ("https://a.com?x=a.jpg", MISSING),
        ("https://a.jpg", MISSING),
        ("https://a.com/", MISSING),
        (None, None),
    ],
)
def test_mmc4_takes_three_and_the_default_also_what_has_none(reasons, url, reason):
    assert reasons(MMC4, url=[url]) == [reason]
    assert reasons(SlotUrlExtension(), url=[url]) == [None if reason == MISSING else reason]


@pytest.mark.parametrize("extension", [".jpg", "", "picture"])
def test_what_is_no_extension_is_refused(extension):
    with pytest.raises(ValueError, match="one to five letters"):
        SlotUrlExtension((extension,))


def test_letter_case_is_not_looked_at(reasons):
    rule = SlotUrlExtension(("JPG",))
    assert reasons(rule, url=["https://a.com/a.jpg", "https://a.com/a.JPG", "https://a.com/a.png"]) == [
        None,
        None,
        REFUSED,
    ]
