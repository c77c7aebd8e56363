"""A filter is trained from a tiny CLIP: the loss, its gradient in pieces, and the command's folder from end to end."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pair_shards import BROKEN, TINY, ToyPair, toy_pairs, write_shard, write_tiny_clip
from torch import nn

from curate.config import build
from curate.errors import ConfigError, StageError
from curate.models.clip import open_clip_model, readable
from curate.models.settings import ModelSettings
from curate.models.towers import open_towers
from curate.train.calibration import CalibrateSettings
from curate.train.contrastive import (
    MAX_LOG_SCALE,
    DualEncoder,
    Trainer,
    TrainingSettings,
    contrastive_loss,
    inputs_of,
    learning_rate,
)
from curate.train.filter import FilterSettings, read_settings, train_filter
from curate.train.folder import architecture_of, mix, tensors_of
from curate.train.overlap import EvaluationSettings
from curate.train.pairs import PairSource, open_pairs
from curate.train.stream import PairBatch

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The folder of a CLIP with random weights."""
    return write_tiny_clip(tmp_path_factory.mktemp("start") / "clip")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A clean set of 48 pairs, one of them broken."""
    pairs = toy_pairs(48)
    pairs[11] = ToyPair(BROKEN, pairs[11].caption)
    return write_shard(tmp_path_factory.mktemp("clean"), "00000", pairs)


def settings_for(start, clean, **training):
    chosen = {"steps": 30, "batch": 24, "learning_rate": 1e-3, "threads": 1, **training}
    model = ModelSettings(weights=start, device="cpu", precision="fp32")
    return FilterSettings(PairSource((clean,)), model, TrainingSettings(**chosen))


@pytest.fixture(scope="module")
def trained(start, clean, tmp_path_factory):
    """The folder that 30 steps give, and what was shown."""
    out = tmp_path_factory.mktemp("out") / "dfn"
    return out, train_filter(settings_for(start, clean), out)


def inputs(start, count=6, seed=0, same=None):
    towers = open_towers(ModelSettings(weights=start))
    random = np.random.default_rng(seed)
    views = random.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    captions = [f"caption {n}" for n in same or range(count)]
    rows = np.arange(count)
    batch = inputs_of(PairBatch(rows, views, captions), towers, rows.astype(np.uint64), readable)
    return DualEncoder(towers), batch


# the loss


@pytest.mark.parametrize("shared", [False, True])
def test_the_loss_is_that_of_a_count_by_hand(shared):
    random = np.random.default_rng(0)
    pictures, texts = (random.normal(size=(5, 8)) for _ in range(2))
    same = np.zeros((5, 5), bool)
    if shared:
        same[1, 3] = same[3, 1] = True
    logits = np.where(same, -np.inf, 7.0 * pictures @ texts.T)
    own = np.diag(logits)
    wanted = np.mean([np.log(np.exp(logits).sum(axis)) - own for axis in (0, 1)])
    found = contrastive_loss(
        torch.from_numpy(pictures), torch.from_numpy(texts), torch.tensor(math.log(7.0)), torch.from_numpy(same)
    )
    assert float(found) == pytest.approx(wanted)


def test_pairs_that_share_picture_or_caption_are_no_negatives(start):
    towers = open_towers(ModelSettings(weights=start))
    batch = PairBatch(np.arange(4), np.zeros((4, 64, 64, 3), np.uint8), ["a star", "a  star", "a cat", "a dog"])
    found = inputs_of(batch, towers, np.array([1, 2, 3, 1], np.uint64), readable)
    assert np.argwhere(found.same.numpy()).tolist() == [[0, 1], [0, 3], [1, 0], [3, 0]]
    assert found.tokens.shape == (4, 4)


def test_a_text_of_any_length_is_cut_before_it_costs_anything(start):
    towers = open_towers(ModelSettings(weights=start))
    batch = PairBatch(np.arange(2), np.zeros((2, 64, 64, 3), np.uint8), ["x" * 100_000, "!" * 200])
    found = inputs_of(batch, towers, np.arange(2).astype(np.uint64), readable)
    assert found.tokens.shape == (2, 32)


# the gradient when memory runs out


class Small(nn.Module):
    """A dual encoder for which memory holds at most so many pairs."""

    def __init__(self, inner, most, error):
        super().__init__()
        self.inner, self.most, self.error, self.sizes = inner, most, error, []

    def forward(self, pixels, tokens):
        self.sizes.append(len(pixels))
        if len(pixels) > self.most:
            raise self.error
        return self.inner(pixels, tokens)


FULL = torch.OutOfMemoryError("no more")
FULL_FOR_A_LIBRARY = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def stepped(start, most, error=FULL):
    encoder, batch = inputs(start, same=[0, 1, 2, 3, 0, 5])
    model = Small(encoder, most, error)
    trainer = Trainer(model, encoder.log_scale, TrainingSettings(batch=6, learning_rate=1e-3), steps=2)
    loss = trainer.step(0, batch)
    gradients = {name: tensor.grad for name, tensor in encoder.named_parameters()}
    return loss, gradients, model, trainer


def test_pieces_give_the_same_loss_and_gradient(start):
    whole, pieces = stepped(start, 6), stepped(start, 2, FULL_FOR_A_LIBRARY)
    assert pieces[2].sizes == [6, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert (whole[3].piece, pieces[3].piece) == (6, 1)
    assert whole[0] == pytest.approx(pieces[0], abs=1e-5)
    for name, gradient in whole[1].items():
        assert torch.allclose(gradient, pieces[1][name], atol=1e-6), name


def test_a_single_pair_that_does_not_fit_is_told(start):
    with pytest.raises(StageError, match="a single pair does not fit into memory"):
        stepped(start, 0)
    with pytest.raises(RuntimeError, match="shapes"):
        stepped(start, 2, RuntimeError("shapes do not fit"))


def test_a_loss_that_is_not_finite_stops_and_leaves_the_weights(start):
    encoder, batch = inputs(start)
    with torch.no_grad():
        encoder.inner.text_projection[0, 0] = torch.nan
    before = tensors_of(encoder.inner)
    trainer = Trainer(encoder, encoder.log_scale, TrainingSettings(batch=6), steps=2)
    with pytest.raises(StageError, match=r"step 2 of 2: the loss is nan .* lower \[training\] learning_rate"):
        trainer.step(1, batch)
    after = tensors_of(encoder.inner)
    assert all(torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before)


@pytest.mark.parametrize(("given", "most"), [(9.0, MAX_LOG_SCALE), (-3.0, 0.01)])
def test_the_temperature_is_bounded_as_clips(start, given, most):
    encoder, batch = inputs(start)
    with torch.no_grad():
        encoder.log_scale.fill_(given)
    Trainer(encoder, encoder.log_scale, TrainingSettings(batch=6, warmup_ratio=0), steps=9).step(0, batch)
    assert 0 <= float(encoder.log_scale.detach()) <= most + 1e-6


def test_norms_and_biases_do_not_decay(start):
    encoder, _ = inputs(start)
    trainer = Trainer(encoder, encoder.log_scale, TrainingSettings(weight_decay=0.3), steps=1)
    decays = {id(p): group["weight_decay"] for group in trainer._optimizer.param_groups for p in group["params"]}
    found = {name: decays[id(tensor)] for name, tensor in encoder.inner.named_parameters()}
    assert (found["logit_scale"], found["ln_final.weight"], found["token_embedding.weight"]) == (0, 0, 0.3)
    assert all(decay == 0 for name, decay in found.items() if name.endswith("bias"))


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (55, 0.5), (99, 0.0003)])
def test_the_rate_rises_and_falls(step, share):
    found = learning_rate(step, 100, TrainingSettings(learning_rate=2.0 / 4, warmup_ratio=0.1))
    assert found == pytest.approx(share / 2, rel=0.02)


@pytest.mark.parametrize(
    ("given", "pairs", "steps"),
    [({"epochs": 1.0, "batch": 10}, 25, 3), ({"epochs": 2.0, "batch": 10}, 25, 5), ({"batch": 64}, 25, 1),
     ({"epochs": 3.0, "batch": 64}, 25, 3), ({"steps": 7}, 25, 7), ({"epochs": 0.01, "batch": 10}, 25, 1)],
)  # fmt: skip
def test_how_many_steps(given, pairs, steps):
    assert TrainingSettings(**given).steps_for(pairs) == steps


def test_weights_are_mixed_and_counters_are_not():
    trained = {"w": torch.tensor([1.0, 3.0]), "n": torch.tensor(7)}
    first = {"w": torch.tensor([0.0, 0.0]), "n": torch.tensor(1)}
    assert mix(trained, first, 0.25)["w"].tolist() == [0.75, 2.25]
    assert mix(trained, first, 0.25)["n"] == 7
    assert mix(trained, first, 0.0)["w"].tolist() == [1, 3]
    assert mix(trained, first, 1.0)["w"].tolist() == [0, 0]


# the command, end to end


def test_the_loss_falls(trained):
    _, shown = trained
    assert shown["first_loss"] > math.log(24) > shown["last_loss"] + 1
    assert (shown["clean_pairs"], shown["unreadable_pictures"], shown["steps"]) == (48, 1, 30)


def test_the_folder_is_a_model_that_tells_pairs_from_others_better_than_the_start(trained, start, clean):
    out, _ = trained
    pairs = open_pairs(PairSource((clean,)))
    rows = [row for row in range(48) if row != 11]
    gaps = []
    for weights in (start, str(out)):
        clip = open_clip_model(ModelSettings(weights=weights, device="cpu", precision="fp32"))
        pictures = clip.pictures([clip.prepare(pairs.decoded(row)) for row in rows])
        texts = clip.texts([pairs.captions[row].as_py() for row in rows])
        gaps.append((pictures * texts).sum(1).mean() - (pictures * np.roll(texts, 1, axis=0)).sum(1).mean())
    assert gaps[1] > gaps[0] + 0.1


def test_open_clip_reads_the_folder_too(trained):
    import open_clip

    out, _ = trained
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{out}")
    ours = open_clip_model(ModelSettings(weights=str(out), device="cpu", precision="fp32")).towers.module
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), ours.state_dict().values(), strict=True))
    assert json.loads((out / "open_clip_config.json").read_text()) == TINY


def test_the_activation_of_openais_weights_goes_along():
    assert architecture_of(ModelSettings(architecture="ViT-B-32", weights="openai"))["quick_gelu"] is True
    assert not architecture_of(ModelSettings(architecture="ViT-B-32", weights="laion2b_s34b_b79k")).get("quick_gelu")


@pytest.mark.slow
def test_a_start_from_a_file_becomes_a_folder(clean, tmp_path):
    import open_clip
    from safetensors.torch import save_file

    name = "ViT-S-32-alt"
    state = open_clip.create_model(name, load_weights=False).state_dict()
    save_file({key: tensor.clone() for key, tensor in state.items()}, tmp_path / "start.safetensors")
    start = ModelSettings(architecture=name, weights=str(tmp_path / "start.safetensors"), device="cpu")
    chosen = TrainingSettings(steps=1, batch=2, ensemble=1.0, threads=1)
    train_filter(FilterSettings(PairSource((clean,)), start, chosen), tmp_path / "out")
    ours, its = (open_towers(found) for found in (start, ModelSettings(weights=str(tmp_path / "out"))))
    assert (its.size, its.mean, its.std, its.prepare) == (ours.size, ours.mean, ours.std, ours.prepare)
    pairs = zip(its.module.state_dict().values(), ours.module.state_dict().values(), strict=True)
    assert all(torch.allclose(a, b) for a, b in pairs)


def test_the_toy_can_be_trained_further_and_its_folder_again(clean, tmp_path):
    toy = pytest.importorskip("curate.models.toy", reason="the toy models are not there")
    before = tensors_of(toy.load_toy_clip())
    chosen = TrainingSettings(steps=2, batch=16, threads=1, learning_rate=1e-3)
    start = ModelSettings(device="cpu", precision="fp32")
    for name in ("first", "second"):
        settings = FilterSettings(PairSource((clean,)), start, chosen)
        assert settings.crop_ratio == 1
        train_filter(settings, tmp_path / name)
        start = replace(start, weights=str(tmp_path / name))
    after = tensors_of(toy.load_toy_clip())
    assert all(torch.equal(before[name], after[name]) for name in before)
    weights = [open_towers(replace(start, weights=w)).module.state_dict() for w in ("toy", str(tmp_path / "first"))]
    assert any(not torch.equal(a, b) for a, b in zip(*(found.values() for found in weights), strict=True))
    clip = open_clip_model(start)
    picture = clip.prepare(np.zeros((70, 90, 3), np.uint8))
    assert clip.pictures([picture]).shape == clip.texts(["a red star"]).shape == (1, 96)


def test_what_made_the_model_is_written_down(trained, start):
    out, shown = trained
    about = json.loads((out / "training.json").read_text())
    assert about["settings"]["model"]["weights"] == start
    assert about["unreadable_examples"] == ["00011"]
    assert len(about["losses"]) == 30
    assert about["losses"][0] == about["first_loss"] == shown["first_loss"]
    assert about["start_digest"] != about["weights_digest"]
    assert set(about["seconds"]) == {"read", "train"}
    assert {"python", "torch", "open_clip_torch"} <= {name for name, known in about["versions"].items() if known}
    assert sorted(path.name for path in out.parent.iterdir()) == ["dfn"]


def test_the_lines_to_paste_are_a_config_that_finds_the_model(trained):
    import tomllib

    out, shown = trained
    table = tomllib.loads(shown["config"])
    settings = build(ModelSettings, table["models"]["dfn"], "models.dfn")
    assert settings == ModelSettings(weights=str(out), precision="fp32")
    assert table["filters"]["clip_similarity"] == {"model": "dfn", "fraction": 0.15}


def test_a_second_run_gives_the_same_bytes_and_another_seed_others(trained, start, clean, tmp_path):
    name = "open_clip_model.safetensors"
    first = (trained[0] / name).read_bytes()
    train_filter(settings_for(start, clean), tmp_path / "again")
    assert (tmp_path / "again" / name).read_bytes() == first
    for seed in (1, 2):
        train_filter(settings_for(start, clean, seed=seed, steps=2, crop_ratio=1.0), tmp_path / str(seed))
    assert (tmp_path / "1" / name).read_bytes() != (tmp_path / "2" / name).read_bytes()


def test_it_computes_on_as_many_threads_as_are_asked_for(start, clean, tmp_path):
    """Told when the first step begins, where this one ends."""

    def say(text):
        if text.startswith("training"):
            raise ValueError(f"{torch.get_num_threads()} threads")

    with pytest.raises(ValueError, match="2 threads"):
        train_filter(settings_for(start, clean, threads=2), tmp_path / "out", say)
    assert torch.get_num_threads() == 1


def test_an_ensemble_with_the_start_lies_between(trained, start, clean, tmp_path):
    from safetensors.torch import load_file

    train_filter(settings_for(start, clean, ensemble=0.5), tmp_path / "half")
    old, new, half = (
        load_file(Path(folder) / "open_clip_model.safetensors") for folder in (start, trained[0], tmp_path / "half")
    )
    assert all(torch.allclose(half[name], (old[name] + new[name]) / 2, atol=1e-6) for name in old)


def test_a_pool_is_calibrated(start, clean, tmp_path):
    pool = toy_pairs(40, seed=9)
    pool[:8] = [replace(a, caption=b.caption, defect="other_scene") for a, b in zip(pool[:8], pool[8:16], strict=True)]
    pool[39] = ToyPair(BROKEN, "a red star")
    folder = write_shard(tmp_path / "pool", "00000", pool)
    table = {
        "model": {"weights": start, "device": "cpu", "precision": "fp32"},
        "clean": {"shards": [clean]},
        "training": {"steps": 2, "batch": 8, "threads": 1},
        "calibrate": {"shards": [folder], "fractions": [0.1, 0.5]},
    }
    out = tmp_path / "dfn"
    shown = train_filter(build(FilterSettings, table, ""), out)
    written = pq.read_table(out / "calibration.parquet").to_pylist()
    assert written == shown["calibration"]
    assert [(line["fraction"], line["rows"]) for line in written] == [(0.1, 3), (0.5, 19)]
    assert all(0 <= line["precision"] <= 1 and 0 < line["recall"] <= 1 for line in written)
    assert (shown["pool_sample"], shown["pool_unscored"]) == (40, 1)
    auc = {line["caption"]: line for line in shown["auc"]}
    assert 0 <= auc["other_scene"]["start"] <= 1
    assert auc["wrong_attribute"]["start"] is None


def with_pool(start, clean, *shards):
    return replace(settings_for(start, clean, steps=1), calibrate=CalibrateSettings(shards, fractions=(0.5,)))


def test_a_pool_that_cannot_be_opened_is_told_before_anything_is_trained(start, clean, tmp_path):
    heard = []
    with pytest.raises(ConfigError, match=r"^\[calibrate\] .*tipping_error"):
        train_filter(with_pool(start, clean, str(tmp_path / "tipping_error")), tmp_path / "out", heard.append)
    empty = write_shard(tmp_path / "empty", "00000", [ToyPair(BROKEN, " ")])
    with pytest.raises(ConfigError, match=r"^\[calibrate\] no pair with a picture and a text"):
        train_filter(with_pool(start, clean, empty), tmp_path / "out", heard.append)
    assert not any("training" in line for line in heard)


def test_a_calibration_that_fails_leaves_the_model(start, clean, tmp_path):
    pool = write_shard(tmp_path / "pool", "00000", toy_pairs(8, seed=3))
    heard = []

    def hear(line):
        heard.append(line)
        if line.startswith("training"):
            (Path(pool) / "00000.tar").unlink()

    shown = train_filter(with_pool(start, clean, pool), tmp_path / "out", hear)
    assert shown["calibration_failed"].startswith("ShardError: 00000.tar is gone")
    assert any(line.startswith("warning: the model is written, but not all of its calibration") for line in heard)
    assert json.loads((tmp_path / "out" / "training.json").read_text())["calibration_failed"]
    assert open_towers(ModelSettings(weights=str(tmp_path / "out"))).module is not None
    assert not (tmp_path / "out" / "calibration.parquet").exists()


def test_a_clean_set_in_the_evaluation_is_a_warning_or_a_refusal(start, clean, tmp_path):
    heard = []
    settings = replace(settings_for(start, clean, steps=1), evaluation=EvaluationSettings(images=(clean,)))
    shown = train_filter(settings, tmp_path / "warned", heard.append)
    assert shown["overlap"][0]["clean_pairs_in_evaluation"] == 48
    assert any(line.startswith("warning: 48 of 48 clean pairs are in the evaluation") for line in heard)
    assert len(json.loads((tmp_path / "warned" / "training.json").read_text())["overlap"]["examples"]) == 20
    refusing = replace(settings, evaluation=replace(settings.evaluation, action="refuse"))
    with pytest.raises(ConfigError, match=r"48 of 48 clean pairs are in the evaluation .* take these pairs out"):
        train_filter(refusing, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


# what is refused


def test_a_pickle_is_refused(clean, tmp_path):
    import pickle

    class Program:
        def __reduce__(self):
            return (print, ("it ran",))

    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"state_dict": Program()}, protocol=2))
    settings = settings_for("toy", clean)
    settings = replace(settings, model=ModelSettings(architecture="ViT-S-32-alt", weights=str(path), device="cpu"))
    with pytest.raises(ConfigError, match="is refused"):
        train_filter(settings, tmp_path / "out")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["model.pt"]


def test_an_empty_clean_set_and_one_of_a_single_pair_are_refused(start, tmp_path):
    pairs = toy_pairs(3)
    empty = write_shard(tmp_path / "empty", "00000", [replace(pair, keep=False) for pair in pairs], keep=True)
    with pytest.raises(ConfigError, match=r"no pair with a picture and a text .* of 3 rows"):
        train_filter(settings_for(start, empty), tmp_path / "out")
    with pytest.raises(ConfigError, match="a single pair"):
        train_filter(settings_for(start, write_shard(tmp_path / "one", "00000", pairs[:1])), tmp_path / "out")


def test_a_folder_that_holds_something_is_not_written_over(start, clean, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        train_filter(settings_for(start, clean), tmp_path)
    with pytest.raises(ConfigError, match="is there already"):
        train_filter(settings_for(start, clean), tmp_path / "notes.txt")


def test_a_training_that_fails_leaves_nothing_behind(start, tmp_path):
    broken = write_shard(tmp_path / "broken", "00000", [ToyPair(BROKEN, f"star {n}") for n in range(4)])
    with pytest.raises(StageError, match="none of the 4 pictures"):
        train_filter(settings_for(start, broken), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]


@pytest.mark.parametrize(
    ("table", "words"),
    [({}, "needs a value for 'clean'"),
     ({"clean": {"shards": ["a"], "caption": "b"}}, r"\[clean\] has no key 'caption'"),
     ({"clean": {"shards": []}}, "shards = \\[\\] names no folder"),
     ({"clean": {"shards": ["a"]}, "model": {"kind": "isc", "weights": "x.pt"}}, "a filter is trained from a CLIP"),
     ({"clean": {"shards": ["a"]}, "training": {"crop_ratio": 0.5}}, "the toy learns where shapes are"),
     ({"clean": {"shards": ["a"]}, "training": {"epochs": 0}}, "train nothing"),
     ({"clean": {"shards": ["a"]}, "training": {"batch": 1}}, "batch = 1 is out of range"),
     ({"clean": {"shards": ["a"]}, "training": {"ensemble": 1.5}}, "ensemble = 1.5 is out of range"),
     ({"clean": {"shards": ["a"]}, "evaluation": {}}, "names no images and no captions"),
     ({"clean": {"shards": ["a"]}, "evaluation": {"images": ["b"], "action": "stop"}}, "action = 'stop'")],
)  # fmt: skip
def test_a_config_says_what_is_wrong(table, words):
    with pytest.raises(ConfigError, match=words):
        build(FilterSettings, table, "")


def test_the_example_is_a_config():
    settings = read_settings(CONFIGS / "train/filter.toml")
    assert settings.calibrate is not None
    assert settings.evaluation is not None
    assert 0.15 in settings.calibrate.fractions
