"""DataComp's image-based filter: its rule in numpy, in any packing, with centres that are given or found."""

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from curate.config import build_filters
from curate.errors import ConfigError, ShardError, StageError
from curate.manifest import Manifest
from curate.models.contrast import nearest
from curate.models.embeddings import embedding_column
from curate.plan import Job, check
from curate.run.inline import InlineEngine
from curate.run.scheduler import RunSettings, run_job
from curate.select import Select
from curate.shard import Shard, Slice
from curate.stage import Runtime, Stage
from curate.storage import Storage
from curate.subset import Subset, parse_uids, sort_uids
from filters.image_cluster import ImageCluster

LENGTH, ROWS = 16, 400
CHANCE = np.random.default_rng(0)
VALUES = CHANCE.standard_normal((ROWS, LENGTH)).astype(np.float16)
KNOWN = CHANCE.random(ROWS) > 0.1
UIDS = [hashlib.md5(str(row).encode()).hexdigest() for row in range(ROWS)]
TARGETS = CHANCE.standard_normal((30, LENGTH)).astype(np.float32)
CENTRES = (CHANCE.standard_normal((50, LENGTH)) * CHANCE.uniform(0.5, 2, (50, 1))).astype(np.float32)


def datacomp(embeddings, uids, centroids, targets):
    """Its rule: the uids of pictures whose centre is that of a target; centres by inner product, as they are."""
    wanted = np.unique(np.argmax(targets @ centroids.T, axis=1))
    cluster = np.argmax(embeddings.astype(np.float32) @ centroids.T, axis=1)
    kept = [(int(uid[:16], 16), int(uid[16:], 16)) for uid, own in zip(uids, cluster, strict=True) if own in wanted]
    return np.sort(np.array(kept, np.dtype("u8,u8")))


@dataclass(frozen=True)
class Make(Stage):
    """Writes the rows that a packing gives a shard."""

    packing: tuple[tuple[int, ...], ...]
    values: Any = None
    models: tuple[str, ...] = ()

    name: ClassVar[str] = "make"

    @property
    def reads(self):
        return ("source",)

    @property
    def writes(self):
        return ("key", "uid", "url", "caption", "sha256", "clip_image_embedding")

    def identity(self):
        return {"stage": self.name, "packing": self.packing}

    def run(self, shard, attempt, runtime):
        rows = list(self.packing[int(shard.id)])
        values = VALUES if self.values is None else self.values
        text = pa.array([f"number {row}" for row in rows], pa.string())
        table = {
            "key": pa.array([f"{shard.id}{place:04d}" for place in range(len(rows))], pa.string()),
            "uid": pa.array([UIDS[row] for row in rows], pa.string()),
            **dict.fromkeys(("url", "caption", "sha256"), text),
            "clip_image_embedding": embedding_column(values[rows].reshape(-1, values.shape[1]), KNOWN[rows]),
        }
        table = pa.table(table)
        if self.models:
            model = {"model_fingerprint": self.models[int(shard.id)]}
            table = table.cast(table.schema.set(5, table.schema.field(5).with_metadata(model)))
        attempt.write_table(shard.table_name(), table)


def pack(*parts):
    return tuple(tuple(int(row) for row in part) for part in parts)


ONE = pack(range(ROWS))
OTHER = pack(*np.split(np.random.default_rng(5).permutation(ROWS), [1, 1, 90, 300]))


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "targets.npy", TARGETS)
    np.save(tmp_path / "centroids.npy", CENTRES)
    return {"targets": str(tmp_path / "targets.npy"), "centroids": str(tmp_path / "centroids.npy")}


def run(folder, packing, settings, values=None, models=()):
    rules = build_filters({"image_cluster": settings})
    pieces = [Slice(f"{number:05d}", len(rows), str(rows)) for number, rows in enumerate(packing)]
    steps = (
        Make(packing, values, models),
        *rules["image_cluster"].steps(()),
        Select(tuple(rules.items())),
        Subset("uid"),
    )
    job = Job(steps, lambda storage: iter(pieces), lambda storage: pieces)
    check(job)
    return run_job(job, Storage(str(folder)), InlineEngine(), RunSettings(attempts=1))


def columns(folder, packing):
    """uid to cluster, whether it is targeted, and the reason."""
    found = {}
    for number in range(len(packing)):
        names = ["uid", "image_cluster", "image_cluster_targeted", "drop_reason"]
        for row in Shard(Storage(str(folder)), f"{number:05d}").columns(names).to_pylist():
            uid, *rest = row.values()
            found[uid] = tuple(rest)
    return found


@pytest.mark.parametrize("packing", [ONE, OTHER])
def test_the_choice_is_datacomps(tmp_path, files, packing):
    run(tmp_path / "d", packing, files)
    known = [uid for uid, has in zip(UIDS, KNOWN, strict=True) if has]
    expected = datacomp(VALUES[KNOWN], known, CENTRES, TARGETS)
    found = np.load(tmp_path / "d" / "subset.npy")
    assert 20 < len(expected) < 340
    assert found.tobytes() == expected.tobytes()
    lengths = CENTRES / np.linalg.norm(CENTRES, axis=1, keepdims=True)
    assert found.tobytes() != datacomp(VALUES[KNOWN], known, lengths, TARGETS).tobytes()


def test_a_picture_without_an_embedding_is_in_no_cluster(tmp_path, files):
    run(tmp_path / "d", ONE, files)
    rows = columns(tmp_path / "d", ONE)
    for uid, has in zip(UIDS, KNOWN, strict=True):
        cluster, targeted, reason = rows[uid]
        assert (cluster is None) == (targeted is None) == (not has)
        assert reason == (None if targeted else "cluster_without_target" if has else "cluster_unknown")
    schema = Shard(Storage(str(tmp_path / "d")), "00000").schema("image_cluster")
    assert [field.type for field in schema] == [pa.string(), pa.int32(), pa.bool_()]


def test_found_clusters_do_not_depend_on_packing(tmp_path, files):
    settings = {"targets": files["targets"], "clusters": 25, "iterations": 5, "sample_ratio": 0.6, "seed": 7}
    for name, packing in (("one", ONE), ("other", OTHER)):
        run(tmp_path / name, packing, settings)
    assert columns(tmp_path / "one", ONE) == columns(tmp_path / "other", OTHER)
    assert ImageCluster(**settings).steps(())[0].reads == ("clip_image_embedding", "url", "sha256")
    drawn = Manifest.read(Storage(str(tmp_path / "one"))).of("image_clusters")[0].counts["trained_on"]
    assert 0.5 * KNOWN.sum() < drawn < 0.7 * KNOWN.sum()
    centroids, targeted = (np.load(tmp_path / f"one/image_cluster_clip/{n}.npy") for n in ("centroids", "targeted"))
    assert (centroids.shape, centroids.dtype, targeted.dtype) == ((25, LENGTH), np.float32, np.int32)
    known = [uid for uid, has in zip(UIDS, KNOWN, strict=True) if has]
    expected = datacomp(VALUES[KNOWN], known, centroids, TARGETS)
    assert np.load(tmp_path / "one" / "subset.npy").tobytes() == expected.tobytes()
    assert {p.name for p in (tmp_path / "one/image_cluster_clip").iterdir()} == {"centroids.npy", "targeted.npy"}
    assert not list((tmp_path / "one").rglob("*.f16"))


def test_a_run_again_does_nothing_and_other_targets_only_what_depends(tmp_path, files):
    assert run(tmp_path / "d", OTHER, files).made == 5 + 1 + 5 + 5 + 1
    assert run(tmp_path / "d", OTHER, files).made == 0
    np.save(files["targets"], TARGETS[:2])
    assert run(tmp_path / "d", OTHER, files).made == 1 + 5 + 5 + 1
    assert run(tmp_path / "d", OTHER, {**files, "seed": 5, "clusters": 9}).made == 0
    np.save(files["centroids"], CENTRES[:9])
    assert run(tmp_path / "d", OTHER, files).made == 1 + 5 + 5 + 1


def test_fewer_pictures_than_clusters(tmp_path, files):
    with pytest.raises(StageError, match=r"pictures make no 401 clusters; set .* to at most 9, since"):
        run(tmp_path / "d", ONE, {"targets": files["targets"], "clusters": 401})


@pytest.mark.parametrize("given", [True, False])
def test_no_picture_at_all(tmp_path, files, given):
    settings = files if given else {"targets": files["targets"]}
    unknown = tuple(int(row) for row in np.flatnonzero(~KNOWN))
    outcome = run(tmp_path / "d", ((), unknown), settings)
    assert outcome.failed == {}
    assert set(columns(tmp_path / "d", ((), unknown)).values()) == {(None, None, "cluster_unknown")}
    assert len(np.load(tmp_path / "d" / "subset.npy")) == 0


def test_an_embedding_that_is_not_finite_is_in_no_cluster(tmp_path, files):
    values = VALUES.copy()
    rows = np.flatnonzero(KNOWN)[:2]
    values[rows[0], 0], values[rows[1], 3] = np.nan, np.inf
    run(tmp_path / "d", ONE, files, values)
    found = columns(tmp_path / "d", ONE)
    assert [found[UIDS[row]][2] for row in rows] == ["cluster_unknown"] * 2
    assert found[UIDS[np.flatnonzero(KNOWN)[2]]][0] is not None


def test_embeddings_of_another_model(tmp_path, files):
    outcome = run_and_keep(tmp_path / "d", files, np.zeros((ROWS, 9), np.float16))
    assert "embeddings of 9 numbers, and the centres of clusters have 16" in outcome
    np.save(files["targets"], TARGETS[:, :9])
    with pytest.raises(ConfigError, match="targets and centroids have embeddings of different lengths"):
        run(tmp_path / "e", ONE, files)
    with pytest.raises(ConfigError, match="embeddings of 9 numbers, and the clusters' have 16"):
        run(tmp_path / "e", ONE, {"targets": files["targets"], "clusters": 5})


def run_and_keep(folder, files, values):
    """What a run says whose shard is set aside."""
    try:
        return str(run(folder, ONE, files, values).failed)
    except (ShardError, StageError) as error:
        return str(error)


def test_embeddings_of_two_models_do_not_compare(tmp_path, files):
    halves = pack(range(9), range(9, 99))
    assert run(tmp_path / "one", halves, files, models=("a", "a")).failed == {}
    with pytest.raises(ShardError, match="by model a in shard 00000 and by b in shard 00001"):
        run(tmp_path / "two", halves, files, models=("a", "b"))


def test_the_columns_say_which_model_and_which_centres_made_them(tmp_path, files):
    def told(folder, model):
        run(folder, ONE, files, models=(model,))
        about = Shard(Storage(str(folder)), "00000").provenances()
        assert about["image_cluster"] == about["image_cluster_targeted"]
        assert about["key"] == {}
        return about["image_cluster"]["model_fingerprint"]

    marks = [told(tmp_path / "a", "a"), told(tmp_path / "again", "a"), told(tmp_path / "b", "b")]
    np.save(files["targets"], TARGETS[:2])
    marks.append(told(tmp_path / "other targets", "a"))
    np.save(files["centroids"], CENTRES + 1)
    marks.append(told(tmp_path / "other centres", "a"))
    assert marks[0] == marks[1]
    assert len(set(marks)) == 4


@pytest.mark.parametrize("name", ["targets", "centroids"])
def test_files_that_cannot_be_read(tmp_path, files, name):
    step = ImageCluster(**files).steps(())[0]
    step.require(Runtime())
    for spoil in (lambda p: p.unlink(), lambda p: p.write_bytes(b"no"), lambda p: np.save(p, np.zeros(3))):
        spoil(tmp_path / f"{name}.npy")
        with pytest.raises(ConfigError, match=rf"\[filters.image_cluster\] {name} = "):
            step.require(Runtime())


def test_targets_that_are_not_finite(tmp_path, files):
    np.save(files["targets"], np.where(np.arange(LENGTH) == 3, np.nan, TARGETS))
    with pytest.raises(ConfigError, match=r"targets = .* has values that are not finite"):
        run(tmp_path / "d", ONE, files)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs targets"),
        ({"targets": "x", "model": "No Model"}, "model = 'No Model'"),
        ({"targets": "x", "clusters": 0}, "clusters = 0"),
        ({"targets": "x", "iterations": 0}, "iterations = 0"),
        ({"targets": "x", "sample_ratio": 0}, "sample_ratio = 0"),
        ({"targets": "x", "sample_ratio": 1.1}, "sample_ratio = 1.1"),
        ({"targets": "x", "seed": -1}, "seed = -1"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ConfigError, match=words):
        build_filters({"image_cluster": settings})


def test_reasons(reasons):
    found = reasons(ImageCluster(targets="x"), image_cluster_targeted=[True, False, None])
    assert found == [None, "cluster_without_target", "cluster_unknown"]


def test_of_equal_products_the_first_counts(monkeypatch):
    targets = np.array([[1, 0], [0, 2], [0, 2], [2, 0], [2, 0]], np.float32)
    rows = np.array([[1, 0], [0, 1], [1, 1], [-1, 0], [0, 0]], np.float32)
    for values in (1 << 26, 12, 1):
        monkeypatch.setattr("curate.models.contrast.BLOCK_VALUES", values)
        assert nearest(rows, targets).tolist() == [3, 1, 1, 1, 0]
    assert nearest(rows[:0], targets).tolist() == []
    assert nearest(rows, targets[:1]).tolist() == [0] * 5


def test_a_row_of_zeros_is_compared_with_nobody(monkeypatch):
    monkeypatch.setattr("curate.models.contrast._first_largest", lambda *about: pytest.fail("compared"))
    assert nearest(np.zeros((3, 2), np.float32), np.ones((4, 2), np.float32)).tolist() == [0, 0, 0]


def test_products_that_float32_cannot_tell_apart(monkeypatch):
    """Targets that differ in the last bit: the largest by exact arithmetic, whatever stands in the block beside it."""
    chance = np.random.default_rng(2)
    row = chance.standard_normal((64, 768)).astype(np.float32) * (10 ** (np.arange(64, dtype=np.float32) % 7))[:, None]
    base = chance.standard_normal((1, 768)).astype(np.float32)
    targets = base * (1 + 2.0**-23 * chance.integers(-3, 4, (300, 768))).astype(np.float32)
    exact = np.argmax(row.astype(np.float64) @ targets.astype(np.float64).T, axis=1)
    for values in (1 << 26, 300 * 7, 300):
        monkeypatch.setattr("curate.models.contrast.BLOCK_VALUES", values)
        assert (nearest(row, targets) == exact).all()
    assert (np.argmax(row @ targets.T, axis=1) != exact).any()


def test_uids_of_the_rule_are_those_of_the_subset():
    assert datacomp(VALUES, UIDS, CENTRES[:1], TARGETS).tobytes() == sort_uids(parse_uids(pa.array(UIDS))).tobytes()
