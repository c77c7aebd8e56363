"""How often a caption occurs: over all shards, whatever its white space, however rows are cut into shards."""

from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from document_shards import bytes_of, column, run_barrier
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.captions import CaptionFrequency, single_spaced
from curate.shard import Shard
from curate.storage import Storage


def write(folder, shards):
    folder.mkdir(exist_ok=True)
    for number, captions in enumerate(shards):
        keys = [f"{number:05d}{row:04d}" for row in range(len(captions))]
        table = pa.table({"key": pa.array(keys, pa.string()), "caption": pa.array(captions, pa.string())})
        pq.write_table(table, folder / f"{number:05d}.parquet")
    return [Shard(Storage(str(folder)), f"{number:05d}") for number in range(len(shards))]


def counts(folder, shards, **settings):
    handles = write(folder, shards)
    run_barrier(CaptionFrequency(**settings), handles, folder)
    return column(handles, "caption_count")


def test_equal_captions_are_counted_over_all_shards(tmp_path):
    shards = [["a dog", "a cat", None], [], ["a dog", "a dog"], ["a  dog\n", "A dog", "", " \t"]]
    assert counts(tmp_path, shards) == [[4, 1, None], [], [4, 4], [4, 1, 2, 2]]


def test_no_shards_no_files(tmp_path):
    assert run_barrier(CaptionFrequency(), [], tmp_path).files == ()


def test_key_and_types_of_the_file(tmp_path):
    (shard,) = write(tmp_path, [["a dog", None, None]])
    commit = run_barrier(CaptionFrequency(), [shard], tmp_path)
    assert commit.counts == {"counted": 1}
    assert shard.schema("caption_frequency").names == ["key", "caption_count"]
    assert shard.schema("caption_frequency").types == [pa.string(), pa.int64()]
    assert shard.table("caption_frequency")["key"].to_pylist() == ["000000000", "000000001", "000000002"]


def test_a_caption_of_100_000_characters_is_counted(tmp_path):
    assert counts(tmp_path, [["x" * 100_000], ["x" * 100_000, "x" * 99_999]]) == [[2], [2, 1]]


@given(st.lists(st.none() | st.text(max_size=9) | st.text("a \t\n\u00a0\u3000\x1c\x85\u200b", max_size=9)))
def test_white_space_is_that_of_split(texts):
    expected = [None if text is None else " ".join(text.split()) for text in texts]
    assert single_spaced(pa.array(texts, pa.string())).to_pylist() == expected


CAPTIONS = st.lists(st.sampled_from([None, "", "a", "A", "b", " b", "b\t", "c d", "c  d", "🐕"]), max_size=24)


@settings(deadline=None, max_examples=40)
@given(CAPTIONS, st.lists(st.integers(0, 24), max_size=5), st.sampled_from([1, 3, 1000]))
def test_counts_do_not_depend_on_how_rows_are_cut_into_shards(tmp_path_factory, captions, cuts, bin_rows):
    number = Counter(None if caption is None else " ".join(caption.split()) for caption in captions)
    ends = [0, *sorted(min(cut, len(captions)) for cut in cuts), len(captions)]
    shards = [captions[a:b] for a, b in pairwise(ends)]
    found = [n for shard in counts(tmp_path_factory.mktemp("set"), shards, bin_rows=bin_rows) for n in shard]
    assert found == [None if caption is None else number[" ".join(caption.split())] for caption in captions]


def test_twice_and_in_any_number_of_bins_the_bytes_are_the_same(tmp_path):
    shards = [[f"caption {(n * row) % 5}" for row in range(9)] for n in range(5)]
    seen = set()
    for number, bin_rows in enumerate([1_000_000, 1_000_000, 7, 1]):
        counts(tmp_path / str(number), shards, bin_rows=bin_rows)
        seen.add(tuple(bytes_of(tmp_path / str(number), "caption_frequency").items()))
    assert len(seen) == 1


def test_a_number_of_rows_in_memory_is_positive_and_no_part_of_the_identity():
    with pytest.raises(ValueError, match="bin_rows = 0 is out of range"):
        CaptionFrequency(bin_rows=0)
    assert CaptionFrequency(bin_rows=5).identity() == CaptionFrequency().identity()
