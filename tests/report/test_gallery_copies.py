"""Clusters of copies: counted against brute force, the kept row first, the same whatever the packing."""

import random
from collections import Counter

import pyarrow as pa
import pytest
from document_sets import Page, Words, put_pages
from gallery_sets import pack, put_table, row, shown

from curate.report.pictures import Draw, copies
from curate.report.pictures.copy_clusters import LARGEST, MOST_SIZES, OTHERS
from curate.shard import Shard, list_shards
from curate.storage import Storage

SIZES = [1, 1, 5, 2, 3, 2, 2, 4, 2, 1, 2]


def put(folder, kept, packing, kind="near_image"):
    """Rows whose cluster keeps row `kept[n]` (their own: they are the kept one, or have no copies). `packing`: sizes of
    shards, and the order of rows."""
    order = packing[1]
    rows = [row(n) for n in order]
    shards = pack(folder, rows, packing[0])
    keys, place = {}, 0
    for shard, size in zip(shards, packing[0], strict=True):
        keys |= {n: f"{shard.id}{i:04d}" for i, n in enumerate(order[place : place + size])}
        place += size
    place = 0
    for shard, size in zip(shards, packing[0], strict=True):
        own = order[place : place + size]
        of = pa.array([None if kept[n] == n else keys[kept[n]] for n in own], pa.string())
        columns = {"key": [keys[n] for n in own], f"{kind}_duplicate_of": of}
        put_table(shard.storage, f"{shard.id}.{kind}_clusters.parquet", pa.table(columns))
        place += size
    return list_shards(shards[0].storage)


def clusters(sizes):
    """The row that is kept of each row's cluster; the first of a cluster is kept."""
    kept, start = [], 0
    for size in sizes:
        kept += [start] * size
        start += size
    return kept


def in_order(kept):
    return [len(kept)], list(range(len(kept)))


def numbers(gallery):
    return [shown(tile.picture) for tile in gallery.tiles]


def test_sizes_and_examples(tmp_path):
    kept = clusters(SIZES)
    (found,) = copies(put(tmp_path, kept, in_order(kept)), Draw())
    several = [size for size in SIZES if size > 1]
    assert (found.kind, found.rows, found.clusters) == ("near_image", sum(several), len(several))
    assert found.sizes == tuple(sorted(Counter(several).items()))
    assert [one.of for one in found.examples[:LARGEST]] == [5, 4, 3]
    (other,) = copies(put(tmp_path / "other", clusters(range(2, 12)), in_order(clusters(range(2, 12)))), Draw())
    assert [one.of for one in other.examples[:LARGEST]] == [11, 10, 9]
    assert [one.of for one in other.examples] == sorted((one.of for one in other.examples), reverse=True)
    assert len(found.examples) == LARGEST + OTHERS
    assert len({one.title for one in found.examples}) == LARGEST + OTHERS
    for one in found.examples:
        own = numbers(one)
        assert own[0] == min(own)  # the kept row first
        assert set(own) == {n for n, first in enumerate(kept) if first == own[0]}
        assert (one.kind, one.of, one.withheld) == ("copies", len(own), 0)
        assert one.title == f"{one.of} rows, of which {one.tiles[0].key} is kept"


@pytest.mark.parametrize("sizes", [[25], [10, 15], [1, 20, 4]])
def test_the_same_clusters_whatever_the_packing(sizes, tmp_path):
    kept = clusters(SIZES)
    order = random.Random(len(sizes)).sample(range(25), 25)
    packings = {"a": in_order(kept), "b": (sizes, order)}
    told = [copies(put(tmp_path / name, kept, packing), Draw()) for name, packing in packings.items()]
    assert [numbers(one) for one in told[0][0].examples] == [numbers(one) for one in told[1][0].examples]
    assert told[0][0].sizes == told[1][0].sizes


def test_another_seed_draws_other_clusters(tmp_path):
    kept = clusters([2] * 30)
    shards = put(tmp_path, kept, in_order(kept))
    drawn = [{tuple(numbers(one)) for one in copies(shards, Draw(seed=seed))[0].examples} for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_large_cluster_shows_some_of_its_rows(tmp_path):
    kept = clusters([40])
    (found,) = copies(put(tmp_path, kept, in_order(kept)), Draw(tiles=6))
    (one,) = found.examples
    assert (len(one.tiles), one.of, numbers(one)[0]) == (6, 40, 0)


def test_many_sizes_are_told_together(tmp_path):
    kept = clusters(range(2, 2 + MOST_SIZES + 5))
    (found,) = copies(put(tmp_path, kept, in_order(kept)), Draw(tiles=0))
    assert len(found.sizes) == MOST_SIZES
    assert found.sizes[-2:] == ((MOST_SIZES, 1), (MOST_SIZES + 1, 6))
    assert sum(number for _, number in found.sizes) == found.clusters == MOST_SIZES + 5


def test_each_kind_is_told_also_one_without_copies(tmp_path):
    kept = clusters([2, 1])
    shards = put(tmp_path, kept, in_order(kept), kind="pixels")
    nothing = pa.table({"key": ["000000000", "000000001", "000000002"], "bytes_duplicate_of": pa.nulls(3, pa.string())})
    put_table(shards[0].storage, "00000.bytes_clusters.parquet", nothing)
    found = copies(list_shards(shards[0].storage), Draw())
    assert [(one.kind, one.rows, one.clusters, len(one.examples)) for one in found] == [
        ("bytes", 0, 0, 0),
        ("pixels", 2, 1, 1),
    ]
    assert copies(pack(tmp_path / "none", [row(0)], [1]), Draw()) == ()


def test_a_row_of_an_earlier_data_set_is_named_and_not_shown(tmp_path):
    shards = pack(tmp_path, [row(n) for n in range(4)], [4])
    columns = {
        "key": [f"00000000{n}" for n in range(4)],
        "bytes_duplicate_of": ["000000003", "000000003", "000000003", None],
        "bytes_duplicate_in": ["/sets/first/", "/sets/first/", None, None],
    }
    put_table(shards[0].storage, "00000.bytes_clusters.parquet", pa.table(columns))
    (found,) = copies(list_shards(shards[0].storage), Draw())
    told = {(tuple(sorted(numbers(one))), one.of, one.words) for one in found.examples}
    assert told == {((0, 1), 3, "the kept row is in first"), ((2, 3), 2, "")}


@pytest.mark.parametrize("broken", ["00000.near_image_clusters.parquet", "00000.parquet", "00000.tar"])
def test_damage_is_no_crash(broken, tmp_path):
    kept = clusters([2, 2, 3])
    shards = put(tmp_path, kept, ([4, 3], list(range(7))))
    shards[0].storage.write(broken, b"PAR1 no")
    (found,) = copies([Shard(shard.storage, shard.id) for shard in shards], Draw())
    assert 3 in {one.of for one in found.examples}


def test_copies_of_documents_have_no_picture(tmp_path):
    storage = Storage(str(tmp_path))
    keys = put_pages(storage, "00000", [Page([Words("a")], url="http://s.test/a")] * 2)
    put_table(storage, "00000.urls.parquet", pa.table({"key": keys, "url_duplicate_of": [None, keys[0]]}))
    (found,) = copies(list_shards(storage), Draw())
    assert [(tile.key, tile.caption, tile.status) for tile in found.examples[0].tiles] == [
        (key, f"Title of {key}", "document") for key in keys
    ]
