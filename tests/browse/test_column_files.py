"""Columns of all shards as one table: which file wins, what is missing, types that differ, files that are broken."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from column_sets import put_files

from curate.column_files import ColumnFiles, Kept, plain_column
from curate.duck import open_views
from curate.errors import ShardError
from curate.storage import Storage


def test_a_column_comes_from_the_first_of_its_files_that_holds_it(tmp_path):
    own = pa.table({"url": ["a", "b"], "score": [1.0, 2.0], "only": ["x", "y"]})
    later = pa.table({"score": [3.0, 4.0]})
    storage = put_files(tmp_path, {"00000": {"": own, "clip": later}, "00001": {"": own}, "00002": {"": own}})
    (tmp_path / "manifest.parquet").write_bytes(b"no table of samples")
    files = ColumnFiles(storage)
    assert files.shards == ("00000", "00001", "00002")
    assert [files.table(id, ["score"])["score"].to_pylist() for id in files.shards] == [
        [3.0, 4.0],
        [1.0, 2.0],
        [1.0, 2.0],
    ]
    assert files.fields["score"].families == ("clip", "")
    assert files.fields["key"].families[0] == ""


def test_a_shard_that_lacks_a_column_has_nulls(tmp_path):
    one, other = pa.table({"url": ["a"], "extra": pa.array([7], pa.int16())}), pa.table({"url": ["b", "c"]})
    files = ColumnFiles(put_files(tmp_path, {"00000": {"": one}, "00001": {"": other}}))
    assert files.table("00001", ["extra", "url"]).to_pydict() == {"extra": [None, None], "url": ["b", "c"]}
    assert files.table("00001", ["extra"]).schema.field("extra").type == pa.int16()


@pytest.mark.parametrize(
    ("first", "second", "kind", "values"),
    [
        (pa.array([1], pa.int16()), pa.array([2], pa.int64()), pa.int64(), [1, 2]),
        (pa.array([1], pa.int32()), pa.array([0.5], pa.float32()), pa.float64(), [1.0, 0.5]),
        (pa.array([0.5], pa.float16()), pa.array([0.25], pa.float32()), pa.float32(), [0.5, 0.25]),
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), pa.string(), ["a", "b"]),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"]), pa.string(), ["a", "b"]),
        (pa.nulls(1), pa.array([True]), pa.bool_(), [None, True]),
        (pa.array([1]), pa.array(["x"]), pa.string(), ["1", "x"]),
        (pa.array([[1, 2]]), pa.array(["x"]), pa.string(), ["[1, 2]", "x"]),
        (pa.array([b"\x0f"], pa.binary(1)), pa.array([b"\xff\x00"]), pa.string(), ["0f", "ff00"]),
    ],
)
def test_types_that_differ_become_one(tmp_path, first, second, kind, values):
    storage = put_files(tmp_path, {"00000": {"": pa.table({"a": first})}, "00001": {"": pa.table({"a": second})}})
    files = ColumnFiles(storage)
    assert files.fields["a"].type == kind
    assert [v for id in files.shards for v in files.table(id, ["a"])["a"].to_pylist()] == values
    assert bool(files.fields["a"].mixed) == (values in (["1", "x"], ["[1, 2]", "x"]))


BOX = pa.struct({"half": pa.float16(), "raw": pa.binary()})


def test_types_that_duckdb_lacks_become_ones_that_it_has(tmp_path):
    wide = pa.array([Decimal("1.5"), None], pa.decimal256(60, 2))
    odd = {
        "wide": wide,
        "wides": pa.ListArray.from_arrays([0, 1, 2], wide),
        "bytes": pa.array([b"\xff\x00", None], pa.binary_view()),
        "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((2, 2, 2), np.float32)),
        "box": pa.array([{"half": np.float16(0.5), "raw": b"\xff"}, None], BOX),
    }
    with open_views(put_files(tmp_path, {"00000": {"": pa.table(odd)}})) as views:
        found = views.sql("select wide, wides, bytes, tensor, box from samples order by key").fetchall()
    box = {"half": 0.5, "raw": b"\xff"}
    assert found == [(1.5, [1.5], "ff00", (1.0,) * 4, box), (None, [None], None, (1.0,) * 4, None)]


def test_lists_of_dictionaries_and_vectors_are_plain():
    words = pa.list_(pa.dictionary(pa.int16(), pa.string()))
    lists = pa.chunked_array([pa.array([["a", "b"], None], words), pa.array([["c"], []], words).slice(1)])
    assert plain_column(lists).to_pylist() == [["a", "b"], None, []]
    vectors = pa.array([[1, 2], None], pa.list_(pa.float16(), 2))
    assert plain_column(pa.chunked_array([vectors])).type == pa.list_(pa.float32(), 2)


def test_text_that_is_no_utf8_is_replaced(tmp_path):
    raw = pa.array([b"ok", b"\xff\xfe"]).cast(pa.binary())
    broken = pa.StringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])
    files = ColumnFiles(put_files(tmp_path, {"00000": {"": pa.table({"a": broken})}}))
    assert files.table("00000", ["a"])["a"].to_pylist() == ["ok", "\ufffd\ufffd"]


def test_files_that_do_not_fit_are_told_in_words(tmp_path):
    own = pa.table({"url": ["a", "b"]})
    storage = put_files(tmp_path, {"00000": {"": own, "clip": pa.table({"score": [1.0]})}, "00001": {"": own}})
    (tmp_path / "00001.blur.parquet").write_bytes(b"PAR1 is what it is not")
    files = ColumnFiles(storage)
    with pytest.raises(ShardError, match=r"00000.clip.parquet.*has 1 rows"):
        files.table("00000", ["score"])
    assert len(files.troubles) == 1
    assert "00001.blur.parquet" in files.troubles[0]
    assert files.table("00001", ["url"]).num_rows == 2


def test_a_name_that_a_file_has_twice_is_its_first_column(tmp_path):
    twice = pa.table([["00000"], ["first"], ["second"]], names=["key", "a", "a"])
    files = ColumnFiles(put_files(tmp_path, {"00000": {"": twice}}))
    assert files.table("00000", ["a"])["a"].to_pylist() == ["first"]


def test_what_was_read_is_kept_up_to_its_bytes(tmp_path):
    kept = Kept(1000)
    for number in range(4):
        kept.put(("00000", str(number)), pa.array(np.zeros(50)))
        kept.get(("00000", "0"))
    assert kept.get(("00000", "0")) is not None
    assert kept.get(("00000", "1")) is None
    kept.put(("00000", "large"), pa.array(np.zeros(500)))
    assert kept.get(("00000", "large")) is None
    files = ColumnFiles(put_files(tmp_path, {"00000": {"": pa.table({"a": [1, 2]})}}), keep_bytes=1 << 20)
    files.table("00000", ["a"])
    (tmp_path / "00000.parquet").unlink()
    assert files.table("00000", ["a"])["a"].to_pylist() == [1, 2]


def test_a_folder_without_shards_is_no_data_set(tmp_path):
    with pytest.raises(ShardError, match="holds no data set"):
        ColumnFiles(put_files(tmp_path, {}))
    (tmp_path / "00000.parquet").write_bytes(b"no table")
    with pytest.raises(ShardError, match=r"no column 'key'.*00000.parquet"):
        ColumnFiles(Storage(str(tmp_path)))
