"""`frequency_sampling`: what a draw leaves out is dropped, and what could not be drawn is told apart."""

import pyarrow as pa
import pytest

from curate.registry import filter_class

GIVEN = {"by": "cluster", "count": 10}


def test_what_is_drawn_is_kept() -> None:
    columns = {
        "keep_probability": pa.array([0.5, 0.5, 0.0, None]),
        "multiplicity": pa.array([2, 0, 0, None], pa.uint16()),
    }
    found = filter_class("frequency_sampling")(**GIVEN).judge(pa.table(columns)).to_pylist()
    assert found == [None, "frequent_not_drawn", "sampling_value_unknown", None]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"by": "concepts"}, "concepts need a file"),
        ({"metadata": "x.txt"}, "concepts need a file"),
        ({"fraction": 0.5}, "one of count and fraction"),
        ({"count": None}, "one of count and fraction"),
        ({"alpha": 1.1}, "alpha"),
        ({"max": 0}, "max"),
    ],
)
def test_settings_that_cannot_be_are_told(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        filter_class("frequency_sampling")(**{**GIVEN, **wrong})


def test_among_the_rows_that_earlier_filters_keep() -> None:
    earlier = (("caption_words", filter_class("caption_words")()),)
    (step,) = filter_class("frequency_sampling")(**GIVEN).steps(earlier)
    assert step.rules == earlier
    (step,) = filter_class("frequency_sampling")(**GIVEN, among="all").steps(earlier)
    assert step.rules is None
