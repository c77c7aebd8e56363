"""Who a row is: the same wherever it lies, another for another row; and a random order that a seed gives again."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_shards import pack, packings, pairs

from curate.dedup.identity import IDENTITY, identities, keyed
from curate.errors import ShardError
from curate.shard import Shard
from curate.storage import Storage

NUMBERS = st.integers(0, 2**64 - 1)


def shard_of(folder, **columns) -> Shard:
    rows = len(columns["url"])
    table = pa.table({"key": [f"{n:05d}" for n in range(rows)], **columns})
    pq.write_table(table, folder / "00000.parquet", row_group_size=2)
    return Shard(Storage(str(folder)), "00000")


def test_a_row_is_the_same_wherever_it_lies(tmp_path):
    rows = pairs(20)
    found = []
    for number, (sizes, order) in enumerate(packings(20)):
        shards = pack(tmp_path / str(number), rows, sizes, order)
        assert all(identities(shard).shape == (shard.rows(), 2) for shard in shards)
        own = np.concatenate([identities(shard) for shard in shards])
        found.append(dict(zip(rows["uid"].take(order).to_pylist(), map(tuple, own.tolist()), strict=True)))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0].values())) == 20


def test_each_of_the_three_counts_and_where_one_ends_too(tmp_path):
    rows = [("u", "c", "s"), ("u", "c", "t"), ("u", "d", "s"), ("v", "c", "s"), ("c", "u", "s"), ("uc", "", "s")]
    rows += [("", "uc", "s"), ("u", "cs", ""), ("u", "", "cs"), ("", "", "ucs"), ("", "", "")]
    columns = dict(zip(("url", "caption", "sha256"), map(pa.array, zip(*rows, strict=True)), strict=True))
    assert len(np.unique(identities(shard_of(tmp_path, **columns)), axis=0)) == len(rows)


def test_nothing_counts_as_the_empty_text_and_types_do_not_count(tmp_path):
    plain = {"url": ["u", "", "w"], "caption": ["", "c", ""], "sha256": ["s", "", "s"]}
    nulls = {name: [value or None for value in values] for name, values in plain.items()}
    expected = identities(shard_of(tmp_path, **plain))
    assert identities(shard_of(tmp_path, **nulls)).tolist() == expected.tolist()
    for kind in (pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        other = {name: pa.array(values, pa.string()).cast(kind) for name, values in nulls.items()}
        assert identities(shard_of(tmp_path, **other)).tolist() == expected.tolist()
    unknown = {"url": pa.nulls(2), "caption": ["c", "d"], "sha256": pa.nulls(2)}
    assert len(np.unique(identities(shard_of(tmp_path, **unknown)), axis=0)) == 2


def test_a_source_without_captions_has_rows_too(tmp_path):
    plain = identities(shard_of(tmp_path, url=["u", "v"], sha256=["s", "s"]))
    assert (
        plain.tolist() == identities(shard_of(tmp_path, url=["u", "v"], sha256=["s", "s"], caption=["", None])).tolist()
    )
    assert len(np.unique(plain, axis=0)) == 2
    assert "caption" not in IDENTITY, "or a step that reads it could not run"


def test_what_is_needed_is_named(tmp_path):
    with pytest.raises(ShardError, match="no column 'sha256'"):
        identities(shard_of(tmp_path, url=["u"], caption=["c"]))


def split_mix(value: int) -> int:
    """The finish of SplitMix64, in whole numbers without an end."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=8), st.integers(0, 2**32))
def test_the_number_drawn_for_a_digest(digests, seed):
    salt = split_mix((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    expected = [split_mix(split_mix(high ^ salt) ^ low) for high, low in digests]
    found = keyed(np.array(digests, np.uint64).reshape(-1, 2), seed)
    assert found.dtype == np.uint64
    assert found.tolist() == expected


def test_orders_of_different_seeds_have_nothing_to_do_with_one_another():
    digests = np.stack([np.arange(20_000, dtype=np.uint64) * np.uint64(3), np.zeros(20_000, np.uint64)], axis=1)
    drawn = [keyed(digests, seed) for seed in (0, 1, 2, 1_000_003)]
    for bit in range(64):
        share = float((drawn[0] >> np.uint64(bit) & np.uint64(1)).mean())
        assert abs(share - 0.5) < 5 * 0.5 / 20_000**0.5
    orders = [np.argsort(np.argsort(numbers)) for numbers in drawn] + [np.arange(20_000)]
    matrix = np.corrcoef(orders)
    assert np.abs(matrix - np.eye(5)).max() < 5 / 20_000**0.5
    assert all(len(np.unique(numbers)) == 20_000 for numbers in drawn)
