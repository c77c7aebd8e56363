"""How the toy models are trained and measured: the batches, the loops, the numbers, and the command."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from curate.cli import main
from curate.errors import StageError
from curate.models.toy import load_toy_captioner, load_toy_clip, load_toy_matcher
from curate.models.weights import TOY_FILES
from curate.toyweb.caption import parse
from curate.toyweb.scene import Scene
from curate.train.toy import REPORT, TinySettings, train_tiny
from curate.train.toy_data import BATCH, batches, draw_batch
from curate.train.toy_evaluation import Pairs, auc, draw_pairs, exact_ratio, greedy_captions, similarities
from curate.train.toy_fit import Course, _fit, _rate, fit_clip, fit_matcher

NAMES = [path.name for path in TOY_FILES.values()]
BRIEF = TinySettings(seed=3, steps=2, matcher_steps=2, captioner_steps=2, rows=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of models trained for two steps each, the report, and what was told."""
    out, told = tmp_path_factory.mktemp("toy") / "new" / "folder", []
    return out, train_tiny(BRIEF, out, told.append), told


def test_the_same_seed_gives_the_same_bytes(made, tmp_path: Path) -> None:
    """Whatever random numbers others draw meanwhile, and whatever number of threads they use."""
    torch.manual_seed(99)
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    train_tiny(BRIEF, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 2
    for name in NAMES:
        assert (made[0] / name).read_bytes() == (tmp_path / name).read_bytes()
    train_tiny(TinySettings(seed=4, steps=2, matcher_steps=2, captioner_steps=2, rows=60), tmp_path)
    for name in NAMES:
        assert (made[0] / name).read_bytes() != (tmp_path / name).read_bytes()


def test_the_report_is_about_the_files(made) -> None:
    out, report, told = made
    assert {file.name for file in out.iterdir()} == {*NAMES, REPORT}
    assert json.loads((out / REPORT).read_text()) == report
    assert report["command"] == "curate train tiny --seed 3 --steps 2 --matcher-steps 2 --captioner-steps 2"
    assert report["cpu_s"] > 0 < report["wall_s"]
    assert [(row["model"], row["wrong_caption"]) for row in report["auc"]] == [
        (f"toy {kind}", wrong)
        for kind in ("clip", "matcher", "captioner")
        for wrong in ("other_scene", "wrong_attribute")
    ]
    assert [text.split(",")[0] for text in told[:3]] == [f"toy {kind}: step 2 of 2" for kind in TOY_FILES]
    assert report["exact_captions"] == exact_ratio(
        greedy_captions(load_toy_captioner(out / NAMES[2]), pairs_of_report().views), pairs_of_report().scenes
    )
    pairs = pairs_of_report()
    score = similarities(load_toy_clip(out / NAMES[0]), pairs)
    assert report["auc"][0]["auc"] == auc(score[pairs.labels == "clean"], score[pairs.labels == "other_scene"])
    assert load_toy_matcher(out / NAMES[1])
    for name in NAMES:
        with safe_open(out / name, "pt") as file:
            assert file.metadata()["precision"] == report["precision"]


@cache
def pairs_of_report() -> Pairs:
    return draw_pairs(4_004, 60)


def test_float32_is_told_and_obeyed(made, tmp_path: Path) -> None:
    report = train_tiny(replace(BRIEF, precision="fp32"), tmp_path)
    assert report["precision"] == "fp32"
    assert report["command"].endswith(" --precision fp32")
    ours, its = (load_toy_clip(folder / NAMES[0]).state_dict() for folder in (tmp_path, made[0]))
    same = all(torch.equal(ours[name], its[name]) for name in ours)
    assert same == (made[1]["precision"] == "fp32"), "a CPU without bfloat16 computes in float32 either way"


def test_a_short_training_learns() -> None:
    """Sixteen steps: captions of other scenes are told apart better than by chance, and the loss has fallen."""
    told: list[str] = []
    with torch.random.fork_rng(devices=[]):
        clip = fit_clip(Course(1, 16, False, told.append))
        matcher = fit_matcher(clip, Course(1, 1, False, told.append))
    pairs = draw_pairs(77, 200)
    score = similarities(clip, pairs)
    assert auc(score[pairs.labels == "clean"], score[pairs.labels == "other_scene"]) > 0.7
    assert float(told[0].split("loss ")[1].split(",")[0]) < 4.8
    ours, its = clip.state_dict(), matcher.state_dict()
    shared = [name for name in ours if name in its]
    assert len(shared) > 60
    assert all((ours[name] - its[name]).abs().mean() < 0.01 for name in shared), "the matcher starts from the encoder"


def test_neighbours_differ_in_one_attribute_and_wrong_captions_in_one_or_more() -> None:
    batch = draw_batch(5, 0)
    assert (batch.views.shape, batch.views.dtype) == ((BATCH, 32, 32, 3), np.uint8)
    scenes = [parse(text) for text in batch.captions]
    assert len(batch.captions) == len(batch.wrong) == BATCH
    assert {_differences(a, b) for a, b in zip(scenes, scenes[BATCH // 2 :], strict=False)} == {1}
    told = [parse(text) for text in batch.wrong]
    assert not [1 for scene, wrong in zip(scenes, told, strict=True) if scene == wrong]
    differ = [0 if wrong is None else _differences(scene, wrong) for scene, wrong in zip(scenes, told, strict=True)]
    assert [number for number, wrong in enumerate(told) if wrong is None] == list(range(1, BATCH, 8))
    assert np.mean(differ[::4]) > 3.5
    assert {d for number, d in enumerate(differ) if number % 4 and number % 8 != 1} == {1}


def _differences(one: Scene, other: Scene) -> int:
    pairs = ((one.first, other.first), (one.second, other.second))
    groups = sum(getattr(a, name) != getattr(b, name) for a, b in pairs for name in ("count", "color", "shape"))
    return groups + (one.layout != other.layout)


def test_a_batch_follows_from_seed_and_step() -> None:
    drawn = list(batches(5, 3))
    assert len(drawn) == 3
    for step, batch in enumerate(drawn):
        again = draw_batch(5, step)
        assert (batch.captions, batch.wrong) == (again.captions, again.wrong)
        assert np.array_equal(batch.views, again.views)
    assert drawn[0].captions != drawn[1].captions != draw_batch(6, 1).captions
    assert not set(map(bytes, drawn[0].views)) & set(map(bytes, drawn[1].views))


def test_the_rate_rises_and_falls() -> None:
    rates = [_rate(step, 1_000) for step in range(1_001)]
    assert rates[0] == 1 / 80
    assert max(rates) == rates[79] == rates[80] == 1
    assert rates[80:] == sorted(rates[80:], reverse=True)
    assert rates[1_000] == pytest.approx(0.05)
    assert all(0 < _rate(0, steps) <= 1 for steps in (1, 2, 3))


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    model = torch.nn.Linear(1, 1)
    with pytest.raises(StageError, match="toy clip: the loss is nan at step 1"):
        _fit(model, lambda batch: model.weight.sum() * torch.nan, Course(0, 2, False, print), 1e-3, "toy clip")


@pytest.mark.parametrize(
    ("right", "wrong", "value"),
    [([2, 3], [0, 1], 1.0), ([0, 1], [2, 3], 0.0), ([1], [1], 0.5), ([1, 2], [1, 0], 0.875), ([0.5], [0.2, 0.9], 0.5)],
)
def test_auc(right: list[float], wrong: list[float], value: float) -> None:
    assert auc(np.array(right, np.float32), np.array(wrong, np.float32)) == value


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_auc_is_the_chance_to_be_above(right: list[int], wrong: list[int]) -> None:
    wins = np.mean([(a > b) + (a == b) / 2 for a in right for b in wrong])
    assert auc(np.array(right, float), np.array(wrong, float)) == pytest.approx(wins)


def test_auc_refuses_what_cannot_be_ranked() -> None:
    one = np.ones(1)
    for right, wrong in ((one[:0], one), (one, one[:0]), (one * np.nan, one)):
        with pytest.raises(ValueError, match=r"scores|not a number"):
            auc(right, wrong)


def test_pairs_are_the_rows_of_the_toy_web() -> None:
    pairs = draw_pairs(12, 100)
    labels, counts = np.unique(pairs.labels, return_counts=True)
    assert labels.tolist() == ["clean", "other_scene", "wrong_attribute"]
    assert np.abs(counts - [55, 30, 15]).max() <= 2
    assert (pairs.views.shape, len(pairs.captions)) == ((100, 32, 32, 3), 100)
    told = [parse(text) == scene for text, scene in zip(pairs.captions, pairs.scenes, strict=True)]
    assert told == (pairs.labels == "clean").tolist()
    assert exact_ratio(pairs.captions, pairs.scenes) == (pairs.labels == "clean").mean()
    assert draw_pairs(12, 3).captions == pairs.captions[:3]
    assert draw_pairs(13, 3).captions != pairs.captions[:3]


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("matcher_steps", -1), ("captioner_steps", 0), ("rows", 10), ("seed", -1)]
)
def test_settings_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{name} = {value} is out of range"):
        TinySettings(**{name: value})


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--seed", "3", "--steps", "2", "--matcher-steps", "2", "--captioner-steps", "2", "--rows", "60"]
    assert main(["train", "tiny", *numbers, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert report["written_to"] == str(tmp_path / "out")
    assert len(report["auc"]) == 6
    assert "toy clip: step 2 of 2" in shown.err
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*NAMES, REPORT}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "0"], "steps = 0 is out of range"),
        (["--out", "FILE"], "is a file; name a folder for the toy models"),
        (["--out", "FILE/inside"], "cannot write"),
    ],
)
def test_the_command_says_in_one_line_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "FILE").write_text("here already")
    told = [str(tmp_path / word) if word.startswith("FILE") else word for word in arguments]
    assert main(["train", "tiny", "--rows", "60", *told]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_the_command_wants_to_know_what_to_train(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train"])
    assert "KIND" in capsys.readouterr().err
