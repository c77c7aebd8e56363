"""A matcher is trained from the toy: both losses fall, a killed training ends with the same weights, bad configs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pair_shards import toy_pairs, write_shard
from safetensors.torch import load_file, save_file

from curate.config import build
from curate.errors import ConfigError
from curate.models.caption_settings import MatcherSettings
from curate.models.open_captioner import open_matcher
from curate.train.caption_pairs import CaptionBatch, open_captions
from curate.train.caption_start import open_matcher_start
from curate.train.caption_training import Computing
from curate.train.itm import draws, hard_negatives, itm_loss
from curate.train.matcher import MatcherCourse, MatcherOrder, MatcherTask, read_settings, train_matcher
from curate.train.momentum import itc_loss, soft_targets
from curate.train.pairs import PairSource
from curate.train.spread_training import Alone

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_shard(tmp_path_factory.mktemp("clean"), "00000", toy_pairs(48))


def order(clean, start="toy", captioner="", **training):
    chosen = {"steps": 60, "batch": 16, "queue": 40, "checkpoint_steps": 1_000, "threads": 1, **training}
    return MatcherOrder(
        PairSource((clean,)),
        start=start,
        captioner=captioner,
        precision="fp32",
        device="cpu",
        training=MatcherCourse(**chosen),
    )


@pytest.fixture(scope="module")
def trained(clean, tmp_path_factory):
    """The folder that 60 steps give, and what was shown."""
    out = tmp_path_factory.mktemp("out") / "matcher"
    return out, train_matcher(order(clean), out)


def gap(weights, clean):
    """How much more likely the right caption is than that of the next picture, on what it learned from."""
    pairs = open_captions(PairSource((clean,)))
    matcher = open_matcher(MatcherSettings(weights=weights, precision="fp32", device="cpu"))
    texts = pairs.captions.to_pylist()
    both = [[own, other] for own, other in zip(texts, texts[1:] + texts[:1], strict=True)]
    found = np.stack(matcher.match([matcher.prepare(pairs.decoded(row)) for row in range(len(pairs))], both))
    return float((found[:, 0] - found[:, 1]).mean())


def test_it_learns_to_tell_right_from_wrong(trained, clean):
    out, shown = trained
    assert shown["last_itm_loss"] < shown["first_itm_loss"] - 0.2
    assert gap(str(out), clean) > 0.3


def test_the_folder_says_what_made_it(trained):
    about = json.loads((trained[0] / "training.json").read_text())
    told = json.loads((trained[0] / "toy.json").read_text())
    assert told == {"kind": "matcher", "from": about["start"]}
    assert (about["kind"], about["steps"], about["settings"]["training"]["queue"]) == ("matcher", 60, 40)
    assert len(about["losses"]) == 60


class Killed(Exception):
    pass


def killed_at(step):
    def say(text):
        if text.startswith(f"step {step} of") and "state written" in text:
            raise Killed

    return say


def test_a_killed_training_ends_with_the_same_weights(clean, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_matcher(order(clean, steps=24, batch=4, queue=10), whole)
    with pytest.raises(Killed):
        train_matcher(order(clean, steps=24, batch=4, queue=10, checkpoint_steps=13), parts, killed_at(13))
    train_matcher(order(clean, steps=24, batch=4, queue=10), parts)
    for name in ("model.safetensors", "itc.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_a_matcher_is_trained_further_with_its_heads(trained, clean, tmp_path):
    ours = open_matcher_start(str(trained[0]), seed=5).module
    theirs = open_matcher_start(str(trained[0]), seed=6).module
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert float(ours.temperature.detach()) != pytest.approx(0.07, abs=1e-9)


def test_the_heads_count_for_what_a_start_is(trained, tmp_path):
    for file in trained[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert open_matcher_start(str(tmp_path), 0).start == open_matcher_start(str(trained[0]), 0).start
    heads = load_file(tmp_path / "itc.safetensors")
    save_file({name: tensor + 1 for name, tensor in heads.items()}, tmp_path / "itc.safetensors")
    assert open_matcher_start(str(tmp_path), 0).start != open_matcher_start(str(trained[0]), 0).start


def test_a_captioner_is_a_start_of_a_matcher(clean, tmp_path):
    from curate.train.captioner import CaptionerCourse, CaptionerOrder, train_captioner

    chosen = CaptionerCourse(steps=2, batch=8, threads=1)
    train_captioner(CaptionerOrder(PairSource((clean,)), device="cpu", training=chosen), tmp_path / "captioner")
    given = open_matcher_start(str(tmp_path / "captioner"), 0)
    assert given.fresh == "2 of 93 tensors, such as out.weight"
    shown = train_matcher(
        order(clean, start=str(tmp_path / "captioner"), captioner=str(tmp_path / "captioner"), steps=2), tmp_path / "m"
    )
    assert shown["shares_weights_with"] == [{"model": str(tmp_path / "captioner"), "share": 0.0}]


def task(clean, **training):
    trainee = open_matcher_start("toy", 0)
    pairs = open_captions(PairSource((clean,)))
    course = MatcherCourse(**{"queue": 6, "batch": 8, **training})
    computing = Computing(torch.device("cpu"), False, Alone(), 8, 6.0)
    found = MatcherTask(trainee, pairs, computing, course, course.queue)
    rows = np.arange(8)
    views = np.stack([trainee.prepare(pairs.decoded(row)) for row in rows])
    return found, CaptionBatch(rows, views)


def test_the_contrastive_loss_is_that_of_a_count_by_hand(clean):
    """A second step, with a queue of six, against numpy."""
    found, batch = task(clean, momentum=0.5)
    found.gradient(0, batch)
    with torch.no_grad():
        for parameter in found.module.parameters():
            parameter.add_(0.01)
        slow = [
            p * 0.5 + own * 0.5 for p, own in zip(found._slow.copy.parameters(), found.module.parameters(), strict=True)
        ]
    queued = [part.numpy().copy() for part in (found._queue.pictures, found._queue.texts, found._queue.numbers)]
    found.module.zero_grad()
    loss = found.gradient(3, batch)[0].item()
    assert all(torch.allclose(a, b) for a, b in zip(slow, found._slow.copy.parameters(), strict=True))
    whole = found._whole(batch)
    with torch.no_grad():
        towers = [
            (m.look(whole.views)[1].numpy(), m.embed(whole.tokens).numpy()) for m in (found.module, found._slow.copy)
        ]
        temperature = float(found.module.temperature)
    numbers = np.concatenate([whole.numbers.numpy(), queued[2]])
    same = whole.numbers.numpy()[:, None] == numbers
    own = same / same.sum(1, keepdims=True)
    alpha = 0.4 * 3 / 12
    wanted = 0.0
    for this, that, ring in ((0, 1, 1), (1, 0, 0)):
        known = np.concatenate([towers[1][that], queued[ring]])
        opinion = np.exp(towers[1][this] @ known.T / temperature)
        targets = alpha * opinion / opinion.sum(1, keepdims=True) + (1 - alpha) * own
        likes = towers[0][this] @ known.T / temperature
        logs = likes - np.log(np.exp(likes).sum(1, keepdims=True))
        wanted += -(logs * targets).sum() / (2 * 8)
    assert loss == pytest.approx(wanted, rel=1e-4)


def test_the_matching_loss_is_that_of_each_pair_and_of_two_wrong_ones(tmp_path):
    """Rows 0 and 1 are of one picture, rows 2 and 3 have one text, so neither is a negative of the other."""
    told = toy_pairs(8)
    told[1], told[3] = replace(told[0], caption="a red star"), replace(told[3], caption=told[2].caption)
    found, batch = task(write_shard(tmp_path / "a", "00000", told), momentum=1.0, queue=0)
    same = torch.eye(8, dtype=torch.bool)
    for one, other in ((0, 1), (2, 3)):
        same[one, other] = same[other, one] = True
    tokens, module = found._whole(batch).tokens, found.module
    with torch.no_grad():
        seen, pictures = module.look(torch.from_numpy(batch.views))
        texts = module.embed(tokens)
        likes = pictures @ texts.T / 0.07
    for step in range(4):
        drawn = draws(0, step, 8)
        text, picture = (hard_negatives(x, same, own).choice for x, own in zip((likes, likes.T), drawn, strict=True))
        with torch.no_grad():
            right = module.judge(seen, tokens)
            wrong = torch.cat([module.judge(seen, tokens[text]), module.judge(seen[picture], tokens)])
        wanted = float(itm_loss(right, wrong, torch.ones(16, dtype=torch.bool))) / 24
        assert float(found.gradient(step, batch)[1]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (6, 0.2), (12, 0.4), (500, 0.4)])
def test_the_copies_opinion_counts_more_over_two_epochs(clean, step, share):
    assert task(clean)[0]._opinion(step) == pytest.approx(share)


@pytest.mark.parametrize(("given", "kept"), [(3.0, 0.5), (-1.0, 0.001), (0.2, 0.2)])
def test_the_temperature_is_bounded(clean, given, kept):
    found, _ = task(clean)
    with torch.no_grad():
        found.module.temperature.fill_(given)
    found.end_step()
    assert float(found.module.temperature.detach()) == pytest.approx(kept)


def test_a_batch_of_one_picture_has_no_negatives(clean, tmp_path):
    found, batch = task(clean)
    losses = found.gradient(0, CaptionBatch(np.zeros(8, np.int64), np.repeat(batch.views[:1], 8, axis=0)))
    assert torch.isfinite(losses).all()


@pytest.mark.parametrize("lists", [[["one", "two"], []], [["one"], [" ONE"]]])
def test_pairs_with_nothing_wrong_among_them_teach_no_matcher(tmp_path, lists):
    folder = write_shard(tmp_path / "a", "00000", toy_pairs(2))
    table = {"key": ["00000", "00001"], "texts": [[text.strip().lower() for text in own] for own in lists]}
    pq.write_table(pa.table(table), f"{folder}/00000.more.parquet")
    source = PairSource((folder,), caption_column="texts")
    with pytest.raises(ConfigError, match=r"2 pairs of one picture, or of one text: a matcher finds nothing wrong"):
        train_matcher(MatcherOrder(source, training=MatcherCourse(steps=1)), tmp_path / "out")
    assert not (tmp_path / "out.training").exists()


def test_targets_and_copies_have_no_gradient(clean):
    """The temperature's gradient is that of the likeness alone, with the targets held."""
    found, batch = task(clean, queue=0, momentum=1.0)
    found.gradient(12, batch)
    assert all(parameter.grad is None for parameter in found._slow.copy.parameters())
    whole, temperature = found._whole(batch), torch.tensor(0.07, requires_grad=True)
    with torch.no_grad():
        pictures, texts = found.module.look(whole.views)[1], found.module.embed(whole.tokens)
    same = whole.numbers[:, None] == whole.numbers

    def slope(held):
        loss = 0
        for likes in (pictures @ texts.T, texts @ pictures.T):
            opinion = likes / (temperature.detach() if held else temperature)
            loss = loss + itc_loss(likes / temperature, soft_targets(opinion, same, 0.4)) / (2 * 8)
        return float(torch.autograd.grad(loss, temperature)[0])

    assert float(found.module.temperature.grad) == pytest.approx(slope(held=True), rel=1e-3)
    assert slope(held=False) != pytest.approx(slope(held=True), rel=1e-2)


@pytest.mark.parametrize(
    ("table", "words"),
    [({}, "needs a value for 'clean'"),
     ({"clean": {"shards": ["a"]}, "training": {"alpha": 1.5}}, "alpha = 1.5 is out of range"),
     ({"clean": {"shards": ["a"]}, "training": {"momentum": -0.1}}, "momentum = -0.1 is out of range"),
     ({"clean": {"shards": ["a"]}, "training": {"label_smoothing": 0.1}}, "has no key 'label_smoothing'"),
     ({"clean": {"shards": ["a"]}, "training": {"crop_ratio": 0.5}}, "the toy learns where shapes are"),
     ({"clean": {"shards": ["a"]}, "precision": "fp16"}, "trains nothing well")],
)  # fmt: skip
def test_a_config_says_what_is_wrong(table, words):
    with pytest.raises(ConfigError, match=words):
        build(MatcherOrder, table, "")


def test_the_example_is_a_config():
    settings = read_settings(CONFIGS / "train/matcher.toml")
    assert settings.training == MatcherCourse(learning_rate=1e-5, weight_decay=0.05, queue=57_600)


def test_a_partner_that_is_no_model_is_told_before_anything_is_trained(clean, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere has no model\.safetensors"):
        train_matcher(order(clean, captioner=str(tmp_path / "nowhere")), tmp_path / "out")
    assert not list(tmp_path.iterdir())
