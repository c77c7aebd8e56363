"""BLIP as captioner and matcher: transformers' own numbers, either kind as a start of the other, folders it loads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from blip_folder import write_blip
from pair_shards import toy_pairs, write_shard
from safetensors.torch import load_file

from curate.errors import ConfigError
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.open_captioner import open_captioner, open_matcher
from curate.train.caption_pairs import CaptionBatch
from curate.train.caption_start import open_captioner_start, open_matcher_start
from curate.train.caption_training import Computing
from curate.train.captioner import CaptionerCourse, CaptionerOrder, CaptionerTask, train_captioner
from curate.train.coupling import shared_weights
from curate.train.lm import lm_loss, lm_targets
from curate.train.matcher import MatcherCourse, MatcherOrder, train_matcher
from curate.train.pairs import PairSource, open_pairs
from curate.train.spread_training import Alone

CAPTIONER, MATCHER = "BlipForConditionalGeneration", "BlipForImageTextRetrieval"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A BLIP of each kind."""
    where = tmp_path_factory.mktemp("blip")
    return {kind: write_blip(where / kind, kind, seed) for seed, kind in enumerate((CAPTIONER, MATCHER))}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_shard(tmp_path_factory.mktemp("clean"), "00000", toy_pairs(16))


def pictures(trainee, clean, count=4):
    pairs = open_pairs(PairSource((clean,)))
    views = np.stack([trainee.prepare(pairs.decoded(row)) for row in range(count)])
    return torch.from_numpy(views), pairs.captions.to_pylist()[:count]


def loaded(folder, kind):
    import transformers

    return getattr(transformers, kind).from_pretrained(folder).eval()


@pytest.mark.parametrize("prompt", ["", "a picture of "])
def test_the_language_modelling_loss_is_that_of_transformers(folders, clean, prompt):
    trainee = open_captioner_start(folders[CAPTIONER], 0, prompt)
    views, texts = pictures(trainee, clean)
    tokens = trainee.tokenize(texts)
    targets = lm_targets(tokens, trainee.padding, trainee.prompt_tokens)
    with torch.no_grad():
        ours = lm_loss(trainee.module.logits(views, tokens[:, :-1]), targets, 0.1) / (targets >= 0).sum()
    model = loaded(folders[CAPTIONER], CAPTIONER)
    model.text_decoder.label_smoothing = 0.1
    labels = tokens.masked_fill(tokens == 0, -100)
    labels[:, : trainee.prompt_tokens + 1] = -100
    with torch.no_grad():
        seen = model.vision_model(pixel_values=trainee.module.pictures(views)).last_hidden_state
        theirs = model.text_decoder(
            input_ids=tokens, attention_mask=(tokens != 0).long(), encoder_hidden_states=seen, labels=labels
        ).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    assert (tokens[:, 0] == model.config.text_config.bos_token_id).all()


def test_what_is_learned_is_smoothed_as_blips_and_not_the_prompt(folders, clean):
    trainee = open_captioner_start(folders[CAPTIONER], 0, "a picture of ")
    views, texts = pictures(trainee, clean)
    computing = Computing(torch.device("cpu"), False, Alone(), 4, 1.0)
    task = CaptionerTask(trainee, open_pairs(PairSource((clean,))), computing, CaptionerCourse())
    found = task.gradient(0, CaptionBatch(np.arange(4), views.numpy()))
    tokens = trainee.tokenize(texts)
    targets = lm_targets(tokens, trainee.padding, 3)
    with torch.no_grad():
        wanted = lm_loss(trainee.module.logits(views, tokens[:, :-1]), targets, 0.1) / (targets >= 0).sum()
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_both_heads_of_a_matcher_are_those_of_transformers(folders, clean):
    trainee = open_matcher_start(folders[MATCHER], 0)
    views, texts = pictures(trainee, clean)
    tokens = trainee.tokenize(texts)
    model = loaded(folders[MATCHER], MATCHER)
    encoder = model.config.text_config.vocab_size - 1
    given = {"pixel_values": trainee.module.pictures(views), "attention_mask": (tokens != 0).long()}
    with torch.no_grad():
        seen, own = trainee.module.look(views)
        odds = trainee.module.judge(seen, tokens)
        alike = own @ trainee.module.embed(tokens).T
        asked = tokens.clone()
        asked[:, 0] = encoder
        both = model(input_ids=asked, **given).itm_score
        cosines = model(input_ids=tokens, use_itm_head=False, **given).itm_score
    assert torch.allclose(odds, both[:, 1] - both[:, 0], atol=1e-5)
    assert torch.allclose(alike, cosines, atol=1e-5)
    assert (tokens[:, 0] == 2).all()


def test_a_text_is_judged_in_training_as_in_a_run(folders, clean):
    trainee = open_matcher_start(folders[MATCHER], 0)
    views, texts = pictures(trainee, clean)
    matcher = open_matcher(MatcherSettings(weights=folders[MATCHER], precision="fp32", device="cpu"))
    pairs = open_pairs(PairSource((clean,)))
    prepared = [matcher.prepare(pairs.decoded(row)) for row in range(4)]
    assert all(np.array_equal(one, other) for one, other in zip(prepared, views.numpy(), strict=True))
    texts[1] = "  A Red STAR!!"
    with torch.no_grad():
        ours = torch.sigmoid(trainee.module.judge(trainee.module.look(views)[0], trainee.tokenize(texts)))
    theirs = np.concatenate(matcher.match(prepared, [[text] for text in texts]))
    assert np.allclose(ours.numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "opened", "words"),
    [(CAPTIONER, open_captioner_start, None), (MATCHER, open_matcher_start, None),
     (CAPTIONER, open_matcher_start, "6 of 92 tensors, such as vision_proj.weight"),
     (MATCHER, open_captioner_start, "6 of 93 tensors, such as text_decoder.cls.predictions.bias")],
)  # fmt: skip
def test_either_kind_is_a_start_of_both(folders, tmp_path, kind, opened, words):
    trainee = opened(folders[kind], 0)
    assert trainee.fresh == (words or "")
    trainee.write(tmp_path)
    pair = (tmp_path, folders[MATCHER]) if opened is open_captioner_start else (folders[CAPTIONER], tmp_path)
    same = kind == (MATCHER if opened is open_captioner_start else CAPTIONER)
    assert shared_weights(*pair) == (1.0 if same else pytest.approx(0.0, abs=0.01))
    assert all(path.suffix in (".json", ".txt", ".safetensors") for path in tmp_path.iterdir())


def test_what_a_start_lacks_is_drawn_by_the_seed(folders):
    heads = [open_matcher_start(folders[CAPTIONER], seed).module.model.itm_head.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_captioner_learns_and_is_opened(folders, clean, tmp_path):
    chosen = CaptionerCourse(steps=60, batch=8, threads=1, learning_rate=3e-3, prompt="a picture of ")
    order = CaptionerOrder(PairSource((clean,)), folders[MATCHER], "", "fp32", "cpu", chosen)
    heard = []
    shown = train_captioner(order, tmp_path / "captioner", heard.append)
    assert shown["last_lm_loss"] < shown["first_lm_loss"] - 0.5
    assert any("the start lacks 6 of 93 tensors" in line for line in heard)
    assert json.loads((tmp_path / "captioner/config.json").read_text())["architectures"] == [CAPTIONER]
    settings = CaptionerSettings(weights=str(tmp_path / "captioner"), precision="fp32", device="cpu", max_tokens=12)
    captioner = open_captioner(settings)
    picture = captioner.prepare(open_pairs(PairSource((clean,))).decoded(0))
    assert captioner.generate([picture], 1, settings.sampling, [0])[0][0].tokens > 0


class Killed(Exception):
    pass


def kill(text):
    if "state written" in text:
        raise Killed


def test_a_matcher_learns_and_goes_on_where_it_was_killed(folders, clean, tmp_path):
    def order(checkpoint):
        chosen = MatcherCourse(
            steps=20, batch=8, threads=1, queue=20, learning_rate=2e-3, checkpoint_steps=checkpoint, crop_ratio=0.5
        )
        return MatcherOrder(PairSource((clean,)), folders[CAPTIONER], folders[CAPTIONER], "fp32", "cpu", chosen)

    shown = train_matcher(order(100), tmp_path / "whole")
    assert shown["shares_weights_with"][0]["share"] < 0.05
    with pytest.raises(Killed):
        train_matcher(order(7), tmp_path / "parts", kill)
    train_matcher(order(100), tmp_path / "parts")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    assert open_matcher(MatcherSettings(weights=str(tmp_path / "parts"), device="cpu")).name == "parts"


@pytest.mark.parametrize(
    ("change", "words"),
    [({"model_type": "clip"}, "holds BlipForConditionalGeneration, and a start is a"),
     ({"architectures": ["BlipForQuestionAnswering"]}, "holds BlipForQuestionAnswering, and a start is"),
     ({"architectures": None}, "holds blip, and a start is a"), ({"architectures": "x"}, "holds blip, and")],
)  # fmt: skip
def test_a_folder_of_something_else_is_refused(folders, tmp_path, change, words):
    for file in Path(folders[CAPTIONER]).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ConfigError, match=words):
        open_captioner_start(str(tmp_path), 0)


def test_a_prompt_without_a_space_at_its_end_is_the_same_prompt(folders):
    one, other = (open_captioner_start(folders[CAPTIONER], 0, prompt) for prompt in ("a picture of ", "a picture of"))
    assert torch.equal(one.tokenize(["red star"]), other.tokenize(["red star"]))
    assert one.prompt_tokens == other.prompt_tokens == 3


def test_a_prompt_leaves_room_for_a_text(folders):
    with pytest.raises(ConfigError, match="has 6 tokens, which leave no room below 8"):
        open_captioner_start(folders[CAPTIONER], 0, "a picture of a red star", 8)


def test_what_is_computed_twice_is_the_same(folders, clean, tmp_path):
    for kind, recompute in (("kept", False), ("twice", True)):
        chosen = CaptionerCourse(steps=3, batch=8, threads=1, recompute=recompute)
        train_captioner(
            CaptionerOrder(PairSource((clean,)), folders[CAPTIONER], "", "fp32", "cpu", chosen), tmp_path / kind
        )
        chosen = MatcherCourse(steps=3, batch=8, threads=1, queue=8, recompute=recompute)
        train_matcher(
            MatcherOrder(PairSource((clean,)), folders[MATCHER], "", "fp32", "cpu", chosen), tmp_path / f"m{kind}"
        )
    for names in (("kept", "twice"), ("mkept", "mtwice")):
        one, other = (load_file(tmp_path / name / "model.safetensors") for name in names)
        assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)
