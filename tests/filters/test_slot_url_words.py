"""Words in URLs, as whole tokens and as OBELICS looks for them."""

import pytest

from filters.slot_url_words import SlotUrlWords

OBELICS = SlotUrlWords(("logo", "button", "icon", "plugin", "widget", "porn", "xxx", "sex"), "substring")
BLOCKED = "url_word_blocked"


@pytest.mark.parametrize(
    ("url", "token", "substring"),
    [
        ("https://a.com/logo.png", BLOCKED, BLOCKED),
        ("https://a.com/img/site-logo_2x.png", BLOCKED, BLOCKED),
        ("https://a.com/LOGO.png", BLOCKED, None),
        ("https://a.com/icons/mail.svg", BLOCKED, BLOCKED),
        ("https://a.com/avatar/12.jpg", BLOCKED, None),
        ("https://a.com/next?url=%2Fimg%2Flogo.png", BLOCKED, BLOCKED),
        ("https://a.com/icon32", BLOCKED, BLOCKED),
        ("https://a.com/catalogo/12.jpg", None, BLOCKED),
        ("https://www.essex.ac.uk/bridge.jpg", None, BLOCKED),
        ("https://logo.lexicon.org/bridge.jpg", None, BLOCKED),
        ("https://a.com/wp-content/plugins/gallery/bridge.jpg", None, BLOCKED),
        ("https://a.com/rhetoric.jpg", None, None),
        ("https://a.com/silicone-iconic-éicon.jpg", None, BLOCKED),
        ("https://a.com", None, None),
        (None, None, None),
    ],
)
def test_both_modes(reasons, url, token, substring):
    assert reasons(SlotUrlWords(), url=[url]) == [token]
    assert reasons(OBELICS, url=[url]) == [substring]


def test_words_of_ones_own_are_taken_literally(reasons):
    rule = SlotUrlWords(("a.b", "x+"), "substring")
    assert reasons(rule, url=["https://h/a.b", "https://h/a-b", "https://h/xx", "https://h/x+"]) == [
        BLOCKED,
        None,
        None,
        BLOCKED,
    ]


@pytest.mark.parametrize("settings", [{"words": ()}, {"words": ("2x",)}, {"words": ("",), "mode": "substring"}])
def test_words_that_cannot_be_found_are_refused(settings):
    with pytest.raises(ValueError, match="words"):
        SlotUrlWords(**settings)
