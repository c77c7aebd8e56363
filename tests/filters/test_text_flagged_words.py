"""The share of words in a list that the user gives."""

import pytest

from filters.text_flagged_words import TextFlaggedWords


@pytest.fixture
def rule(tmp_path):
    (tmp_path / "flagged.txt").write_text("darn\nblast  # mild\n")
    return TextFlaggedWords(file=str(tmp_path / "flagged.txt"))


def test_whole_words_count_in_any_case(scored, rule):
    assert scored(rule, texts=["Darn! It is darned cold", "blast", "", None])[0] == [0.2, 1, 0, None]


@pytest.mark.parametrize(("ratio", "reason"), [(0.01, None), (0.0101, "too_many_flagged_words"), (None, None)])
def test_the_bound_is_included(reasons, rule, ratio, reason):
    assert reasons(rule, text_flagged_words_ratio=[ratio]) == [reason]


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "has no words"), ("a b c\n", "not a word, or a word and its count"), ("a many\n", "is no list of words")],
)
def test_a_file_that_is_no_list_is_refused(tmp_path, content, words):
    path = tmp_path / "list.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=words):
        TextFlaggedWords(file=str(path))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none\.txt is no list of words"):
        TextFlaggedWords(file=str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="is no list of words"):
        TextFlaggedWords(file="")
