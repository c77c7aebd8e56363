"""A captioner is trained from the toy: the loss falls, a killed training ends with the same weights, bad configs."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from pair_shards import toy_pairs, write_shard
from safetensors.torch import load_file, save_file

from curate.config import build
from curate.errors import ConfigError, StageError
from curate.models.device import torch_threads
from curate.train.caption_course import Course
from curate.train.caption_place import write_owner
from curate.train.caption_start import open_captioner_start, open_matcher_start
from curate.train.caption_training import unreadable_of
from curate.train.captioner import CaptionerCourse, CaptionerOrder, read_settings, train_captioner
from curate.train.lm import lm_loss, lm_targets
from curate.train.overlap import EvaluationSettings
from curate.train.pairs import PairSource, open_pairs
from curate.train.spread_training import Alone

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_shard(tmp_path_factory.mktemp("clean"), "00000", toy_pairs(60))


def order(clean, start="toy", evaluation=None, matcher="", **training):
    chosen = {"steps": 40, "batch": 16, "checkpoint_steps": 1_000, "threads": 1, **training}
    return CaptionerOrder(
        PairSource((clean,)),
        start=start,
        matcher=matcher,
        precision="fp32",
        device="cpu",
        training=CaptionerCourse(**chosen),
        evaluation=evaluation,
    )


@pytest.fixture(scope="module")
def trained(clean, tmp_path_factory):
    """The folder that 40 steps give, and what was shown."""
    out = tmp_path_factory.mktemp("out") / "captioner"
    return out, train_captioner(order(clean), out)


def surprise(start, clean):
    """The mean loss of a word, on what it learned from."""
    pairs = open_pairs(PairSource((clean,)))
    trainee = open_captioner_start(start, 0)
    views = torch.stack([torch.from_numpy(trainee.prepare(pairs.decoded(row))) for row in range(30)])
    tokens = trainee.tokenize(pairs.captions.to_pylist()[:30])
    targets = lm_targets(tokens, trainee.padding, 0)
    with torch.no_grad():
        return float(lm_loss(trainee.module.logits(views, tokens[:, :-1]), targets, 0.0) / (targets >= 0).sum())


def test_it_beats_its_start(trained, clean):
    out, shown = trained
    assert shown["first_lm_loss"] > shown["last_lm_loss"] + 1
    assert surprise(str(out), clean) < surprise("toy", clean) - 1


def test_what_made_the_model_is_written_down(trained, clean):
    out, _ = trained
    about = json.loads((out / "training.json").read_text())
    assert (about["kind"], about["steps"], about["seed"], about["pairs"]) == ("captioner", 40, 0, 60)
    assert about["pairs_digest"] == open_pairs(PairSource((clean,))).digest()
    assert about["shares_weights_with"] is None
    assert about["drawn_by_the_seed"].startswith("16 of 91 tensors")
    told = json.loads((out / "toy.json").read_text())
    assert told == {"kind": "captioner", "from": about["start"]}
    assert sorted(path.name for path in out.parent.iterdir()) == ["captioner"]


def test_the_back_end_opens_the_folder(trained, clean):
    from curate.models.caption_settings import CaptionerSettings
    from curate.models.open_captioner import open_captioner

    captioner = open_captioner(CaptionerSettings(weights=str(trained[0]), precision="fp32", device="cpu"))
    picture = captioner.prepare(open_pairs(PairSource((clean,))).decoded(0))
    (found,) = captioner.generate([picture], 1, CaptionerSettings().sampling, [0])
    assert found[0].text


def test_a_training_leaves_the_number_of_threads_to_the_next_one(clean, tmp_path):
    """Rounds of CapFilt train one model after the other, on torch's own number unless they are told another."""
    with torch_threads(2):
        train_captioner(order(clean, steps=1, batch=2), tmp_path / "out")
        assert torch.get_num_threads() == 2


class Killed(Exception):
    pass


def killed_at(step):
    def say(text):
        if text.startswith(f"step {step} of") and "state written" in text:
            raise Killed

    return say


def test_a_killed_training_ends_with_the_same_weights(clean, tmp_path):
    whole, parts, steps, stops = tmp_path / "whole", tmp_path / "parts", 24, (5, 12)
    train_captioner(order(clean, steps=steps, batch=4), whole)
    for step in stops:
        settings = order(clean, steps=steps, batch=4, checkpoint_steps=step)
        with pytest.raises(Killed):
            train_captioner(settings, parts, killed_at(step))
        assert not parts.exists()
    heard = []
    train_captioner(order(clean, steps=steps, batch=4), parts, heard.append)
    assert any(line.startswith(f"goes on at step {stops[-1] + 1} of {steps}") for line in heard)
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    losses = [json.loads((out / "training.json").read_text())["losses"] for out in (whole, parts)]
    assert losses[0] == losses[1]


def test_another_training_does_not_go_on_with_a_state(clean, tmp_path):
    with pytest.raises(Killed):
        train_captioner(order(clean, checkpoint_steps=2), tmp_path / "out", killed_at(2))
    with pytest.raises(ConfigError, match=r"out\.training holds a training that was begun with other settings"):
        train_captioner(order(clean, seed=1), tmp_path / "out")


def test_what_is_only_looked_at_may_change(clean, tmp_path):
    with pytest.raises(Killed):
        train_captioner(order(clean, checkpoint_steps=2, steps=4), tmp_path / "out", killed_at(2))
    partner, heard = tmp_path / "matcher", []
    partner.mkdir()
    save_file({"a": torch.zeros(2)}, partner / "model.safetensors")
    evaluation = EvaluationSettings(images=(clean,))
    train_captioner(order(clean, steps=4, matcher=str(partner), evaluation=evaluation), tmp_path / "out", heard.append)
    assert "goes on at step 3 of 4" in heard


def test_a_broken_state_is_told(clean, tmp_path):
    with pytest.raises(Killed):
        train_captioner(order(clean, checkpoint_steps=2), tmp_path / "out", killed_at(2))
    state = tmp_path / "out.training" / "state.safetensors"
    tensors = load_file(state)
    for name in ("losses", "model.model.norm.weight"):
        save_file({key: tensor for key, tensor in tensors.items() if key != name}, state)
        with pytest.raises(ConfigError, match=r"is no state of this training"):
            train_captioner(order(clean), tmp_path / "out")


def test_halves_of_states_do_not_stay(clean, tmp_path):
    with pytest.raises(Killed):
        train_captioner(order(clean, checkpoint_steps=2), tmp_path / "out", killed_at(2))
    left = [tmp_path / "out.training" / name for name in ("state.safetensors.1234.part", ".tmpAbC123")]
    for path in left:
        path.write_bytes(b"half")
    with pytest.raises(Killed):
        train_captioner(order(clean, checkpoint_steps=4), tmp_path / "out", killed_at(4))
    assert not any(path.exists() for path in left)


def test_whose_a_folder_is_can_be_read_at_any_moment(tmp_path):
    """Workers read it while the first one writes it."""
    owner, told = tmp_path / "new" / "training_of.json", {"training": "x" * 200_000}
    write_owner(owner, told)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: [write_owner(owner, told) for _ in range(200)])
        while not done.done():
            assert json.loads(owner.read_text("utf-8")) == told
        done.result()
    assert [path.name for path in owner.parent.iterdir()] == ["training_of.json"]


class Second(Alone):
    """The first of two workers, of which the other tells what it is given."""

    world = 2

    def __init__(self, step, broken=()):
        self.step, self.broken = step, broken

    def gather(self, own):
        return torch.cat([own, torch.full_like(own, self.step)])

    def add(self, tensors):
        for tensor in tensors:
            tensor[list(self.broken)] += 1


def test_workers_with_other_states_do_not_train_together(tmp_path):
    def course(peers):
        settings = CaptionerCourse(checkpoint_steps=1)
        recipe = open_captioner_start("toy", 0).recipe
        return Course(Single([1.0, 1.0]), recipe, settings, 2, peers, tmp_path, lambda text: None)

    course(Alone()).run(lambda first: iter([None] * 2))
    assert len(course(Second(1)).run(lambda first: iter([None]))) == 2
    with pytest.raises(StageError, match="the 2 workers do not see the same state of the training; put --out where"):
        course(Second(0)).run(lambda first: iter([None]))


def test_a_picture_that_two_workers_found_broken_is_one():
    assert unreadable_of({3, 1}, 6, Second(0, [3, 5]), "cpu") == [1, 3, 5]
    assert unreadable_of(set(), 6, Second(0), "cpu") == []
    assert unreadable_of({3, 1}, 6, Alone(), "cpu") == [1, 3]


def test_a_partner_that_is_damaged_is_told_before_and_one_that_went_is_a_warning(clean, tmp_path):
    partner = tmp_path / "matcher" / "model.safetensors"
    partner.parent.mkdir()
    partner.write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match="is damaged"):
        train_captioner(order(clean, matcher=str(partner.parent), steps=2), tmp_path / "out")
    save_file({"a": torch.zeros(2)}, partner)
    heard = []

    def say(text):
        heard.append(text)
        if text.startswith("training toy captioner"):
            partner.unlink()

    shown = train_captioner(order(clean, matcher=str(partner.parent), steps=2), tmp_path / "out", say)
    assert shown["shares_weights_with"] == [{"model": str(partner.parent), "share": None}]
    assert any(line.startswith("warning: nobody knows how many weights") for line in heard)


def test_a_start_with_nothing_of_a_toy_is_told(tmp_path):
    (tmp_path / "toy.json").write_text('{"kind": "captioner"}')
    save_file({"classifier.weight": torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    for opened in (open_captioner_start, open_matcher_start):
        with pytest.raises(ConfigError, match="has no tensor of this toy, so it is no captioner and no matcher"):
            opened(str(tmp_path), 0)


def test_another_seed_gives_other_weights_and_the_start_stays(clean, tmp_path):
    before = surprise("toy", clean)
    for seed in (0, 1):
        train_captioner(order(clean, start="new", seed=seed, steps=2), tmp_path / str(seed))
    assert (tmp_path / "0/model.safetensors").read_bytes() != (tmp_path / "1/model.safetensors").read_bytes()
    assert surprise("toy", clean) == before


def test_a_prompt_is_given_and_not_learned(clean):
    trainee = open_captioner_start("toy", 0, "a picture showing")
    tokens = trainee.tokenize(["a red star"])
    assert trainee.prompt_tokens == 3
    assert (lm_targets(tokens, trainee.padding, 3) >= 0).sum() == 4
    with pytest.raises(ConfigError, match="words that it does not know"):
        open_captioner_start("toy", 0, "ein Bild")


class Single:
    """A task whose loss is what it is told to be."""

    losses = ("loss",)

    def __init__(self, values):
        self.module, self.values = torch.nn.Linear(1, 1), values

    def gradient(self, step, batch):
        loss = self.module(torch.ones(1, 1)).sum() * 0 + self.values[step]
        loss.backward()
        return loss.detach().reshape(1).clone()

    def end_step(self):
        pass

    def state(self):
        return {}

    def restore(self, state):
        pass


def test_a_loss_that_is_not_finite_stops_and_leaves_the_weights(tmp_path):
    task = Single([1.0, float("nan")])
    course = Course(
        task, open_captioner_start("toy", 0).recipe, CaptionerCourse(), 2, Alone(), tmp_path, lambda text: None
    )
    before = []
    with pytest.raises(StageError, match=r"step 2 of 2: the loss is nan .* lower \[training\] learning_rate"):
        course.run(lambda first: (before.append(task.module.weight.item()) for _ in range(2)))
    assert task.module.weight.item() == before[1]


@pytest.mark.parametrize(("rank", "known"), [(0, {3, 7}), (1, set())])
def test_a_state_remembers_which_pictures_are_broken(tmp_path, rank, known):
    def course(peers, broken):
        settings = CaptionerCourse(checkpoint_steps=1)
        recipe = open_captioner_start("toy", 0).recipe
        return Course(Single([1.0, 1.0]), recipe, settings, 2, peers, tmp_path, lambda text: None, broken)

    course(Alone(), {3, 7}).run(lambda first: iter([None] * 2))
    again, peers = set(), Alone()
    peers.rank = rank
    course(peers, again).run(lambda first: iter([None] * (2 - first)))
    assert again == known


@pytest.mark.parametrize(("step", "share"), [(0, 1 / 10), (9, 1.0), (10, 1.0), (55, 0.525), (99, 0.0503)])
def test_the_rate_rises_and_falls_to_a_twentieth(tmp_path, step, share):
    settings = CaptionerCourse(learning_rate=0.5, warmup_steps=10)
    course = Course(Single([]), open_captioner_start("toy", 0).recipe, settings, 100, Alone(), tmp_path, print)
    assert course.rate(step) == pytest.approx(share / 2, rel=0.01)


def test_biases_and_what_is_no_matrix_do_not_decay(tmp_path):
    task = Single([])
    course = Course(task, open_captioner_start("toy", 0).recipe, CaptionerCourse(), 1, Alone(), tmp_path, print)
    large, small = course._groups()
    assert (large["weight_decay"], small["weight_decay"]) == (0.02, 0.0)
    assert large["params"] == [task.module.weight]
    assert small["params"] == [task.module.bias]


def test_memory_that_runs_out_is_told(tmp_path):
    task = Single([])
    task.gradient = lambda step, batch: (_ for _ in ()).throw(torch.OutOfMemoryError("no more"))
    course = Course(
        task, open_captioner_start("toy", 0).recipe, CaptionerCourse(), 1, Alone(), tmp_path, lambda text: None
    )
    with pytest.raises(StageError, match=r"memory ran out while training with batch = 256; lower"):
        course.run(lambda first: iter([None]))


def test_a_clean_set_in_the_evaluation_is_a_warning_or_a_refusal(clean, tmp_path):
    heard = []
    shown = train_captioner(
        order(clean, steps=1, evaluation=EvaluationSettings(images=(clean,))), tmp_path / "warned", heard.append
    )
    assert any(line.startswith("warning: 60 of 60 clean pairs are in the evaluation") for line in heard)
    assert shown["overlap"][0]["pairs_in_evaluation"] == 60
    with pytest.raises(ConfigError, match=r"60 of 60 clean pairs"):
        train_captioner(
            order(clean, steps=1, evaluation=EvaluationSettings(images=(clean,), action="refuse")), tmp_path / "refused"
        )


@pytest.mark.parametrize(
    ("table", "words"),
    [({}, "needs a value for 'clean'"),
     ({"clean": {"shards": ["a"]}, "training": {"batch": 1}}, "batch = 1 is out of range"),
     ({"clean": {"shards": ["a"]}, "training": {"steps": 0, "epochs": 0}}, "train nothing"),
     ({"clean": {"shards": ["a"]}, "training": {"label_smoothing": 0.1}}, "two words of the toy are never said"),
     ({"clean": {"shards": ["a"]}, "training": {"crop_ratio": 0.5}}, "the toy learns where shapes are"),
     ({"clean": {"shards": ["a"]}, "precision": "fp16"}, "trains nothing well"),
     ({"clean": {"shards": ["a"]}, "start": "toy", "starts": "b"}, "has no key 'starts'")],
)  # fmt: skip
def test_a_config_says_what_is_wrong(table, words):
    with pytest.raises(ConfigError, match=words):
        build(CaptionerOrder, table, "")


@pytest.mark.parametrize(("start", "words"), [("", 'start = "" is no model'), ("nowhere", "no folder here, and no id")])
def test_a_start_that_is_none_is_told(clean, tmp_path, start, words):
    with pytest.raises(ConfigError, match=words):
        train_captioner(order(clean, start=start), tmp_path / "out")


@pytest.mark.parametrize(("pairs", "batch", "world", "wanted"), [(100, 16, 1, 16), (100, 16, 4, 16), (10, 16, 4, 8)])
def test_how_many_pairs_a_step_has(pairs, batch, world, wanted):
    assert CaptionerCourse(batch=batch).batch_for(pairs, world) == wanted


@pytest.mark.parametrize(("pairs", "world", "words"), [(100, 3, "cannot be shared by 3 workers"), (1, 1, "too few")])
def test_a_batch_that_cannot_be_shared_is_told(pairs, world, words):
    with pytest.raises(ConfigError, match=words):
        CaptionerCourse(batch=16).batch_for(pairs, world)


def test_the_example_is_a_config():
    settings = read_settings(CONFIGS / "train/captioner.toml")
    assert settings.training == CaptionerCourse(
        learning_rate=1e-5, weight_decay=0.05, label_smoothing=0.1, prompt="a picture of "
    )
