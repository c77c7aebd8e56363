"""The exchange against a dictionary: any shards, any number of bins, in memory and through files."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.bins import Bins
from curate.dedup.digest import digest_strings
from curate.dedup.exchange import Exchange
from curate.dedup.groups import group
from curate.errors import StorageError

SHARDS = st.lists(st.lists(st.sampled_from([None, "a", "b", "c", "dd", "eee"]), max_size=9), max_size=7)


def exchanged(folder, shards, bin_rows, buffer_bytes):
    """For every row: how many rows have its string, and the shards that have it, in order, as one string."""
    with Exchange(folder, sum(map(len, shards)), bin_rows, buffer_bytes) as exchange:
        for number, shard in enumerate(shards):
            rows = np.array([i for i, value in enumerate(shard) if value is not None], np.int64)
            digests = digest_strings(pa.array([shard[i] for i in rows], pa.string()))
            exchange.ask(
                len(shard),
                rows,
                digests,
                lambda groups, number=number: pa.table(
                    {"n": groups.sizes, "who": pa.array([str(number)] * len(groups), pa.string())}
                ),
            )

        def merge(groups, asked):
            who = [asked["who"][i].as_py() for i in groups.order.tolist()]
            ends = [*groups.starts.tolist(), len(who)]
            names = [" ".join(who[a:b]) for a, b in pairwise(ends)]
            return pa.table({"n": groups.sum(np.asarray(asked["n"])), "who": pa.array(names, pa.string())})

        found = [list(zip(*table.to_pydict().values(), strict=True)) for table in exchange.answers(merge)]
    assert not folder.exists()
    return found


def expected(shards):
    count, who = defaultdict(int), defaultdict(dict)
    for number, shard in enumerate(shards):
        for value in shard:
            count[value] += 1
            who[value][str(number)] = None
    return [[(None, None) if v is None else (count[v], " ".join(who[v])) for v in shard] for shard in shards]


@settings(deadline=None)
@given(SHARDS, st.sampled_from([1, 2, 3, 7, 1000]), st.sampled_from([0, 50, 1 << 20]))
def test_every_row_gets_the_answer_of_all_rows_like_it(tmp_path_factory, shards, bin_rows, buffer_bytes):
    folder = tmp_path_factory.mktemp("exchange") / "files"
    assert exchanged(folder, shards, bin_rows, buffer_bytes) == expected(shards)


def break_off(folder):
    with Exchange(folder, 4, 1, 0) as exchange:
        exchange.ask(1, np.array([0]), digest_strings(pa.array(["a"])), lambda groups: pa.table({"n": groups.sizes}))
        assert list(folder.rglob("*.arrows"))
        raise ZeroDivisionError


def test_an_exchange_that_breaks_off_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError):
        break_off(tmp_path / "files")
    assert not (tmp_path / "files").exists()


def test_groups_are_told_apart_by_both_halves():
    digests = np.array([[5, 1], [5, 2], [3, 9], [5, 1], [3, 9]], np.uint64)
    groups = group(digests)
    assert groups.order.tolist() == [2, 4, 0, 3, 1]
    assert groups.starts.tolist() == [0, 2, 4]
    assert groups.sizes.tolist() == [2, 2, 1]
    assert groups.of_rows.tolist() == [1, 2, 0, 1, 0]
    assert groups.sum(np.array([1, 10, 100, 1000, 10000])).tolist() == [10100, 1001, 10]


def test_no_rows_are_no_groups():
    groups = group(np.empty((0, 2), np.uint64))
    assert (len(groups), groups.of_rows.tolist(), groups.sum(np.empty(0, np.int64)).tolist()) == (0, [], [])


@pytest.mark.parametrize("buffer_bytes", [0, 20, 1 << 20])
def test_bins_keep_the_order_of_their_rows(tmp_path, buffer_bytes):
    bins = Bins(tmp_path / "bins", buffer_bytes)
    bins.add(np.array([2, 0, 2]), pa.table({"x": ["a", "b", "c"]}))
    bins.add(np.array([2, 5]), pa.table({"x": ["d", "e"]}))
    assert (tmp_path / "bins").exists() == (buffer_bytes < 100)
    assert [bins.read(n) for n in (1, 3)] == [None, None]
    assert bins.read(2).to_pydict() == {"x": ["a", "c", "d"]}
    assert [bins.read(n).to_pydict()["x"] for n in (5, 0)] == [["e"], ["b"]]
    assert bins.read(2) is None, "a bin is read once"
    assert not list(tmp_path.rglob("*.arrows"))


def test_a_disk_that_refuses_is_one_line(tmp_path):
    (tmp_path / "bins").write_text("a file where the folder should be")
    bins = Bins(tmp_path / "bins" / "own", 0)
    with pytest.raises(StorageError, match=r"cannot write to .*bins"):
        bins.add(np.array([0]), pa.table({"x": ["a"]}))


@pytest.mark.parametrize(("bin_rows", "files"), [(4, 1), (3, 2), (2, 2), (1, 3)])
def test_shards_share_a_bin_while_it_has_room(tmp_path, bin_rows, files):
    digests = digest_strings(pa.array(["a"]))
    with Exchange(tmp_path / "files", 1, bin_rows, 0) as exchange:
        for total in (1, 1, 2):
            exchange.ask(total, np.array([0]), digests, lambda groups: pa.table({"n": groups.sizes}))
        assert len(list((tmp_path / "files/places").iterdir())) == files
