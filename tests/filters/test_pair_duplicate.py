"""Rows with the same URL and caption, or the same caption alone: one is kept."""

import pyarrow as pa
import pytest

from curate.registry import filter_class


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pair_duplicate", "duplicate_pair"),
        ("caption_duplicate", "duplicate_caption"),
        ("near_caption_duplicate", "near_duplicate_caption"),
        ("near_image_duplicate", "near_duplicate_image"),
    ],
)
def test_a_copy_is_dropped_and_the_row_it_is_a_copy_of_is_not(name: str, reason: str) -> None:
    rule = filter_class(name)()
    (column,) = rule.columns
    assert rule.judge(pa.table({column: pa.array([None, "000", None], pa.string())})).to_pylist() == [
        None,
        reason,
        None,
    ]
    assert rule.judge(pa.table({column: pa.nulls(2, pa.string())})).to_pylist() == [None, None]
    assert column == f"{rule.likeness.name}_duplicate_of"
    assert f"{rule.likeness.name}_mark" == rule.steps(())[-1].label
