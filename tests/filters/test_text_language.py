"""The language of paragraphs and documents."""

import pytest

from curate.language import PY3LANGID, model_name
from filters.text_language import PREFIX_CHARS, TextLanguage

TEXTS = {
    "The bridge was built by two brothers who had learned their trade at the harbour.": "en",
    "Die Brücke wurde von zwei Brüdern gebaut, die ihr Handwerk am Hafen gelernt hatten.": "de",
    "橋は港で技術を学んだ二人の兄弟によって建てられました。": "ja",
    "1234 --": "und",
    "": "und",
}


def test_py3langid(scored):
    language, probability, model = scored(TextLanguage(), texts=[*TEXTS, None])
    assert language == [*TEXTS.values(), None]
    assert all(0.8 < p <= 1 for p in probability[:3])
    assert model == [model_name(PY3LANGID)] * 5 + [None]


def test_newlines_are_spaces_and_only_the_beginning_is_read(scored):
    english, german = list(TEXTS)[:2]
    begins = (english + "\n") * (PREFIX_CHARS // len(english) + 1)
    assert scored(TextLanguage(), texts=[begins + german * 1000])[0] == ["en"]


def test_lower_case_is_another_score(scored, monkeypatch):
    monkeypatch.setattr("curate.language.classifier", lambda model: lambda line: (line, 1.0))
    assert scored(TextLanguage(lower_case=True), texts=["It\nRAINS"])[0] == ["it rains"]
    assert scored(TextLanguage(), texts=["It\nRAINS"])[0] == ["It RAINS"]
    assert TextLanguage(lower_case=True).scorer().identity() != TextLanguage().scorer().identity()


@pytest.mark.parametrize(
    ("language", "probability", "reason"),
    [
        ("en", 0.8125, None),
        ("en", 0.8, None),
        ("en", 0.79, "text_language_uncertain"),
        ("de", 0.99, "text_in_other_language"),
        ("und", 0.0, "text_language_unknown"),
        ("und", None, "text_language_unknown"),
        (None, None, None),
    ],
)
def test_obelics_asks_for_english_at_eight_tenths(reasons, language, probability, reason):
    rule = TextLanguage(min_probability=0.8)
    assert reasons(rule, text_language=[language], text_language_probability=[probability]) == [reason]


@pytest.mark.parametrize(("probability", "reason"), [(0.5, "text_in_other_language"), (0.49, None)])
def test_another_language_counts_from_a_probability_on(reasons, probability, reason):
    rule = TextLanguage(min_other_probability=0.5)
    assert reasons(rule, text_language=["fr"], text_language_probability=[probability]) == [reason]


@pytest.mark.parametrize("settings", [{"languages": ()}, {"model": "none.bin"}, {"min_probability": 2.0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ValueError, match=r"keeps nothing|no file here|out of range"):
        TextLanguage(**settings)
