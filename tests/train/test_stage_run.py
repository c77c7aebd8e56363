"""Stages in order by the command: folders, reports, curves, evaluations, what is taken up and what is refused."""

import dataclasses
import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from handover_sets import make_handover, pair, talk
from safetensors.torch import load_file
from stage_tables import RESOLUTION, Bench, source, stage, stages

import curate.train.stages.work as work
from curate.cli import main
from curate.errors import ConfigError, StageError
from curate.handover.stages import build_stages
from curate.sample import Sample
from curate.train.stages.course import Course, rate_at
from curate.train.stages.curve import curve_svg
from curate.train.stages.evaluate import retrieval
from curate.train.stages.generate import captions
from curate.train.stages.run import StagesOrder, train_stages
from curate.train.stages.settings import model_settings

FILE = """
tokenizer = "toy"
seed = 3
[model]
units = 2

[[stages]]
name = "align"
objectives = {contrastive = 1.0, lm = 1.0}
steps = 3
batch = 8
learning_rate = 2e-3
trainable = {vision = "full", projector = "full", language_model = "full"}
resolution = {size = 32, patch = 8}
mixture = {sources = [{name = "pairs", kind = "pairs", weight = 1.0}]}

[[stages]]
name = "llava"
objectives = {lm = 1.0, sft = 1.0}
init_from = "align"
epochs = 1
batch = 9
learning_rate = 1e-3
trainable = {vision = "none", projector = "full", language_model = {rank = 2}}
resolution = {size = 32, patch = 8}
mixture = {sources = [{name = "pairs", kind = "pairs"}, {name = "chats", kind = "chat"}]}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    examples = {"pairs": [pair(n) for n in range(24)], "chats": [talk(n) for n in range(12)]}
    examples["pairs"][5] = Sample("bad", pair(5).image[:700], "jpg", "a cat")
    folder = tmp_path_factory.mktemp("data")
    return make_handover(folder / "handover", examples, 16)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "two.toml").write_text(FILE)
    assert (
        main(
            [
                "train",
                str(folder / "two.toml"),
                "--data",
                str(data),
                "--out",
                str(folder / "out"),
                "--evaluate",
                str(data),
            ]
        )
        == 0
    )
    return folder / "out"


def test_each_stage_is_a_folder_with_weights_losses_curve_and_report(trained):
    assert sorted(path.name for path in trained.iterdir()) == ["align", "llava", "stages.json", "training.json"]
    report = json.loads((trained / "training.json").read_text())
    first, second = report["stages"]
    assert (first["stage"], second["stage"]) == ("align", "llava")
    assert (first["steps"], second["steps"]) == (3, 4)
    for told in (first, second):
        folder = trained / told["stage"]
        assert sorted(p.name for p in folder.iterdir()) == [
            "losses.jsonl",
            "losses.svg",
            "model.safetensors",
            "stage.json",
        ]
        assert len((folder / "losses.jsonl").read_text().splitlines()) == told["steps"]
        ElementTree.fromstring((folder / "losses.svg").read_text())
    assert set(first["evaluation"]) == {"held_out_lm", "retrieval_at_1_of_100"}
    assert set(second["evaluation"]) == {"held_out_lm", "held_out_sft"}
    matching_head = 97
    assert sum(first["trainable"].values()) == sum(first["numbers"].values()) - matching_head
    assert second["trainable"]["vision"] == second["trainable"]["embeddings"] == 0
    assert second["counts"] == {
        "examples": 36,
        "unreadable_examples": 0,
        "unreadable_pictures": 1,
        "pairs_left_out": 1,
        "cut": 0,
    }
    assert build_stages(json.loads((trained / "stages.json").read_text())).stages[1].init_from == "align"


def test_the_second_stage_began_with_the_first_and_kept_what_is_frozen(trained):
    first, second = (load_file(trained / name / "model.safetensors") for name in ("align", "llava"))
    same = {name for name in first if torch.equal(first[name], second[name])}
    assert {name for name in first if name.startswith("vision.")} <= same
    assert "language_model.words.weight" in same
    assert "projector.0.weight" not in same
    assert "language_model.layers.0.attention.query.weight" not in same
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 0.1


def test_a_stage_that_is_done_is_not_done_again_and_the_end_has_the_same_bytes(trained, data, tmp_path):
    def stop(text):
        told.append(text)
        if text.startswith("stage llava"):
            raise StageError("stopped")

    told: list[str] = []
    table = build_stages(json.loads((trained / "stages.json").read_text()))
    order = StagesOrder(table, str(data), tmp_path / "out", say=stop)
    with pytest.raises(StageError, match="stopped"):
        train_stages(order)
    assert sum(text.startswith("stage align") for text in told) == 2
    train_stages(dataclasses.replace(order, say=told.append))
    assert sum(text.startswith("stage align") for text in told) == 2
    for name in ("align", "llava"):
        ours, theirs = (folder / name / "model.safetensors" for folder in (tmp_path / "out", trained))
        assert ours.read_bytes() == theirs.read_bytes()


def test_the_command_takes_the_word_stages_too_and_refuses_a_folder_that_is_there(trained, data, tmp_path, capsys):
    (tmp_path / "two.toml").write_text(FILE)
    given = ["train", "stages", str(tmp_path / "two.toml"), "--data", str(data), "--out", str(trained)]
    assert main(given) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*given[:-1], str(tmp_path / "out"), "--gpus"]) == 2
    assert "--gpus is for --on ray" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "stage"])
    assert "choices: tiny, filter" in capsys.readouterr().err


def test_on_the_toy_web_retrieval_and_exact_captions_are_measured(data, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "TOY_ROWS", 12)
    table = stage("a", [source("pairs")], objectives={"contrastive": 1.0, "lm": 1.0}, steps=1)
    report = train_stages(StagesOrder(stages(table, tokenizer="toy"), str(data), tmp_path / "out", "toy"))
    found = report["stages"][0]["evaluation"]
    assert set(found) == {"retrieval_at_1_of_100", "exact_captions"}
    assert all(0 <= value <= 0.5 for value in found.values())


def test_a_caption_that_was_learned_is_said():
    bench = Bench(stages(stage("a", [source("pairs")]), tokenizer="toy"))
    said = ["a red circle above a blue square", "two green stars, left of a triangle"]
    unit = bench.unit(*[[Sample(str(n), pair(n).image, "jpg", text)] for n, text in enumerate(said)])
    bench.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(bench.model.parameters(), 3e-3)
    for number in range(60):
        bench.objectives().gradient(number, [unit])
        optimizer.step()
    bench.model.eval()
    assert captions(bench.model, unit.views, bench.writing) == said
    assert captions(bench.model, unit.views, bench.writing, most=2) == ["a red", "two green"]
    assert captions(bench.model, unit.views[1:], bench.writing) == said[1:]


def test_retrieval_is_in_pools_of_a_hundred_and_by_what_is_found():
    similarity = np.eye(250, dtype=np.float32)
    assert retrieval(similarity, list(range(250))) == 1.0
    similarity[[0, 1]] = similarity[[1, 0]]
    assert retrieval(similarity, list(range(250))) == pytest.approx(1 - 4 / 400)
    assert retrieval(similarity, [7, 7, *range(2, 250)]) == 1.0
    assert retrieval(similarity[:3, :3], [0, 1, 2]) == pytest.approx(1 / 3)
    similarity[:100, 200] = 9
    assert retrieval(similarity, [7, 7, *range(2, 250)]) == 1.0


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("cosine", [0.5, 1.0, 1.0, 0.75, 0.25]),
        ("linear", [0.5, 1.0, 1.0, 2 / 3, 1 / 3]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0]),
        ("inverse_sqrt", [0.5, 1.0, (2 / 3) ** 0.5, 0.5**0.5, (2 / 5) ** 0.5]),
        ("exponential", [0.5, 1.0, 1.0, 0.01 ** (1 / 3), 0.01 ** (2 / 3)]),
    ],
)
def test_rates_rise_over_the_warm_up_and_fall_by_the_schedule(schedule, rates):
    own = stages(stage("a", [source("pairs")], schedule=schedule, warmup_steps=2, learning_rate=2.0)).stages[0]
    assert [rate_at(step, 5, own) / 2 for step in range(5)] == pytest.approx(rates)


def test_parts_have_rates_of_their_own(data, tmp_path):
    """At a rate of 0 a part that learns stays where it is."""
    table = stage("a", [source("pairs")], learning_rates={"vision": 0.0}, steps=2, weight_decay=0.1)
    train_stages(StagesOrder(stages(table, tokenizer="toy"), str(data), tmp_path / "out"))
    start = Bench(stages(table, tokenizer="toy")).model.state_dict()
    ends = load_file(tmp_path / "out" / "a" / "model.safetensors")
    moved = {name.partition(".")[0] for name in ends if not torch.equal(ends[name], start[name])}
    assert moved == {"projector", "language_model"}


@pytest.mark.parametrize(
    ("model", "table", "words"),
    [
        ({}, {"objectives": {"masked_text": 1.0}}, "has no objective 'masked_text'"),
        ({}, {"objectives": {"lm": 0.0}}, "all objectives weigh 0"),
        ({}, {"objectives": {"sft": 1.0, "contrastive": 1.0}, "sources": [source("docs")]}, "no source feeds"),
        ({}, {"objectives": {"contrastive": 1.0}, "sources": [source("pairs"), source("docs")]}, "no objective learns"),
        ({}, {"resolution": {"policy": "native", "size": 32, "patch": 8}}, '"native" is for other trainers'),
        ({}, {"trainable_by_module": {"q_former": "full"}}, "q_former"),
        ({}, {"trainable": {"language_model": {"rank": 0}}}, "language_model has rank = 0"),
        ({}, {"learning_rate": 0.0}, "learning_rate = 0"),
        ({}, {"learning_rates": {"visoin": 1e-3}}, "visoin.*vision"),
        ({}, {"batch": 0}, "batch = 0"),
        ({}, {"steps": 0}, "how long is it"),
        ({"units": 8}, {"batch": 4}, "units = 8"),
        ({"units": 3}, {}, "power of two"),
        ({"vision": "open_clip"}, {}, "needs `architecture`"),
        ({"architecture": "ViT-B-32"}, {}, 'write vision = "open_clip"'),
        ({"text_tower": "open_clip"}, {}, "goes with vision"),
        ({"fusion": "prefix"}, {"sources": [source("docs", next_image_probability=0.5)]}, "next_image_probability"),
        ({"latent": 3}, {}, "latents"),
    ],
)  # fmt: skip
def test_what_the_trainer_does_not_do_is_said_before_it_begins(model, table, words):
    own = dict(table)
    with pytest.raises(ConfigError, match=words):
        model_settings(stages(stage("a", own.pop("sources", [source("pairs")]), **own), **model))


@pytest.mark.parametrize(
    ("model", "resolution", "words"),
    [
        ({}, {"size": 224, "patch": 14}, "takes 32 px"),
        ({}, {"size": 32, "patch": 4}, "64 tokens, and the model makes 16"),
        ({"projector": "perceiver", "latents": 5}, RESOLUTION, "16 tokens, and the model makes 5"),
    ],
)
def test_a_resolution_that_is_not_the_models_is_refused(data, tmp_path, model, resolution, words):
    table = {**stage("a", [source("pairs")]), "resolution": resolution}
    with pytest.raises(ConfigError, match=words):
        train_stages(StagesOrder(stages(table, tokenizer="toy", **model), str(data), tmp_path / "out"))
    assert list(tmp_path.iterdir()) == [], "the mended file is not refused as another training"


def test_a_stage_that_changed_what_it_does_not_train_is_not_written(data, tmp_path, monkeypatch):
    def careless(course, batches):
        with torch.no_grad():
            course.objectives.model.vision.tower.norm.weight.mul_(1.001)
        return trained(course, batches)

    trained = Course.run
    monkeypatch.setattr(Course, "run", careless)
    table = stage("a", [source("pairs")], trainable={"projector": "full"}, steps=1)
    with pytest.raises(StageError, match="changed 1 tensors that it does not train"):
        train_stages(StagesOrder(stages(table, tokenizer="toy"), str(data), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tokenizer", "counted", "taken"),
    [
        ("toy", ["clip", "toy"], "toy"),
        ("models/qwen", ["clip", "qwen"], "qwen"),
        ("bytes", ["words", "clip"], "clip"),
        ("", ["words", "clip"], "clip"),
        ("bytes", ["words"], ""),
        ("toy", ["toy"], "toy"),
        ("toy", [], ""),
    ],
)
def test_counts_are_those_of_the_models_own_words_or_come_near(tokenizer, counted, taken):
    paths = {"qwen": "models/qwen"}
    assert work.counted_by(tokenizer, {name: {"kind": "x", "path": paths.get(name, "")} for name in counted}) == taken


def test_a_loss_that_is_not_finite_stops_the_stage(data, tmp_path):
    table = stage("a", [source("pairs")], learning_rate=1e6, steps=30, precision="fp32")
    with pytest.raises(StageError, match=r"step \d+ of 30: the losses are .*lower learning_rate"):
        train_stages(StagesOrder(stages(table, tokenizer="toy"), str(data), tmp_path / "out"))


def test_a_curve_without_numbers_is_a_picture_too():
    for lines in ([], [{"step": 1, "rate": 1.0, "batch": "x"}], [{"step": 1, "lm": 2.0}, {"step": 2, "itm": 1.0}]):
        ElementTree.fromstring(curve_svg("a <b>", lines))


def test_the_file_in_the_docs_can_be_trained():
    text = (Path(__file__).parents[2] / "docs" / "stage_trainer.md").read_text()
    table = tomllib.loads(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    assert model_settings(build_stages(table)).units == 4
