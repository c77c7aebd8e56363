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
