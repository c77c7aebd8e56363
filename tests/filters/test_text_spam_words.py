"""The share of words of buttons and notices."""

import pytest

from filters.text_spam_words import TextSpamWords

RULE = TextSpamWords()


def test_notices_fall_and_prose_about_them_stays(scored, reasons):
    texts = [
        "Share this on Facebook, Twitter or Pinterest",
        "Subscribe to our newsletter",
        "I might like to see more of this, if you are interested.",
        "In 2012 the band put a video on YouTube, and within a week half of the town could sing it.",
    ]
    ratios = scored(RULE, texts=[*texts, None])[0]
    assert reasons(RULE, text_spam_words_ratio=ratios) == ["too_many_spam_words"] * 2 + [None] * 3


def test_ratio(scored):
    assert scored(RULE, texts=["Click, click! a b", "", "-"])[0] == [0.5, 0, 0]


@pytest.mark.parametrize(("ratio", "reason"), [(3 / 25, None), (0.1201, "too_many_spam_words"), (None, None)])
def test_the_bound_is_included(reasons, ratio, reason):
    assert reasons(RULE, text_spam_words_ratio=[ratio]) == [reason]


def test_a_list_of_ones_own(scored, tmp_path):
    own = tmp_path / "spam.txt"
    own.write_text("casino\n")
    assert scored(TextSpamWords(file=str(own)), texts=["Casino, click"])[0] == [0.5]
