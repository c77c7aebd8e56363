"""What a state on disk must tell before a stage goes on at it, and what the kept pictures cost in memory."""

import json
import shutil

import numpy as np
import pytest
import torch
from handover_sets import make_handover, pair
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stage_tables import source, stage, stages

from curate.errors import ConfigError, StageError
from curate.train.stages import collate
from curate.train.stages.collate import Kept, Reading
from curate.train.stages.run import StagesOrder, train_stages
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


def order(folder, **settings):
    table = stage("a", [source("pairs")], **{"steps": 4, **settings})
    return StagesOrder(stages(table, tokenizer="toy", layers=1), str(folder / "data"), folder / "out", "", 2)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A training that was ended behind its second step, where its state was written."""
    folder = tmp_path_factory.mktemp("begun")
    make_handover(folder / "data", {"pairs": [pair(n) for n in range(12)]})
    whole = order(folder)

    def stop(text):
        if "state written" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stages(StagesOrder(whole.stages, whole.data, whole.out, "", 2, say=stop))
    return folder


@pytest.fixture
def stopped(begun, tmp_path):
    shutil.copytree(begun, tmp_path / "own")
    return tmp_path / "own"


@pytest.mark.parametrize(
    "gone",
    [
        ("loader",),
        ("counts",),
        ("counts", "cut"),
        *(("loader", name) for name in ("handover", "seed", "settings", "place", "unread", "version")),
        ("loader", "place", "streams"),
        ("loader", "place", "lanes"),
    ],
    ids=".".join,
)
@pytest.mark.parametrize("instead", [None, []], ids=["gone", "a list"])
def test_a_state_that_does_not_tell_where_its_batches_stand_is_refused(stopped, gone, instead):
    path = stopped / "out.training" / "state.safetensors"
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["told"])
    place = told["batches"]
    for name in gone[:-1]:
        place = place[name]
    place.pop(gone[-1])
    if instead is not None:
        place[gone[-1]] = instead
    save_file(load_file(path), path, {"told": json.dumps(told)})
    with pytest.raises(ConfigError):
        train_stages(order(stopped))


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:1],
        lambda lines: [],
        lambda lines: [lines[0], lines[1][:20]],
        lambda lines: ["[" * 200_000, lines[1]],
        lambda lines: [lines[0].replace('"lm": ', '"lm": "x", "y": '), lines[1]],
    ],
    ids=["first gone", "second gone", "all gone", "half", "deep", "text"],
)
def test_losses_that_lack_a_step_before_the_state_are_refused(stopped, damage):
    path = stopped / "out.training" / "losses.jsonl"
    path.write_text("".join(f"{line}\n" for line in damage(path.read_text().splitlines())))
    with pytest.raises(ConfigError, match=r"losses\.jsonl has no line of step [12]"):
        train_stages(order(stopped))


def test_what_is_whole_goes_on(stopped):
    train_stages(order(stopped))
    assert len((stopped / "out" / "a" / "losses.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize("settings", [{"sequence_tokens": 4}, {}, {"objectives": {"contrastive": 1.0}}])
def test_a_stage_that_learned_nothing_says_so(tmp_path, settings):
    make_handover(tmp_path / "data", {"pairs": [pair(n) for n in range(10)]})
    if "sequence_tokens" not in settings:
        tar = tmp_path / "data" / "00000.tar"
        tar.write_bytes(bytes(tar.stat().st_size))
    with pytest.raises(StageError, match="stage a learned nothing"):
        train_stages(order(tmp_path, **settings))
    assert not (tmp_path / "out").exists()
