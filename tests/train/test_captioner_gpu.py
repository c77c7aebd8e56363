"""Both trainings on a GPU, where there is one: the losses fall, and a killed one ends nearly where a whole one does."""

import pytest
import torch
from blip_folder import write_blip
from pair_shards import toy_pairs, write_shard
from safetensors.torch import load_file

from curate.train.captioner import CaptionerCourse, CaptionerOrder, train_captioner
from curate.train.matcher import MatcherCourse, MatcherOrder, train_matcher
from curate.train.pairs import PairSource

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
KINDS = {"captioner": "BlipForConditionalGeneration", "matcher": "BlipForImageTextRetrieval"}


class Killed(Exception):
    pass


def kill(text):
    if "state written" in text:
        raise Killed


@pytest.fixture
def clean(tmp_path):
    return write_shard(tmp_path / "clean", "00000", toy_pairs(32))


def train(kind, start, clean, out, say=print, checkpoint=1_000):
    chosen = {"steps": 60, "batch": 16, "threads": 2, "learning_rate": 1e-3, "checkpoint_steps": checkpoint}
    if kind == "captioner":
        training = CaptionerCourse(**chosen)
        return train_captioner(CaptionerOrder(PairSource((clean,)), start, device="cuda", training=training), out, say)
    training = MatcherCourse(**chosen, queue=50)
    return train_matcher(MatcherOrder(PairSource((clean,)), start, device="cuda", training=training), out, say)


@pytest.mark.parametrize("make", ["toy", "blip"])
@pytest.mark.parametrize(("kind", "loss"), [("captioner", "lm_loss"), ("matcher", "itm_loss")])
def test_a_training_learns_and_goes_on(clean, tmp_path, make, kind, loss):
    start = "toy" if make == "toy" else write_blip(tmp_path / "start", KINDS[kind])
    shown = train(kind, start, clean, tmp_path / "whole")
    assert shown[f"last_{loss}"] < shown[f"first_{loss}"]
    with pytest.raises(Killed):
        train(kind, start, clean, tmp_path / "parts", kill, 23)
    train(kind, start, clean, tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert max(float((whole[name] - parts[name]).abs().max()) for name in whole) < 0.05
