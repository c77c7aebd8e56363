"""The share of function words."""

import pytest

from curate.text import read_words
from filters.text_stop_words import WORDS, TextStopWords

PARAGRAPH, DOCUMENT = TextStopWords(min=0.3), TextStopWords(min=0.35)


def test_the_list_is_of_words_as_texts_have_them():
    words = read_words(WORDS)
    assert 250 < len(words) < 400
    assert {"the", "of", "don't", "don’t", "by"} <= words
    assert all(word == word.strip().lower() for word in words)


def test_a_credit_falls_as_published(scored, reasons):
    ratio = scored(PARAGRAPH, texts=["Photo by John Smith"])[0]
    assert ratio == [0.25]
    assert reasons(PARAGRAPH, text_stop_words_ratio=ratio) == ["too_few_stop_words"]
    assert reasons(TextStopWords(), text_stop_words_ratio=ratio) == [None]


def test_prose_stays_and_lists_and_other_languages_fall(scored, reasons):
    prose = "The bridge was built in 1894 by two brothers who had learned their trade at the harbour of the town."
    others = [
        "2 cups flour, 1 tsp salt, butter, sugar",
        "Der Hund schläft im Garten hinter dem Haus",
        "犬が庭で寝ている",
    ]
    ratios = scored(TextStopWords(), texts=[prose, *others])[0]
    assert reasons(DOCUMENT, text_stop_words_ratio=ratios) == [None] + ["too_few_stop_words"] * 3
    assert reasons(TextStopWords(), text_stop_words_ratio=ratios) == [None] + ["too_few_stop_words"] * 3


@pytest.mark.parametrize(("ratio", "reason"), [(0.35, None), (0.3499, "too_few_stop_words"), (None, None)])
def test_the_bound_is_included(reasons, ratio, reason):
    assert reasons(DOCUMENT, text_stop_words_ratio=[ratio]) == [reason]


def test_a_list_of_ones_own(scored, tmp_path):
    own = tmp_path / "stop_de.txt"
    own.write_text("# German\nder\nim\n\nDem\n")
    rule = TextStopWords(file=str(own))
    assert scored(rule, texts=["Der Hund, im Garten; dem", "the", "...", None])[0] == [3 / 5, 0, 0, None]
    assert rule.scorer().identity() != TextStopWords().scorer().identity()
    assert rule.identity() == TextStopWords().identity()
