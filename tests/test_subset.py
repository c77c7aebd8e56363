"""DataComp's uid array: its bytes, its order, its repetitions, and what is refused."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ShardError
from curate.manifest import Attempt
from curate.shard import Shard
from curate.storage import Storage
from curate.subset import Subset, pair_uid, parse_uids, sort_uids
from curate.tombstones import write_dead

UIDS = st.lists(st.text("0123456789abcdef", min_size=32, max_size=32))


def datacomp(uids: list[str]) -> np.ndarray:
    """The published definition, uid by uid."""
    array = np.array([(int(u[:16], 16), int(u[16:32], 16)) for u in uids], np.dtype("u8,u8"))
    return np.sort(array)


@given(UIDS)
def test_equal_to_the_definition(uids):
    found = sort_uids(parse_uids(pa.array(uids, pa.string())))
    assert found.dtype == np.dtype("u8,u8")
    assert found.tobytes() == datacomp(uids).tobytes()


def test_order_is_by_the_first_half_then_the_second():
    high, low = "f" * 16, "0" * 16
    uids = [high + low, low + high, low + low, high + high, low + high, "8" + low[1:] + low]
    assert sort_uids(parse_uids(pa.array(uids))).tolist() == datacomp(uids).tolist()
    assert sort_uids(parse_uids(pa.array(uids)))[1].tolist() == sort_uids(parse_uids(pa.array(uids)))[2].tolist()


def test_slices_chunks_and_capitals():
    uids = [f"{i:032x}" for i in range(9)] + ["ABCDEF0123456789abcdef0123456789"]
    whole = parse_uids(pa.array(uids))
    assert whole[-1].tolist() == (0xABCDEF0123456789, 0xABCDEF0123456789)
    assert parse_uids(pa.array(uids).slice(3, 4)).tolist() == whole[3:7].tolist()
    assert parse_uids(pa.array(uids, pa.large_string()).slice(3, 4)).tolist() == whole[3:7].tolist()
    assert parse_uids(pa.chunked_array([uids[:4], [], uids[4:]])).tolist() == whole.tolist()
    assert parse_uids(pa.array([], pa.string())).tolist() == []


@pytest.mark.parametrize(
    "bad",
    [None, "", "0" * 31, "0" * 33, "g" + "0" * 31, "0x" + "0" * 30, "é" + "0" * 30, "/:" + "0" * 30, "@`" + "0" * 30],
)
def test_what_is_not_32_hex_digits_is_refused(bad):
    with pytest.raises(ValueError, match="a uid has"):
        parse_uids(pa.array(["0" * 32, "f" * 32, bad], pa.string()))


def test_the_uid_of_a_pair_is_md5_of_both_joined():
    assert pair_uid("a dog", "http://x/é") == hashlib.md5("a doghttp://x/é".encode()).hexdigest()
    assert pair_uid(None, "http://x") == hashlib.md5(b"http://x").hexdigest()


@pytest.fixture
def shards(tmp_path):
    storage = Storage(str(tmp_path))

    def write(number, **columns):
        name = f"{number:05d}"
        rows = len(columns["keep"])
        keys = [f"{name}{i:04d}" for i in range(rows)]
        sample = {n: c for n, c in columns.items() if n != "keep"}
        pq.write_table(pa.table({"key": keys, **sample}), tmp_path / f"{name}.parquet")
        pq.write_table(pa.table({"key": keys, "keep": columns["keep"]}), tmp_path / f"{name}.select.parquet")
        return Shard(storage, name)

    return write


def run(shards, subset):
    attempt = Attempt(shards[0].storage, subset.label, "all", "f" * 16)
    subset.run(shards, attempt)
    commit = attempt.commit()
    return commit, np.load(shards[0].storage.local / "subset.npy")


def test_kept_rows_of_all_shards_in_one_sorted_array(shards):
    one = shards(0, uid=["f" * 32, "1" * 32, "a" * 32], keep=[True, False, True])
    two = shards(1, uid=["a" * 32, "0" * 32], keep=[True, True])
    three = shards(2, uid=["2" * 32], keep=[False])
    commit, array = run([one, two, three], Subset(uid_column="uid"))
    assert array.tolist() == datacomp(["0" * 32, "a" * 32, "a" * 32, "f" * 32]).tolist()
    assert array.dtype == np.dtype("u8,u8")
    assert commit.counts == {"kept": 4}
    assert [f.name for f in commit.files] == ["subset.npy"]


def test_without_uids_it_is_the_md5_of_the_pair(shards):
    shard = shards(
        0, caption=["a dog", None, "a cat"], url=["http://a", "http://b", "http://c"], keep=[True, True, False]
    )
    _, array = run([shard], Subset())
    assert array.tolist() == datacomp([pair_uid("a dog", "http://a"), pair_uid(None, "http://b")]).tolist()


def test_nothing_kept_is_an_empty_array(shards):
    _, array = run([shards(0, uid=["0" * 32], keep=[False])], Subset("uid"))
    assert (array.shape, array.dtype) == ((0,), np.dtype("u8,u8"))


def test_a_malformed_uid_is_named_by_shard_and_key(shards):
    good, bad = shards(0, uid=["0" * 32], keep=[True]), shards(1, uid=["zz", "0" * 32, "zz"], keep=[False, True, True])
    with pytest.raises(ShardError, match="shard 00001, key 000010002: uid is 'zz', not 32 hex digits"):
        run([good, bad], Subset("uid"))


def test_a_uid_that_is_a_number_is_told(shards):
    with pytest.raises(ShardError, match="shard 00000: uid is a column of int64, not text of 32 hex digits"):
        run([shards(0, uid=[7], keep=[True])], Subset("uid"))


def test_reads_depend_on_where_the_uid_is():
    assert Subset("uid").reads == ("keep", "uid")
    assert Subset().reads == ("keep", "caption", "url")


def test_a_row_is_there_as_often_as_its_multiplicity_says(shards):
    one = shards(0, uid=["f" * 32, "1" * 32, "a" * 32], keep=[True, False, True], multiplicity=[3, 7, 1])
    two = shards(1, uid=["a" * 32, "0" * 32], keep=[True, True], multiplicity=[None, 2])
    commit, array = run([one, two], Subset(uid_column="uid"))
    assert array.tolist() == datacomp(["0" * 32] * 2 + ["a" * 32] + ["f" * 32] * 3).tolist()
    assert commit.counts == {"kept": 6}


def test_the_dead_are_left_out(shards):
    one = shards(0, uid=["f" * 32, "1" * 32, "a" * 32], keep=[True, True, True])
    write_dead(one, {"000000001": "key"})
    assert run([one], Subset(uid_column="uid"))[1].tolist() == datacomp(["f" * 32, "a" * 32]).tolist()
