"""A table shows every column that any of its rows has."""

from curate.cli._output import as_table


def test_columns_of_later_rows_are_shown_too():
    rows = [
        {"column": "aesthetic_score", "head": "h.pth"},
        {"column": "clip_similarity", "model": "B/32", "head": None},
    ]
    assert as_table(rows).splitlines() == [
        "column           head   model",
        "---------------  -----  -----",
        "aesthetic_score  h.pth",
        "clip_similarity         B/32",
    ]


def test_numbers_stand_to_the_right_where_some_rows_have_none():
    assert as_table([{"a": "x"}, {"n": 5, "a": "y"}]).splitlines() == ["a  n", "-  -", "x", "y  5"]


def test_a_long_list_is_cut_between_its_values():
    reasons = ["blurred", "too_few_words", "caption_is_url", "similarity_too_low", "x" * 70]
    assert as_table([{"a": reasons}]).splitlines()[2] == f"{', '.join(reasons[:4])} ..."
    assert as_table([{"a": reasons[:4]}]).splitlines()[2] == ", ".join(reasons[:4])
    assert as_table([{"a": ["x" * 70, "y"]}]).splitlines()[2] == "x" * 61 + " ..."
