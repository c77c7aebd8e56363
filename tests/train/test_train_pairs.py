"""Pairs for training: which rows count, that order is of what they are, and that broken pictures are passed over."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from pair_shards import BROKEN, ToyPair, encoded, picture, toy_pairs, write_shard, write_tar
from PIL import Image

from curate.errors import ConfigError, ShardError, SourceError, StageError
from curate.train.pairs import PairSource, open_pairs
from curate.train.stream import batches, cropping, draw_order, in_order


def look(pixels, row, epoch):
    return pixels[:16, :16]


def open_folder(*folders, **options):
    return open_pairs(PairSource(tuple(folders), **options))


def captions_in_order(pairs, rows):
    return [pairs.captions[row].as_py() for row in rows]


@pytest.fixture
def pairs():
    return toy_pairs(12)


def test_pictures_and_captions_are_those_of_the_shard(tmp_path, pairs):
    found = open_folder(write_shard(tmp_path / "a", "00000", pairs))
    assert len(found) == found.rows == 12
    assert [found.read(row) for row in range(12)] == [pair.image for pair in pairs]
    assert found.captions.to_pylist() == [pair.caption for pair in pairs]
    assert found.sha256.to_pylist() == [pair.sha256 for pair in pairs]


@pytest.mark.parametrize(
    ("change", "there"),
    [({}, True), ({"caption": None}, False), ({"caption": " \n\t\u3000"}, False), ({"caption": "."}, True),
     ({"extension": "cls"}, False), ({"extension": "png"}, True), ({"keep": False}, False), ({"keep": None}, False)],
)  # fmt: skip
def test_a_row_counts_with_a_picture_a_caption_and_the_filters_consent(tmp_path, pairs, change, there):
    pairs[3] = replace(pairs[3], **change)
    found = open_folder(write_shard(tmp_path / "a", "00000", pairs, keep=True))
    assert ("00003" in found.keys.to_pylist()) is there
    assert (len(found), found.rows) == (12 if there else 11, 12)
    row = found.keys.to_pylist().index("00004")
    assert found.read(row) == pairs[4].image


def test_dropped_rows_are_there_when_asked_for(tmp_path, pairs):
    pairs[3] = replace(pairs[3], keep=False)
    folder = write_shard(tmp_path / "a", "00000", pairs, keep=True)
    assert len(open_folder(folder)) == 11
    assert len(open_folder(folder, kept_only=False)) == 12


def test_any_webdataset_will_do(tmp_path, pairs):
    """img2dataset's tables without our index, and tars that stand alone, give the same pairs as our shards."""
    pairs[5] = replace(pairs[5], caption=None)
    ours = open_folder(write_shard(tmp_path / "a", "00000", pairs))
    tables = open_folder(write_shard(tmp_path / "b", "00000", pairs, index=False))
    (tmp_path / "c").mkdir()
    write_tar(tmp_path / "c" / "x.tar", pairs)
    alone = open_folder(str(tmp_path / "c"))
    for other in (tables, alone):
        assert other.captions.equals(ours.captions)
        assert [other.read(row) for row in range(11)] == [ours.read(row) for row in range(11)]
        assert other.defects.equals(ours.defects)
    assert open_folder(str(tmp_path / "c"), caption_column="alt").captions.to_pylist() == ["x"] * 12


def test_pictures_of_two_tars_with_one_key_are_two_pictures(tmp_path, pairs):
    """Where nobody knows a digest, a key is a number that every tar begins with."""
    for name in "ab":
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / "00000.tar", pairs[:2])
    found = open_folder(str(tmp_path / "a"), str(tmp_path / "b"))
    assert found.sha256.null_count == 4
    assert len(set(found.picture.tolist())) == 4


def test_a_jpeg_goes_before_a_mask_beside_it(tmp_path, pairs):
    from curate.tar import TarWriter

    with open(tmp_path / "x.tar", "wb") as target:
        tar = TarWriter(target)
        for name, data in (("a.png", b"mask"), ("a.jpg", pairs[0].image), ("a.txt", b"a star")):
            tar.add(name, data)
        tar.finish()
    assert open_folder(str(tmp_path)).read(0) == pairs[0].image


def test_the_packing_changes_neither_order_nor_crops_nor_digest(tmp_path):
    pairs = toy_pairs(30)
    one = open_folder(write_shard(tmp_path / "one", "00000", pairs))
    for name, part in (("00000", pairs[20:]), ("00001", pairs[:7]), ("00002", pairs[7:20])):
        folder = write_shard(tmp_path / "three", name, part)
    three = open_folder(folder)
    assert one.digest() == three.digest()
    for epoch in (0, 1):
        orders = [captions_in_order(found, draw_order(found, 5, epoch)) for found in (one, three)]
        assert orders[0] == orders[1]
    views = []
    for found in (one, three):
        stream = batches(found, cropping(found, np.mean, 0.5, 5), 8, 5, 2, set())
        views.append([(batch.captions, batch.views.tolist()) for batch in islice(stream, 6)])
    assert views[0] == views[1]


def test_every_epoch_has_every_row_once_in_another_order(tmp_path):
    found = open_folder(write_shard(tmp_path / "a", "00000", toy_pairs(20)))
    rows = np.concatenate([b.rows for b in islice(batches(found, look, 8, 1, 2, set()), 5)]).tolist()
    assert sorted(rows[:20]) == sorted(rows[20:]) == list(range(20))
    assert rows[:20] != rows[20:] != list(range(20))
    assert rows[:20] == draw_order(found, 1).tolist() != draw_order(found, 2).tolist()


def test_a_broken_picture_is_left_out_and_counted(tmp_path, pairs):
    pairs[2], pairs[7] = ToyPair(BROKEN, "a red star"), ToyPair(b"", "a blue star")
    found = open_folder(write_shard(tmp_path / "a", "00000", pairs))
    broken = set()
    seen = list(islice(batches(found, look, 5, 0, 2, broken), 6))
    assert broken == {2, 7}
    assert {len(b.rows) for b in seen} == {5}
    assert broken.isdisjoint(np.concatenate([b.rows for b in seen]).tolist())
    assert all(found.captions[int(r)].as_py() == c for b in seen for r, c in zip(b.rows, b.captions, strict=True))


def test_a_picture_that_cannot_be_made_ready_is_a_broken_one(tmp_path, pairs):
    found = open_folder(write_shard(tmp_path / "a", "00000", pairs))
    broken, tried = set(), []

    def fails(pixels, row, epoch):
        if row == 4:
            tried.append(epoch)
            raise ValueError("odd")
        return pixels[:8, :8]

    list(islice(batches(found, fails, 11, 0, 2, broken), 3))
    assert (broken, tried) == ({4}, [0])


def test_a_set_of_broken_pictures_ends(tmp_path):
    found = open_folder(write_shard(tmp_path / "a", "00000", [ToyPair(BROKEN, f"star {n}") for n in range(3)]))
    with pytest.raises(StageError, match=r"none of the 3 pictures can be decoded, e\.g\. 00000"):
        next(batches(found, look, 2, 0, 1, set()))


def test_what_cannot_be_read_is_told(tmp_path, pairs):
    folder = write_shard(tmp_path / "a", "00000", pairs)
    with pytest.raises(ValueError, match=r"shards = \[\] names no folder"):
        PairSource(())
    with pytest.raises(ShardError, match="no column 'text'"):
        open_folder(folder, caption_column="text")
    with pytest.raises(SourceError, match="no tar file"):
        open_folder(str(tmp_path / "nothing"))
    empty = write_shard(tmp_path / "b", "00000", [replace(pair, caption="") for pair in pairs])
    with pytest.raises(ConfigError, match=r"no pair with a picture and a text in 'caption' in .*, of 12 rows"):
        open_folder(empty)
    assert len(open_pairs(PairSource((empty,)), captions=False)) == 12
    found = open_folder(folder)
    (tmp_path / "a" / "00000.tar").unlink()
    with pytest.raises(ShardError, match=r"00000\.tar is gone"):
        found.read(0)


@pytest.mark.parametrize("least", [0.3, 0.9, 1.0])
def test_a_crop_keeps_the_shape_and_at_least_its_share(tmp_path, least):
    found = open_folder(write_shard(tmp_path / "a", "00000", toy_pairs(10)))
    pixels = np.asarray(picture(1, (200, 120)))
    crop = cropping(found, lambda part: part, least, seed=0)
    parts = [crop(pixels, row, epoch) for row in range(10) for epoch in range(5)]
    areas = [part.shape[0] * part.shape[1] / pixels.shape[0] / pixels.shape[1] for part in parts]
    assert min(areas) >= least - 0.02
    assert all(abs(part.shape[1] / part.shape[0] - 200 / 120) < 0.03 for part in parts)
    assert (len({part.shape for part in parts}) > 10) is (least < 1)
    assert np.array_equal(crop(pixels, 3, 2), parts[17])


def test_a_one_pixel_picture_can_be_cropped(tmp_path):
    found = open_folder(write_shard(tmp_path / "a", "00000", [ToyPair(encoded(Image.new("RGB", (1, 1))), "a dot")]))
    crop = cropping(found, lambda part: part, 0.1, seed=0)
    assert crop(np.zeros((1, 1, 3), np.uint8), 0, 0).shape == (1, 1, 3)


@pytest.mark.parametrize("threads", [1, 3])
def test_work_comes_back_in_order_and_its_errors_too(threads):
    assert list(in_order(lambda n: n * n, range(700), threads)) == [(n, n * n) for n in range(700)]
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda n: 1 // (n - 5), range(9), threads))
