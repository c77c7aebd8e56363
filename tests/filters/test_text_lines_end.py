"""The share of lines that end as sentences do."""

import pytest

from filters.text_lines_end import TextLinesEnd

ENDED = ["It rains.", "Really?!", "He said “no.”", "(It rains.)  ", "雨が降る。", "And then…", "ends.'\r"]
OPEN = ["Home", "Add to cart", "Prices: 5 €", "e.g. this", "v1.2 beta", ".htaccess file", "Menu •"]


@pytest.mark.parametrize(("line", "share"), [*((line, 1) for line in ENDED), *((line, 0) for line in OPEN)])
def test_ends(scored, line, share):
    assert scored(TextLinesEnd(), texts=[line, f"\n{line}\n\n \n{line}", f"A.\n{line}"])[0] == [
        share,
        share,
        (1 + share) / 2,
    ]


def test_no_lines(scored):
    assert scored(TextLinesEnd(), texts=["", " \n\u3000\n", None])[0] == [0, 0, None]


@pytest.mark.parametrize(("ratio", "reason"), [(0.12, None), (0.1199, "lines_without_end"), (None, None)])
def test_the_bound_is_included(reasons, ratio, reason):
    assert reasons(TextLinesEnd(), text_lines_ended_ratio=[ratio]) == [reason]
