"""The scorer of a dual encoder on whole shards: broken pictures and captions of every kind, and models gone wrong."""

import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_clip import drawn, make

import curate.models.clip
from curate.errors import ConfigError, StageError
from curate.filter import Batch
from curate.manifest import Attempt, Commit
from curate.models.clip import Clip, clip_fingerprint
from curate.models.embeddings import embeddings_of
from curate.models.pair_scores import ScorePairs, image_embedding, similarity, text_embedding
from curate.models.settings import ModelSettings
from curate.models.weights import read_tensors
from curate.registry import filter_class
from curate.score import Score
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage
from curate.tar import TarWriter

TENSORS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("scores"))


@pytest.fixture
def scorer(folder: Path) -> ScorePairs:
    return ScorePairs("b32", ModelSettings(weights=str(folder), precision="fp32", device="cpu"))


def png(width: int = 40, height: int = 30, seed: int = 0) -> bytes:
    out = io.BytesIO()
    Image.fromarray(drawn(width, height, seed)).save(out, "PNG")
    return out.getvalue()


ROWS: list[tuple[str | None, bytes | None, bool, bool]] = [
    # caption, picture, whether there is a similarity, whether there is an embedding of the picture
    ("a dog", png(), True, True),
    ("a dog", b"not a picture", False, False),
    ("a dog", png()[:100], False, False),
    ("a dog", b"", False, False),
    ("a dog", None, False, False),
    (None, png(seed=1), False, True),
    ("", png(seed=2), False, True),
    (" \t\n\u3000\xa0", png(seed=3), False, True),
    ("x" * 100_000, png(seed=4), True, True),
    ("word " * 20_000, png(seed=5), True, True),
    ("😀\x00\u202e日本", png(seed=6), True, True),
    ("&nbsp;", png(seed=7), True, True),
    ("a dog", png(1, 1), True, True),
    ("a dog", png(1, 300), True, True),
    ("a dog", png(300, 1), True, True),
    (None, None, False, False),
]


def shard_of(folder: Path, rows: list[Any]) -> Shard:
    keys = [f"00000{number:04d}" for number in range(len(rows))]
    table = pa.table({"key": pa.array(keys, pa.string()), "caption": pa.array([row[0] for row in rows], pa.string())})
    pq.write_table(table, folder / "00000.parquet")
    with open(folder / "00000.tar", "wb") as target:
        tar = TarWriter(target)
        for key, row in zip(keys, rows, strict=True):
            if row[1] is not None:
                tar.add(f"{key}.json", b"{}")
                tar.add(f"{key}.png", row[1])
        tar.finish()
    return Shard(Storage(str(folder)), "00000")


def run(shard: Shard, scorer: ScorePairs, threads: int = 2) -> Commit:
    attempt = Attempt(shard.storage, Score(scorer).label, shard.id, "0" * 16)
    Score.run_together([(Score(scorer), attempt)], shard, Runtime(threads=threads))
    return attempt.commit()


def test_every_bad_row_is_a_null_and_every_other_is_scored(tmp_path: Path, scorer: ScorePairs) -> None:
    shard = shard_of(tmp_path, ROWS)
    commit = run(shard, scorer)
    table = Shard(shard.storage, shard.id).columns([*scorer.writes])
    found = table[similarity("b32")].to_pylist()
    assert [value is not None for value in found] == [row[2] for row in ROWS]
    assert all(-1.0001 <= value <= 1.0001 for value in found if value is not None)
    images, seen = embeddings_of(table[image_embedding("b32")])
    texts, said = embeddings_of(table[text_embedding("b32")])
    assert seen.tolist() == [row[3] for row in ROWS]
    assert said.tolist() == [row[2] for row in ROWS]
    assert np.abs(np.linalg.norm(images[seen], axis=1) - 1).max() < 1e-3
    both = seen & said
    assert np.abs((images * texts).sum(1)[both] - np.array([v for v in found if v is not None])).max() < 2e-3
    stored = [row for row in ROWS if row[1] is not None]
    unreadable = sum(not row[3] for row in stored)
    assert unreadable > 0
    assert commit.counts == {"in": len(ROWS), "scored": len(stored), "undecoded": unreadable}


def test_what_could_not_be_compared_is_dropped_and_says_so(tmp_path: Path, scorer: ScorePairs) -> None:
    shard = shard_of(tmp_path, ROWS)
    run(shard, scorer)
    rule = filter_class("clip_similarity")(model="b32", min=-1.1)
    reasons = rule.judge(Shard(shard.storage, shard.id).columns(list(rule.columns))).to_pylist()
    assert reasons == [None if row[2] else "similarity_unknown" for row in ROWS]


@pytest.mark.parametrize("rows", [[], [("a dog", None)] * 3])
def test_a_shard_without_pictures(tmp_path: Path, scorer: ScorePairs, rows: list[Any]) -> None:
    shard = shard_of(tmp_path, rows)
    assert run(shard, scorer).counts == {"in": len(rows), "scored": 0}
    table = shard.table("b32")
    assert table[similarity("b32")].null_count == len(rows)
    assert table.schema.field(text_embedding("b32")).type == pa.list_(pa.float16(), 32)


def test_captions_of_white_space_beside_unreadable_pictures(scorer: ScorePairs) -> None:
    """A batch in which one of the two towers, or both, have nothing to do."""
    view = scorer.prepare(drawn(40, 40))
    for captions, views in ([["", None], [view, view]], [["a", "b"], [None, None]], [[None, " "], [None, None]]):
        found = scorer.score(Batch(pa.table({"caption": pa.array(captions, pa.string())}), views))
        assert {name: len(column) for name, column in found.items()} == dict.fromkeys(scorer.writes, 2)
        assert found[similarity("b32")].null_count == 2


@pytest.mark.parametrize("gone", ["visual.proj", "text_projection"])
def test_a_tower_that_answers_what_is_not_finite_never_makes_a_score(
    tmp_path: Path, scorer: ScorePairs, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the rows are dropped, at any bound."""
    import torch

    clip = Clip(scorer.settings)
    broken = dict(clip.towers.module.named_parameters())[gone]
    with torch.no_grad():
        broken[0, 3] = float("inf" if gone == "visual.proj" else "nan")
    monkeypatch.setattr(curate.models.clip, "open_clip_model", lambda settings: clip)
    shard = shard_of(tmp_path, ROWS)
    run(shard, scorer)
    table = Shard(shard.storage, shard.id).columns([*scorer.writes])
    assert table[similarity("b32")].null_count == len(ROWS)
    assert not embeddings_of(table[text_embedding("b32")])[1].any()
    assert embeddings_of(table[image_embedding("b32")])[1].any() == (gone != "visual.proj")
    for bounds in ({"min": -2.0}, {"max": 2.0}, {"min": -2.0, "max": 2.0}):
        rule = filter_class("clip_similarity")(model="b32", **bounds)
        reasons = rule.judge(table.select(list(rule.columns)))
        assert set(reasons.to_pylist()) == {"similarity_unknown"}


def test_the_file_says_which_model_made_it(tmp_path: Path, scorer: ScorePairs, folder: Path) -> None:
    shard = shard_of(tmp_path, ROWS[:1])
    run(shard, scorer)
    schema = pq.read_schema(tmp_path / "00000.b32.parquet")
    for name in scorer.writes:
        about = schema.field(name).metadata
        assert about[b"model"].decode() == folder.name
        assert about[b"model_precision"] == b"fp32"
        assert about[b"model_fingerprint"].decode() == clip_fingerprint(scorer.settings)
    assert schema.field("key").metadata is None


def test_what_a_run_asks_of_it(folder: Path, tmp_path: Path) -> None:
    settings = ModelSettings(weights=str(folder), precision="fp32")
    scorer = ScorePairs("b32", settings)
    scorer.require()
    assert (scorer.name, scorer.reads, scorer.gpus) == ("b32", ("image", "caption"), 1.0)
    assert ScorePairs("b32", ModelSettings(weights=str(folder), device="cpu")).gpus == 0.0
    assert [*ScorePairs("b32", ModelSettings(weights=str(folder), embeddings=False)).writes] == ["b32_similarity"]
    assert ScorePairs("b32", ModelSettings(weights=str(folder), batch=300)).batch_pictures == 300
    assert scorer.batch_pictures == 256
    with pytest.raises(ConfigError, match="no weights at"):
        ScorePairs("b32", ModelSettings(weights=str(tmp_path / "none"))).require()
    fast = ScorePairs("b32", ModelSettings(weights=str(folder), precision="fp32", batch=5, device="cpu"))
    assert json.dumps(scorer.identity()) == json.dumps(fast.identity())
    other = ScorePairs("b32", ModelSettings(weights=str(folder), precision="fp32", embeddings=False))
    assert scorer.identity() != other.identity()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When models were loaded; slowly, as large ones are."""
    curate.models.clip._models.clear()
    times: list[float] = []
    load = curate.models.clip.open_towers

    def slowly(settings: ModelSettings) -> Any:
        times.append(time.monotonic())
        time.sleep(0.05)
        return load(settings)

    monkeypatch.setattr(curate.models.clip, "open_towers", slowly)
    yield times
    curate.models.clip._models.clear()


def test_many_threads_that_ask_at_once_load_one_model(scorer: ScorePairs, loads: list[float]) -> None:
    views: list[Any] = []
    picture = drawn(40, 40)
    threads = [threading.Thread(target=lambda: views.append(scorer.prepare(picture))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(views) == 8
    assert len(loads) == 1


def test_any_number_of_models_side_by_side_are_loaded_once_each(tmp_path, folder, loads) -> None:
    """Every picture asks each of them in turn, shard after shard."""
    scorers = [
        ScorePairs(f"m{number}", ModelSettings(weights=str(folder), precision="fp32", batch=number, device="cpu"))
        for number in range(1, 6)
    ]
    for count in (3, 4):
        (tmp_path / str(count)).mkdir()
        shard = shard_of(tmp_path / str(count), [("a dog", png(seed=row)) for row in range(count)])
        work = [(Score(s), Attempt(shard.storage, Score(s).label, shard.id, "0" * 16)) for s in scorers]
        Score.run_together(work, shard, Runtime(threads=2))
        assert [attempt.commit().counts["scored"] for _, attempt in work] == [count] * 5
        assert len(loads) == 5


def test_a_model_that_does_not_fit_is_told_once_and_not_once_per_picture(tmp_path, folder, loads) -> None:
    (tmp_path / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    from safetensors.torch import save_file

    save_file({"x": read_tensors(folder / TENSORS)["visual.proj"]}, tmp_path / TENSORS)
    scorer = ScorePairs("b32", ModelSettings(weights=str(tmp_path), precision="fp32", device="cpu"))
    for name, count in (("one", 1), ("many", 40)):
        (tmp_path / name).mkdir()
        with pytest.raises(ConfigError, match="does not fit the architecture: it lacks"):
            run(shard_of(tmp_path / name, [("a dog", png(seed=row)) for row in range(count)]), scorer, threads=4)
    assert len(loads) == 1


def test_what_may_go_better_next_time_is_tried_then(tmp_path: Path, scorer: ScorePairs, loads, monkeypatch) -> None:
    slowly = curate.models.clip.open_towers

    def no_memory(settings: ModelSettings) -> Any:
        raise MemoryError("for now")

    monkeypatch.setattr(curate.models.clip, "open_towers", no_memory)
    shard = shard_of(tmp_path, [("a dog", png(seed=row)) for row in range(20)])
    with pytest.raises(StageError, match=r"cannot load the model .*: MemoryError: for now"):
        run(shard, scorer, threads=4)
    monkeypatch.setattr(curate.models.clip, "open_towers", slowly)
    assert run(shard, scorer).counts["scored"] == 20
    assert len(loads) == 1


def test_a_file_that_was_exchanged_between_two_shards_is_read_anew(tmp_path: Path, folder: Path) -> None:
    model = make(tmp_path / "model", seed=0)
    scorer = ScorePairs("b32", ModelSettings(weights=str(model), precision="fp32", device="cpu"))
    found = []
    for seed in (0, 1):
        make(model, seed=seed)
        (tmp_path / str(seed)).mkdir()
        shard = shard_of(tmp_path / str(seed), ROWS[:1])
        run(shard, scorer)
        (about,) = {shard.table("b32").schema.field(n).metadata[b"model_fingerprint"] for n in scorer.writes}
        found.append((about, shard.table("b32")[similarity("b32")][0].as_py()))
    assert found[0][0] != found[1][0]
    assert abs(found[0][1] - found[1][1]) > 1e-3
