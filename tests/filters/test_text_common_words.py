"""The share of words in a list with counts."""

import json

import pytest

from filters.text_common_words import TextCommonWords

LISTS = {
    "words.txt": "the 900\ndog\t5\nsat 1\ncat\n",
    "words.json": json.dumps({"the": 900, "Dog": 5, "sat": 1, "cat": None}),
    "plain.json": json.dumps(["the", "dog", "cat"]),
}


@pytest.mark.parametrize("name", LISTS)
def test_words_count_from_two_occurrences_on(scored, tmp_path, name):
    (tmp_path / name).write_text(LISTS[name])
    rule = TextCommonWords(file=str(tmp_path / name))
    assert scored(rule, texts=["The dog sat", "the cat", "xyzzy 42", None])[0] == [2 / 3, 1, 0, None]


def test_a_lower_count_takes_more_words(scored, tmp_path):
    (tmp_path / "words.txt").write_text(LISTS["words.txt"])
    rules = [TextCommonWords(file=str(tmp_path / "words.txt"), min_count=count) for count in (1, 6)]
    assert [scored(rule, texts=["the dog sat"])[0] for rule in rules] == [[1], [1 / 3]]
    assert rules[0].scorer().identity() != rules[1].scorer().identity()


@pytest.mark.parametrize("content", ["{", '["a", 1]', '{"a": "b"}', "12", '{"a": 1}'])
def test_what_is_no_list_is_refused(tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=r"bad\.json (is no list of words|has no words with a count of at least 2)"):
        TextCommonWords(file=str(tmp_path / "bad.json"))


@pytest.mark.parametrize(("ratio", "reason"), [(0.8, None), (0.7999, "too_few_common_words"), (None, None)])
def test_the_bound_is_included(reasons, tmp_path, ratio, reason):
    (tmp_path / "words.txt").write_text(LISTS["words.txt"])
    assert reasons(TextCommonWords(file=str(tmp_path / "words.txt")), text_common_words_ratio=[ratio]) == [reason]
