"""Near pictures, from hashes to columns: the pairs of brute force, at any packing and any number of parts."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scored_shards import Given, ScoredBy, by_row, embedded, handles, packings, pairs, run_steps, unit_rows
from scored_shards import pack as pack_rows

from curate.dedup.near_image import SHARING_PARTS, EmbeddingCosine, NearImage
from curate.dedup.scatter import inbox
from curate.errors import ConfigError, StageError
from curate.manifest import Commit, CommitLog
from curate.models.settings import build_models
from curate.registry import filter_class
from curate.signals import signal_steps
from curate.storage import Storage

COLUMNS = ("near_image_duplicate_of", "near_image_cluster_size")


def near(**settings: object):
    return filter_class("near_image_duplicate")(**settings)


def run(folder: Path, rows: pa.Table, rule, sizes: Sequence[int], order: Sequence[int]) -> dict:
    """The columns by uid, with the uid of the row kept."""
    pack_rows(folder / "in", rows, sizes, order)
    given = tuple(name for name in rows.column_names if name not in ("url", "caption", "sha256", "uid"))
    steps = (Given(str(folder / "in")), ScoredBy(str(folder / "in"), given), *rule.steps(()))
    outcome = run_steps(folder / "set", len(sizes), steps)
    assert outcome.failed == {}
    shards = handles(folder / "set", len(sizes))
    uid_of = {key: uid for uid, (key,) in by_row(shards, ["key"]).items()}
    return {uid: (uid_of.get(of), size) for uid, (of, size) in by_row(shards, COLUMNS).items()}


def hashes_of(count: int, bits: int, radius: int, seed: int) -> list[int | None]:
    """Hashes in families whose members differ by about `radius` bits; some equal, some missing."""
    random = np.random.default_rng(seed)
    found: list[int | None] = []
    while len(found) < count:
        one = int.from_bytes(random.bytes(bits // 8), "big")
        found.append(one)
        for _ in range(random.integers(0, 4)):
            flipped = random.choice(bits, random.integers(0, radius + 3), replace=False)
            found.append(one ^ sum(1 << int(bit) for bit in flipped))
    return [None if n % 17 == 3 else value for n, value in enumerate(found[:count])]


def table(hashes: Sequence[int | None], kind: str, quality: Sequence[int] | None = None) -> pa.Table:
    rows = pairs(len(hashes))
    if kind == "pdq":
        raw = [None if value is None else value.to_bytes(32, "big") for value in hashes]
        rows = rows.append_column("pdq", pa.array(raw, pa.binary(32)))
        return rows.append_column("pdq_quality", pa.array(quality or [100] * len(hashes), pa.int32()))
    return rows.append_column(kind, pa.array(hashes, pa.uint64()))


def sizes_by_brute_force(hashes: Sequence[int | None], radius: int) -> list[int | None]:
    edges = [
        (i, j)
        for (i, one), (j, other) in combinations(enumerate(hashes), 2)
        if one is not None and other is not None and (one ^ other).bit_count() <= radius
    ]
    left, right = np.array(edges, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(left)), (left, right)), (len(hashes), len(hashes)))
    labels = connected_components(graph, directed=False)[1]
    sizes = np.bincount(labels)[labels]
    return [None if value is None else int(size) for value, size in zip(hashes, sizes, strict=True)]


def pair_commits(folder: Path) -> list[Commit]:
    return CommitLog(Storage(str(folder / "set"))).fold(["near_image_pair"])


def sizes_found(answers: dict, count: int) -> list[int | None]:
    return [answers[uid][1] for uid in pairs(count)["uid"].to_pylist()]


@pytest.mark.parametrize(
    ("kind", "bits", "radius"), [("phash", 64, 4), ("dhash", 64, 9), ("pdq", 256, 31), ("phash", 64, 0)]
)
@pytest.mark.parametrize("shards_per_part", [1, 50])
def test_clusters_are_those_of_brute_force_at_any_packing(
    tmp_path: Path, kind: str, bits: int, radius: int, shards_per_part: int
) -> None:
    hashes = hashes_of(22, bits, radius, seed=radius)
    expected = sizes_by_brute_force(hashes, radius)
    assert len({*expected}) > 2
    rule = near(hash=kind, radius=radius, shards_per_part=shards_per_part)
    found = []
    for number, (sizes, order) in enumerate(packings(len(hashes))[::2]):
        answers = run(tmp_path / str(number), table(hashes, kind), rule, sizes, order)
        assert sizes_found(answers, len(hashes)) == expected
        found.append(answers)
    assert found[0] == found[1]


@pytest.mark.parametrize(("kind", "bits", "radius"), [("phash", 64, 6), ("pdq", 256, 31)])
def test_hashes_that_are_dealt_to_many_parts_find_the_same(tmp_path: Path, kind: str, bits: int, radius: int) -> None:
    hashes = hashes_of(30, bits, radius, seed=8)
    answers = run(tmp_path, table(hashes, kind), near(hash=kind, radius=radius, shards_per_part=1), [3] * 10, range(30))
    assert len({commit.attempt for commit in pair_commits(tmp_path)}) == 10 > SHARING_PARTS
    assert sizes_found(answers, len(hashes)) == sizes_by_brute_force(hashes, radius)


@pytest.mark.parametrize("shards", [4, 10])
def test_each_pair_comes_from_one_part_alone(tmp_path: Path, shards: int) -> None:
    hashes = hashes_of(40, 64, 6, seed=2)
    rule = near(hash="phash", radius=6, shards_per_part=1)
    run(tmp_path, table(hashes, "phash"), rule, [40 // shards] * shards, range(40))
    known = [value for value in hashes if value is not None]
    different = len({frozenset(p) for p in combinations({*known}, 2) if (p[0] ^ p[1]).bit_count() <= 6})
    counts = [commit.counts for commit in pair_commits(tmp_path)]
    assert len(counts) == shards
    assert sum(c["sure_pairs"] for c in counts) == different + len(known) - len({*known})


def test_many_hashes_near_to_one_another_leave_a_row_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pairs of them are found, and what ties them is kept: a meme in 10,000 versions has 50 million pairs."""
    for name in ("near_image.MOST_PAIRS", "components.WAITING"):
        monkeypatch.setattr(f"curate.dedup.{name}", 100)
    hashes = [sum(1 << bit for bit in pair) for pair in combinations(range(12), 2)]
    answers = run(tmp_path, table(hashes, "phash"), near(hash="phash", radius=4), [len(hashes)], range(len(hashes)))
    assert sizes_found(answers, len(hashes)) == [len(hashes)] * len(hashes)
    (commit,) = pair_commits(tmp_path)
    assert commit.counts["sure_pairs"] == len(hashes) * (len(hashes) - 1) // 2
    kept = inbox(Storage(str(tmp_path / "set")), "near_image_pair", 0, (0,), 1)
    assert sum(len(rows) for rows in kept) == len(hashes) - 1


def test_flat_pictures_take_no_part(tmp_path: Path) -> None:
    rows = table([7] * 6, "pdq", [100, 50, 49, 0, 80, 10])
    assert sizes_found(run(tmp_path / "a", rows, near(), [6], range(6)), 6) == [3, 3, None, None, 3, None]
    assert sizes_found(run(tmp_path / "b", rows, near(min_quality=0), [6], range(6)), 6) == [6] * 6


@pytest.mark.parametrize("shards_per_part", [1, 9])
def test_all_pictures_the_same(tmp_path: Path, shards_per_part: int) -> None:
    count = 20_000
    rule = near(hash="phash", shards_per_part=shards_per_part)
    answers = run(tmp_path, table([5] * count, "phash"), rule, [count // 4] * 4, range(count))
    assert sizes_found(answers, count) == [count] * count
    assert sum(of is None for of, _ in answers.values()) == 1


@pytest.mark.parametrize("shards_per_part", [1, 9])
def test_embeddings_must_agree_too(tmp_path: Path, shards_per_part: int) -> None:
    """Hashes tie all six; by embedding there are two pairs, one row without an embedding, and one of zeros."""
    rows = unit_rows(6)
    rows[1], rows[3], rows[5] = rows[0], rows[2] * 3, 0
    given = table([7] * 4 + [6, 6], "phash").append_column("clip_image_embedding", embedded(rows, missing=[4]))
    rule = near(hash="phash", radius=2, model="clip", min_cosine=0.99, shards_per_part=shards_per_part)
    assert sizes_found(run(tmp_path, given, rule, [2, 2, 2], range(6)), 6) == [2, 2, 2, 2, 1, 1]


def test_many_rows_of_one_hash_are_checked_against_neighbours_and_the_rest_is_counted(tmp_path: Path) -> None:
    count = 400
    given = table([7] * count, "phash").append_column("clip_image_embedding", embedded(np.ones((count, 4), np.float32)))
    answers = run(tmp_path, given, near(hash="phash", model="clip"), [count], range(count))
    assert sizes_found(answers, count) == [count] * count
    counts = pair_commits(tmp_path)[0].counts
    assert 0 < counts["candidates"] < 64 * count
    assert counts["candidates"] + counts["pairs_left_out"] == count * (count - 1) // 2


@pytest.mark.parametrize("order", [range(12), range(11, -1, -1), [9, 0, 5, 11, 1, 2, 10, 3, 4, 6, 7, 8]])
def test_rows_of_two_near_hashes_are_all_compared(tmp_path: Path, order: Sequence[int]) -> None:
    """Ten rows of one hash that look different, and two of another whose embeddings are those of two of the ten."""
    rows = np.eye(12, 12, dtype=np.float32)
    rows[10], rows[11] = rows[9], rows[0]
    given = table([7] * 10 + [6, 6], "phash").append_column("clip_image_embedding", embedded(rows))
    answers = run(tmp_path, given, near(hash="phash", radius=2, model="clip"), [12], order)
    assert sizes_found(answers, 12) == [2] + [1] * 8 + [2, 2, 2]


def test_a_picture_without_an_embedding_is_near_to_nothing_whatever_the_bound(tmp_path: Path) -> None:
    rows = unit_rows(3)
    rows[1] = 0
    given = table([7] * 3, "phash").append_column("clip_image_embedding", embedded(rows, missing=[2]))
    rule = near(hash="phash", radius=2, model="clip", min_cosine=-1.0)
    assert sizes_found(run(tmp_path, given, rule, [3], range(3)), 3) == [1, 1, 1]


def test_embeddings_of_two_models_are_not_compared(tmp_path: Path) -> None:
    given = table([7] * 4, "phash").append_column("clip_image_embedding", embedded(unit_rows(4)))
    rule = near(hash="phash", model="clip")
    names = ("phash", "clip_image_embedding")
    folder = tmp_path / "in"
    pack_rows(folder, given, [4])
    first = (Given(str(folder)), ScoredBy(str(folder), names, "one"), *rule.steps(()))
    run_steps(tmp_path / "one", 1, first)
    other = near(hash="phash", model="clip", against=(str(tmp_path / "one"),))
    second = (Given(str(folder)), ScoredBy(str(folder), names, "two"), *other.steps(()))
    with pytest.raises(StageError, match=r"clip_image_embedding was made by model"):
        run_steps(tmp_path / "two", 1, second)


@pytest.mark.parametrize(("cosine", "near_enough"), [(0.9, True), (0.899, False)])
def test_the_bound_on_the_cosine(cosine: float, near_enough: bool) -> None:
    one = np.array([[1.0, 0.0]], np.float16)
    other = np.array([[cosine, np.sqrt(1 - cosine**2)]], np.float16)
    raw = [pa.array([row.tobytes()], pa.binary()) for row in (one, other)]
    check = EmbeddingCosine("clip_image_embedding", 0.9)
    assert abs(check.similarity(*raw)[0] - cosine) < 1e-3
    assert NearImage("phash", 3, None, check).evidence is check
    assert (check.similarity(*raw)[0] >= 0.8995) == near_enough


def test_the_model_must_be_there_with_its_embeddings() -> None:
    rules = {"near_image_duplicate": near(hash="phash", model="clip")}
    with pytest.raises(ConfigError, match=r"the config has no \[models.clip\]"):
        signal_steps(rules, {}, set())
    with pytest.raises(ConfigError, match="embeddings = true"):
        signal_steps(rules, build_models({"clip": {"embeddings": False}}), set())
    labels = [step.label for step in signal_steps(rules, build_models({"clip": {"embeddings": True}}), set())]
    assert labels[-8:] == [
        f"near_image_{step}" for step in ("gather", "pair", "look", "verify", "label", "ask", "answer", "mark")
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"radius": -1}, {"radius": 64}, {"hash": "phash", "radius": 16}, {"min_quality": 101}, {"min_cosine": 1.5}],
)
def test_settings_that_cannot_be_are_told(wrong: dict) -> None:
    with pytest.raises(ValueError, match=list(wrong)[-1]):
        near(**wrong)
