"""Rows with the same file: one is kept, and none where the file is a placeholder."""

import pyarrow as pa
import pytest

from curate.filter import Rules
from curate.registry import filter_class


def judge(rule, of: list, captions: list, hosts: list) -> list:
    name = rule.likeness.name
    columns = {f"{name}_duplicate_of": pa.array(of, pa.string()), f"{name}_captions": pa.array(captions, pa.int64())}
    return rule.judge(pa.table({**columns, f"{name}_hosts": pa.array(hosts, pa.int64())})).to_pylist()


@pytest.mark.parametrize(("name", "stem"), [("bytes_duplicate", "bytes"), ("pixels_duplicate", "pixels")])
def test_bounds_on_both_sides(name: str, stem: str) -> None:
    rule = filter_class(name)()
    copy, placeholder = f"duplicate_{stem}", f"placeholder_by_{stem}"
    found = judge(rule, [None, "0", None, "0", None], [1, 10, 10, 11, 11], [1, 99, 99, 1, 1])
    assert found == [None, copy, None, placeholder, placeholder]
    strict = filter_class(name)(max_captions=None, max_hosts=2)
    assert judge(strict, [None, "0", None], [99, 99, 99], [2, 2, 3]) == [None, copy, placeholder]
    lax = filter_class(name)(max_captions=None)
    assert judge(lax, [None, "0"], [99, 99], [99, 99]) == [None, copy]


def test_a_row_that_took_no_part_is_not_judged() -> None:
    assert judge(filter_class("bytes_duplicate")(), [None], [None], [None]) == [None]


@pytest.mark.parametrize(
    "wrong", [{"max_captions": 0}, {"max_hosts": 0}, {"prefer": ("newest",)}, {"shards_per_part": 0}]
)
def test_settings_that_cannot_be_are_told(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        filter_class("bytes_duplicate")(**wrong)


@pytest.mark.parametrize(("among", "taking_part"), [("earlier", 1), ("all", 0)])
def test_rows_that_earlier_filters_keep_are_compared_unless_all_are_asked_for(among: str, taking_part: int) -> None:
    earlier: Rules = (("caption_words", filter_class("caption_words")()),)
    ask, *_ = filter_class("bytes_duplicate")(among=among).steps(earlier)
    assert len(ask.clusters.rules) == taking_part
    assert set(earlier[0][1].columns).issubset(ask.reads) == bool(taking_part)
