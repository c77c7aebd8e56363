"""The share of a paragraph that stands in lines of many pages."""

import pyarrow as pa
import pytest

from filters.line_frequency import LineFrequency

OFTEN = "lines_on_many_pages"


@pytest.mark.parametrize(
    ("documents", "chars", "reason"),
    [
        ([3, 1], [5, 5], None),
        ([3, 1], [6, 5], OFTEN),
        ([2, 1], [60, 5], None),
        ([3, 9], [1, 1], OFTEN),
        ([None, 3], [0, 1], OFTEN),
        ([None], [0], None),
        ([], [], None),
        (None, None, None),
    ],
)
def test_both_bounds_are_included(documents, chars, reason):
    lists = {"line_documents": ([documents], pa.int64()), "line_chars": ([chars], pa.int32())}
    table = pa.table({name: pa.array(values, pa.list_(kind)) for name, (values, kind) in lists.items()})
    assert LineFrequency().judge(table).to_pylist() == [reason]
    both = pa.concat_tables([table.slice(0, 0), table, table])
    assert LineFrequency().judge(both).to_pylist() == [reason] * 2


def test_other_bounds_read_the_same_columns():
    table = pa.table({"line_documents": [[3, 1], None, [9]], "line_chars": [[1, 3], None, [4]]})
    assert LineFrequency(2, 0.25).judge(table).to_pylist() == [None, None, OFTEN]
    assert LineFrequency(2, 0.24).judge(table).to_pylist() == [OFTEN, None, OFTEN]
    assert LineFrequency(9, 0.0).judge(table).to_pylist() == [None, None, None]
    assert LineFrequency(8, 0.0).judge(table.slice(1)).to_pylist() == [None, OFTEN]


@pytest.mark.parametrize("settings", [{"max_documents": 0}, {"max_ratio": -0.1}, {"max_ratio": 1.1}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match="out of range"):
        LineFrequency(**settings)
