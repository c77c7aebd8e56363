"""What a state on disk must tell before a stage goes on at it, and what the kept pictures cost in memory."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from curate.errors import ConfigError
from curate.train.stages import collate
from curate.train.stages.collate import Kept, Reading
from curate.train.stages.state import read_state, write_state

TOLD = {"step": 3, "batches": {}}


def training():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters(), 0.1)


@pytest.fixture
def path(tmp_path):
    model, optimizer = training()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    write_state(tmp_path / "state.safetensors", model, optimizer, TOLD)
    return tmp_path / "state.safetensors"


def test_a_state_is_taken_up(path):
    model, optimizer = training()
    assert read_state(path, model, optimizer) == TOLD
    assert len(optimizer.state_dict()["state"]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        json.dumps({**TOLD, "step": "3"}),
        json.dumps({**TOLD, "step": True}),
        json.dumps({**TOLD, "step": 0}),
        json.dumps({"step": 3}),
        "[" * 200_000,
    ],
    ids=["list", "empty", "text", "bool", "zero", "no batches", "deep"],
)
def test_a_state_that_tells_nonsense_is_refused(path, text):
    save_file(load_file(path), path, {"told": text})
    with pytest.raises(ConfigError, match="no state of this stage"):
        read_state(path, *training())


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("optimizer.0.exp_avg", torch.zeros(7)),
        ("optimizer.0.exp_avg_sq", None),
        ("optimizer.0.other", torch.zeros(2, 3)),
        ("optimizer.9.step", torch.tensor(1.0)),
    ],
)
def test_moments_of_another_model_are_refused(path, name, tensor):
    tensors = {key: value for key, value in load_file(path).items() if key != name}
    save_file(tensors | ({} if tensor is None else {name: tensor}), path, {"told": json.dumps(TOLD)})
    with pytest.raises(ConfigError, match="no state of this stage"):
        read_state(path, *training())


def test_moments_that_are_gone_do_not_begin_anew(path):
    tensors = {name: tensor for name, tensor in load_file(path).items() if not name.startswith("optimizer.1.")}
    save_file(tensors, path, {"told": json.dumps(TOLD)})
    with pytest.raises(ConfigError, match="moments of 1 parameters, and 2 are trained"):
        read_state(path, *training())


def test_a_kept_crop_does_not_keep_the_picture_it_is_of():
    kept = Kept(Reading(lambda data: np.zeros((4, 4_000, 3), np.uint8), lambda pixels: pixels[:, :4], 4))
    assert kept.view(b"a").base is None


def test_pictures_that_cannot_be_decoded_count_for_what_is_kept(monkeypatch):
    monkeypatch.setattr(collate, "MOST_KEPT_BYTES", 1_000)
    asked = []
    kept = Kept(Reading(asked.append, lambda pixels: pixels, 4))
    for _ in range(2):
        for number in range(6):
            assert kept.view(bytes([number])) is None
    assert len(asked) == 6 + 3  # three fit, and the others are tried anew
