"""Batches of pictures and texts: lists of texts, the same order at any step and on any number of workers."""

from dataclasses import replace
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pair_shards import BROKEN, ToyPair, toy_pairs, write_shard, write_tar

from curate.errors import ConfigError, ShardError, StageError
from curate.train.caption_pairs import Deal, caption_batches, each_text, joined, open_captions, web_captions
from curate.train.pairs import PairSource, open_pairs


def look(pixels, row, epoch):
    return pixels[:8, :8]


def dealt(pairs, count, batch=6, first=0, **options):
    """Rows and texts of some batches, and the broken rows."""
    broken = set()
    stream = caption_batches(pairs, look, Deal(batch, 0, 1, **options), first, broken)
    rows = [found.rows.tolist() for found in islice(stream, count)]
    stream.close()
    return rows, broken


@pytest.fixture
def pairs(tmp_path):
    return open_captions(PairSource((write_shard(tmp_path / "a", "00000", toy_pairs(14)),)))


def test_each_epoch_has_every_pair_once_in_an_order_of_its_own(pairs):
    rows, _ = dealt(pairs, 7, batch=4)
    flat = list(chain(*rows))
    assert sorted(flat[:14]) == sorted(flat[14:]) == list(range(14))
    assert flat[:14] != flat[14:]


@pytest.mark.parametrize("first", [1, 3, 8])
def test_a_later_start_gives_the_same_batches(pairs, first):
    assert dealt(pairs, 4, first=first)[0] == dealt(pairs, 4 + first)[0][first:]


@pytest.mark.parametrize("world", [2, 3])
def test_workers_share_each_batch_in_its_order(pairs, world):
    parts = [dealt(pairs, 5, rank=rank, world=world)[0] for rank in range(world)]
    together = [list(chain(*(part[step] for part in parts))) for step in range(5)]
    assert together == dealt(pairs, 5)[0]


def test_the_next_picture_stands_in_for_a_broken_one(tmp_path):
    told = toy_pairs(8)
    told[3] = ToyPair(BROKEN, told[3].caption)
    pairs = open_captions(PairSource((write_shard(tmp_path / "a", "00000", told),)))
    rows, broken = dealt(pairs, 4, batch=8)
    assert broken == {3}
    assert not any(3 in batch for batch in rows)
    assert all(len(set(batch)) >= 7 for batch in rows)
    assert dealt(pairs, 1, batch=8, first=3)[0] == rows[3:]


def test_pictures_that_are_all_broken_end_it(tmp_path):
    folder = write_shard(tmp_path / "a", "00000", [ToyPair(BROKEN, f"star {n}") for n in range(3)])
    with pytest.raises(StageError, match=r"3 pictures in a row cannot be decoded, e\.g\. that of 0000"):
        dealt(open_captions(PairSource((folder,))), 1, batch=2)


@pytest.mark.parametrize("readable", range(5))
def test_one_readable_picture_stands_in_for_all(tmp_path, readable):
    told = [ToyPair(BROKEN, f"star {n}") for n in range(5)]
    told[readable] = toy_pairs(1)[0]
    rows, broken = dealt(open_captions(PairSource((write_shard(tmp_path / "a", "00000", told),))), 6, batch=4)
    assert rows == [[readable] * 4] * 6
    assert broken == set(range(5)) - {readable}


def with_lists(folder, lists, name="mix_texts"):
    keys = [f"{number:05d}" for number in range(len(lists))]
    kind = pa.list_(pa.string())
    pq.write_table(pa.table({"key": keys, name: pa.array(lists, kind)}), f"{folder}/00000.views.parquet")
    return open_captions(PairSource((folder,), caption_column=name))


def test_a_picture_has_as_many_rows_as_texts(tmp_path):
    told = toy_pairs(4)
    folder = write_shard(tmp_path / "a", "00000", told)
    found = with_lists(folder, [["one", "two"], [], None, [" ", "three", None]])
    assert found.captions.to_pylist() == ["one", "two", "three"]
    assert found.keys.to_pylist() == ["00000", "00000", "00003"]
    assert [found.read(row) for row in range(3)] == [told[0].image, told[0].image, told[3].image]
    assert found.picture[0] == found.picture[1] != found.picture[2]
    assert len({tuple(row) for row in found.identity.tolist()}) == 3


def test_a_column_that_is_no_text_is_still_told(tmp_path):
    folder = write_shard(tmp_path / "a", "00000", toy_pairs(2))
    pq.write_table(pa.table({"key": ["00000", "00001"], "score": [1.0, 2.0]}), f"{folder}/00000.more.parquet")
    with pytest.raises(ShardError, match="score is a column of double, not of text"):
        open_captions(PairSource((folder,), caption_column="score"))


def test_tars_that_stand_alone_are_pairs_too(tmp_path):
    (tmp_path / "a").mkdir()
    write_tar(tmp_path / "a" / "x.tar", toy_pairs(3))
    assert len(open_captions(PairSource((str(tmp_path / "a"),)))) == 3


def test_sets_are_joined(tmp_path):
    one, other = toy_pairs(3), toy_pairs(2, seed=5)
    parts = [
        open_captions(PairSource((write_shard(tmp_path / name, "00000", told),)))
        for name, told in (("a", one), ("b", other))
    ]
    found = joined([parts[0], each_text(parts[1], pa.array([["x"], ["y", "z"]]))])
    assert found.captions.to_pylist()[3:] == ["x", "y", "z"]
    assert found.read(0) == one[0].image
    assert found.read(5) == other[1].image
    assert len(found.identity) == len(found.picture) == len(found) == 6


def test_a_row_without_a_text_is_among_the_pictures(tmp_path):
    told = toy_pairs(3)
    told[1] = replace(told[1], caption=None)
    pictures, texts = web_captions(PairSource((write_shard(tmp_path / "a", "00000", told),)))
    assert len(pictures) == 3
    assert texts == [told[0].caption, None, told[2].caption]


def test_pictures_without_any_text_are_found(tmp_path):
    folder = write_shard(tmp_path / "a", "00000", [replace(pair, caption=None) for pair in toy_pairs(2)])
    assert web_captions(PairSource((folder,)))[1] == [None, None]
    assert len(open_pairs(PairSource((folder,)), captions=False)) == 2


@pytest.mark.parametrize(
    ("columns", "asked", "words"),
    [({}, "captoin", "has no column 'captoin'"), ({"captoin": [None, None]}, "captoin", "no pair with a picture"),
     ({"texts": [["a"], ["b"]]}, "texts", "texts is a column of list"),
     ({"caption": [1, 2]}, "caption", "caption is a column of int64, not of text")],
)  # fmt: skip
def test_a_web_column_that_has_no_text_is_no_web_without_texts(tmp_path, columns, asked, words):
    folder = write_shard(tmp_path / "a", "00000", toy_pairs(2))
    typed = {name: pa.array(own, pa.string()) if own[0] is None else own for name, own in columns.items()}
    pq.write_table(pa.table({"key": ["00000", "00001"], **typed}), f"{folder}/00000.more.parquet")
    with pytest.raises((ConfigError, ShardError), match=words):
        web_captions(PairSource((folder,), caption_column=asked))


def without(folder, column):
    path = f"{folder}/00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    return folder


def test_a_web_without_the_column_of_texts_is_pictures_alone(tmp_path):
    folder = without(write_shard(tmp_path / "a", "00000", toy_pairs(2)), "caption")
    assert web_captions(PairSource((folder,)))[1] == [None, None]
    write_shard(tmp_path / "a", "00001", toy_pairs(2))
    with pytest.raises(ShardError, match="has no column 'caption'"):
        web_captions(PairSource((folder,)))


@pytest.mark.parametrize(("known", "pictures"), [(True, 3), (False, 6)])
def test_pictures_of_two_sets_that_are_known_by_keys_alone_are_not_the_same(tmp_path, known, pictures):
    folders = [write_shard(tmp_path / name, "00000", toy_pairs(3)) for name in "ab"]
    if not known:
        folders = [without(folder, "sha256") for folder in folders]
    found = joined([open_captions(PairSource((folder,))) for folder in folders])
    assert len(set(found.picture.tolist())) == pictures


def test_the_order_does_not_depend_on_the_packing(tmp_path):
    told = toy_pairs(6)
    whole = open_captions(PairSource((write_shard(tmp_path / "a", "00000", told),)))
    write_shard(tmp_path / "b", "00000", told[:2])
    split = open_captions(PairSource((write_shard(tmp_path / "b", "00001", told[2:]),)))
    texts = [[pairs.captions[row].as_py() for row in chain(*dealt(pairs, 2)[0])] for pairs in (whole, split)]
    assert texts[0] == texts[1]
    assert np.array_equal(np.sort(whole.picture), np.sort(split.picture))
