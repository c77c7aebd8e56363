"""k-means: faiss's own to the bit, on rows that are in the same order however they are packed."""

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.dedup.identity import identities
from curate.dedup.kmeans import gather_embeddings, kmeans
from curate.errors import ShardError
from curate.models.embeddings import embedding_column
from curate.shard import Shard
from curate.storage import Storage

LENGTH = 8


def rows_of(n, length=LENGTH, seed=0):
    return np.random.default_rng(seed).standard_normal((n, length)).astype(np.float16)


def write_shards(folder, packing, values, known=None):
    """`packing` says which rows a shard has, by number."""
    folder.mkdir()
    known = np.ones(len(values), bool) if known is None else known
    for number, rows in enumerate(packing):
        table = {
            "key": pa.array([f"{number}-{place}" for place in range(len(rows))], pa.string()),
            "url": pa.array([f"http://a.test/{row}" for row in rows], pa.string()),
            "caption": pa.array([f"number {row}" for row in rows], pa.string()),
            "sha256": pa.array([f"{row:064x}" for row in rows], pa.string()),
            "clip_image_embedding": embedding_column(values[rows].reshape(-1, values.shape[1]), known[rows]),
        }
        pq.write_table(pa.table(table), folder / f"{number:05d}.parquet")
    return [Shard(Storage(str(folder)), f"{number:05d}") for number in range(len(packing))]


def gather(shards, path, ratio=1.0, seed=0):
    return gather_embeddings(shards, "clip_image_embedding", ratio, seed, path / f"{len(list(path.iterdir()))}.f16")


@pytest.mark.parametrize("spherical", [False, True])
def test_equal_to_faiss_on_plain_rows(tmp_path, spherical):
    rows = rows_of(40_000)
    mapped = np.memmap(tmp_path / "rows", np.float16, "w+", shape=rows.shape)
    mapped[:] = rows
    plain = faiss.Kmeans(LENGTH, 20, niter=7, seed=3, spherical=spherical, max_points_per_centroid=10**7)
    plain.train(rows.astype(np.float32))
    found = kmeans(mapped, 20, 7, 3, spherical)
    assert found.dtype == np.float32
    assert found.tobytes() == plain.centroids.tobytes()
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5) == spherical


def test_each_cluster_is_the_mean_of_its_rows():
    rows = np.concatenate([rows_of(50) / 100 + place for place in (-5, 0, 5)]).astype(np.float16)
    found = kmeans(rows, 3, 20, 1)
    means = [rows[start : start + 50].astype(np.float32).mean(axis=0) for start in (0, 50, 100)]
    assert np.allclose(found[np.argsort(found[:, 0])], means, atol=1e-5)


def test_steps_and_seed_count():
    rows = rows_of(300)
    one = kmeans(rows, 10, 1, 0)
    assert (one == kmeans(rows, 10, 1, 0)).all()
    assert (one != kmeans(rows, 10, 1, 1)).any()
    assert (one != kmeans(rows, 10, 5, 0)).any()


def test_as_many_clusters_as_rows_and_no_more():
    rows = rows_of(5)
    found = kmeans(rows, 5, 3, 0)
    assert sorted(map(tuple, found)) == sorted(map(tuple, rows.astype(np.float32)))
    with pytest.raises(ValueError, match="5 rows make no 6 clusters"):
        kmeans(rows, 6, 3, 0)


def test_nothing_is_printed(capfd):
    kmeans(rows_of(40), 8, 3, 0)
    assert capfd.readouterr() == ("", "")


def test_rows_are_gathered_in_an_order_that_packing_does_not_change(tmp_path):
    values, known = rows_of(200), np.ones(200, bool)
    known[::7] = False
    values[3, 0], values[4, 5] = np.nan, np.inf
    order = np.random.default_rng(1).permutation(200)
    one = write_shards(tmp_path / "one", [np.arange(200)], values, known)
    many = write_shards(tmp_path / "many", [order[:9], order[9:9], order[9:150], order[150:]], values, known)
    found = gather(one, tmp_path)
    assert found.tobytes() == gather(many, tmp_path).tobytes()
    digests = identities(one[0])
    expected = [row for row in np.lexsort((digests[:, 1], digests[:, 0])) if known[row] and row not in (3, 4)]
    assert (found == values[expected]).all()


def test_a_sample_is_drawn_by_what_rows_are(tmp_path):
    values = rows_of(2_000)
    order = np.random.default_rng(1).permutation(2_000)
    one = write_shards(tmp_path / "one", [np.arange(2_000)], values)
    many = write_shards(tmp_path / "many", np.array_split(order, 7), values)
    tenth = gather(one, tmp_path, 0.1)
    assert 150 < len(tenth) < 250
    assert tenth.tobytes() == gather(many, tmp_path, 0.1).tobytes()
    half = {row.tobytes() for row in gather(one, tmp_path, 0.5)}
    assert {row.tobytes() for row in tenth} <= half
    assert {row.tobytes() for row in tenth} != {row.tobytes() for row in gather(one, tmp_path, 0.1, seed=1)}


def test_shards_without_rows(tmp_path):
    values = rows_of(4)
    shards = write_shards(tmp_path / "d", [np.arange(0), np.arange(4)], values, np.zeros(4, bool))
    assert gather(shards, tmp_path).shape == (0, LENGTH)
    assert gather([], tmp_path).shape == (0, 0)


def test_embeddings_of_two_lengths_are_refused(tmp_path):
    one = write_shards(tmp_path / "one", [np.arange(3)], rows_of(3))
    other = write_shards(tmp_path / "other", [np.arange(3)], rows_of(3, 9))
    with pytest.raises(ShardError, match="embeddings of 9 numbers, and those before it of 8"):
        gather([*one, *other], tmp_path)
