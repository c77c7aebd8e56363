"""`00000.npz` as DataComp's readers take it: names, order of rows, zeros for nulls, the same bytes again."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.manifest import Attempt, Commit
from curate.models.caption_settings import MatcherSettings
from curate.models.embeddings import embedding_column
from curate.models.npz import EmbeddingsNpz
from curate.models.pair_scores import image_embedding, text_embedding
from curate.models.scorers import model_steps, npz_steps
from curate.models.settings import ModelSettings
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage

ROWS, LENGTH = 7, 16


def written(folder: Path, images: np.ndarray, texts: np.ndarray, known: tuple[list[bool], list[bool]]) -> Commit:
    keys = [f"00000{row:04d}" for row in range(len(images))]
    pq.write_table(pa.table({"key": pa.array(keys, pa.string())}), folder / "00000.parquet")
    columns = {
        image_embedding("l14"): embedding_column(images, np.array(known[0], bool)),
        text_embedding("l14"): embedding_column(texts, np.array(known[1], bool)),
    }
    pq.write_table(pa.table({"key": pa.array(keys, pa.string()), **columns}), folder / "00000.l14.parquet")
    shard = Shard(Storage(str(folder)), "00000")
    stage = EmbeddingsNpz(("l14",))
    attempt = Attempt(shard.storage, stage.label, shard.id, "0" * 16)
    stage.run(shard, attempt, Runtime())
    return attempt.commit()


def rows(seed: int, count: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, LENGTH)).astype(np.float16)


def test_two_arrays_in_the_order_of_the_rows_with_zeros_for_what_there_is_not(tmp_path: Path) -> None:
    images, texts = rows(1), rows(2)
    no_picture, no_text = [row != 2 for row in range(ROWS)], [row not in (2, 5) for row in range(ROWS)]
    commit = written(tmp_path, images, texts, (no_picture, no_text))
    assert commit.counts == {"in": ROWS}
    assert [file.name for file in commit.files] == ["00000.npz"]
    with np.load(tmp_path / "00000.npz", allow_pickle=False) as found:
        assert sorted(found.files) == ["l14_img", "l14_txt"], "and no option of numpy's among them"
        assert found["l14_img"].dtype == found["l14_txt"].dtype == np.float16
        assert (found["l14_img"] == np.where(np.array(no_picture)[:, None], images, 0)).all()
        assert (found["l14_txt"] == np.where(np.array(no_text)[:, None], texts, 0)).all()


def test_the_same_bytes_at_any_time(tmp_path: Path) -> None:
    digests = set()
    for name in "ab":
        (tmp_path / name).mkdir()
        digests.add(written(tmp_path / name, rows(1), rows(2), ([True] * ROWS, [True] * ROWS)).files[0].sha256)
    assert len(digests) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_a_shard_without_rows_or_without_embeddings(tmp_path: Path, count: int) -> None:
    written(tmp_path, rows(1, count), rows(2, count), ([False] * count, [False] * count))
    with np.load(tmp_path / "00000.npz", allow_pickle=False) as found:
        assert found["l14_img"].shape == found["l14_txt"].shape == (count, LENGTH)
        assert not found["l14_img"].any()


def test_all_models_share_one_file(tmp_path: Path) -> None:
    written(tmp_path, rows(1), rows(2), ([True] * ROWS, [True] * ROWS))
    shard = Shard(Storage(str(tmp_path)), "00000")
    columns = {name: embedding_column(rows(3)[:, :8], np.ones(ROWS, bool)) for name in names_of("b32")}
    pq.write_table(pa.table({"key": shard.columns(["key"])["key"], **columns}), tmp_path / "00000.b32.parquet")
    stage = EmbeddingsNpz(("b32", "l14"))
    assert stage.reads == (*names_of("b32"), *names_of("l14"))
    attempt = Attempt(shard.storage, stage.label, shard.id, "1" * 16)
    stage.run(Shard(Storage(str(tmp_path)), "00000"), attempt, Runtime())
    attempt.commit()
    with np.load(tmp_path / "00000.npz", allow_pickle=False) as found:
        assert {name: found[name].shape for name in found.files} == {
            "b32_img": (ROWS, 8),
            "b32_txt": (ROWS, 8),
            "l14_img": (ROWS, LENGTH),
            "l14_txt": (ROWS, LENGTH),
        }
        assert (found["l14_txt"] == rows(2)).all()
        assert (found["b32_img"] == rows(3)[:, :8]).all()


def names_of(model: str) -> tuple[str, str]:
    return image_embedding(model), text_embedding(model)


def test_one_step_for_the_models_that_ask_for_it() -> None:
    asking = ModelSettings(npz=True)
    models = {"l14": asking, "m": MatcherSettings(), "x": ModelSettings(), "b32": asking}
    (step,) = npz_steps(models)
    assert step == EmbeddingsNpz(("b32", "l14"))
    assert step.writes == ()
    assert list(npz_steps(dict(reversed(models.items())))) == [step]
    assert list(npz_steps({"x": ModelSettings()})) == list(npz_steps({})) == []
    scorers = [step.label for name, settings in models.items() for step in model_steps(name, settings)]
    assert scorers == ["score_l14", "score_m", "score_x", "score_b32"]
