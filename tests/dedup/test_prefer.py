"""Which of several copies is kept: by a user's order, and by what rows are where that says nothing."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from scored_shards import pack, pairs

from curate.dedup.prefer import parse_order
from curate.errors import ShardError


def best(folder: Path, prefer: list[str], **columns: pa.Array) -> list[int]:
    """Rows from the best to the last, by their URLs."""
    rows = pairs(len(next(iter(columns.values()))))
    for name, values in columns.items():
        rows = rows.drop_columns([name]) if name in rows.column_names else rows
        rows = rows.append_column(name, values)
    (shard,) = pack(folder, rows, [len(rows)])
    order = parse_order(prefer)
    values = order.values(shard)
    assert values.schema.names == order.schema.names
    return order.sort(values.cast(order.schema)).tolist()


@pytest.mark.parametrize(
    ("prefer", "values", "expected"),
    [
        ("highest score", pa.array([0.5, None, float("nan"), 0.7, float("inf")]), [4, 3, 0]),
        ("lowest score", pa.array([0.5, None, float("nan"), 0.7, -1.0]), [4, 0, 3]),
        ("highest score", pa.array([3, 10, None, 2], pa.int32()), [1, 0, 3, 2]),
        ("highest score", pa.array([False, True, None]), [1, 0, 2]),
        ("highest score", pa.array([Decimal("9.5"), Decimal("10.5"), Decimal("-2.0"), Decimal("-1.0")]), [1, 0, 3, 2]),
        ("lowest score", pa.array([9, 10, None], pa.duration("s")), [0, 1, 2]),
        ("latest score", pa.array([9, 10, None], pa.timestamp("s")), [1, 0, 2]),
        ("latest score", pa.array(["2023-05", None, "2024-01", "2023-06"]), [2, 3, 0, 1]),
        ("earliest score", pa.array(["2023-05", None, "2024-01", "2023-06"]), [0, 3, 2, 1]),
        ("latest score", pa.array([date(2020, 1, 1), date(2021, 1, 1), None]), [1, 0, 2]),
    ],
)
def test_the_best_comes_first_and_a_missing_value_last(
    tmp_path: Path, prefer: str, values: pa.Array, expected: list[int]
) -> None:
    found = best(tmp_path, [prefer], score=values)
    assert found[: len(expected)] == expected
    assert sorted(found) == list(range(len(values)))


def test_the_first_difference_decides(tmp_path: Path) -> None:
    width, height = pa.array([10, 20, 20, None]), pa.array([10, 5, 6, 100])
    scores = pa.array([0.1, 0.2, 0.3, 0.9])
    columns = {"original_width": width, "original_height": height, "score": scores}
    assert best(tmp_path / "a", ["largest picture", "highest score"], **columns) == [2, 1, 0, 3]
    assert best(tmp_path / "b", ["smallest picture", "lowest score"], **columns) == [0, 1, 2, 3]
    assert best(tmp_path / "c", ["highest score", "largest picture"], **columns) == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("url", "is_of_host"),
    [
        ("https://example.org/a.jpg", True),
        ("https://img.Example.ORG:8080/a.jpg", True),
        ("http://user@example.org", True),
        ("https://example.org.", True),
        ("https://notexample.org/a.jpg", False),
        ("https://example.org.evil.test/", False),
        ("https://evil.test/example.org/", False),
        ("https://evil.test/?u=https://example.org/", False),
        ("https://exampleXorg/", False),
        ("", False),
    ],
)
def test_a_host_is_itself_and_what_lies_under_it(tmp_path: Path, url: str, is_of_host: bool) -> None:
    rows = pairs(1).drop_columns(["url"]).append_column("url", pa.array([url]))
    (shard,) = pack(tmp_path, rows, [1])
    assert parse_order(["host example.org"]).values(shard)["prefer_0_number"].to_pylist() == [float(is_of_host)]


def test_without_a_difference_it_is_what_rows_are_however_they_are_packed(tmp_path: Path) -> None:
    rows = pairs(12)
    order = parse_order([])
    (whole,) = pack(tmp_path / "one", rows, [12])
    turned = list(range(12))[::-1]
    (other,) = pack(tmp_path / "two", rows, [12], turned)
    one, two = order.sort(order.values(whole)), order.sort(order.values(other))
    assert one.tolist() == [turned[n] for n in two]


@pytest.mark.parametrize(
    "words", ["", "highest", "best score", "largest score", "host", "host a b", "highest two words", "picture largest"]
)
def test_words_that_mean_nothing_are_told(words: str) -> None:
    with pytest.raises(ValueError, match=r'none of "highest COLUMN"') as told:
        parse_order([words])
    assert repr(words) in str(told.value)


@pytest.mark.parametrize("values", [pa.array([[1], [2]]), pa.array([b"1", b"2"]), pa.array([{"a": 1}, {"a": 2}])])
def test_a_column_without_an_order_is_told(tmp_path: Path, values: pa.Array) -> None:
    with pytest.raises(ShardError, match=r"shard 00000: prefer names score, a column of .*numbers, texts"):
        best(tmp_path, ["highest score"], score=values)
