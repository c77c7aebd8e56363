"""Blocks of text that are left in a document: both sides of the bound."""

import pyarrow as pa
import pytest

from filters.text_count import TextCount


@pytest.mark.parametrize(
    ("count", "least", "reason"),
    [(0, 1, "too_little_text"), (1, 1, None), (2, 3, "too_little_text"), (3, 3, None), (0, 0, None), (None, 1, None)],
)
def test_bound(count, least, reason):
    table = pa.table({"text_count": pa.array([count], pa.int32())})
    assert TextCount(least).judge(table).to_pylist() == [reason]


def test_a_negative_bound_is_refused():
    with pytest.raises(ValueError, match="out of range"):
        TextCount(-1)
