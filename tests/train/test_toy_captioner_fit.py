"""How a toy captioner is trained: its loss, its start, its loop, and the folder that it is written to."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from curate.errors import StageError, StorageError
from curate.models.caption_settings import CaptionerSettings
from curate.models.open_captioner import open_captioner, require_captioner
from curate.models.toy import load_toy_clip, normalized
from curate.models.toy_captioner import ToyCaptioner, caption_tokens
from curate.train.toy_captioner_fit import (
    RATE,
    Draw,
    captioner_from,
    drawn_captions,
    fit_captioner,
    lm_loss,
    save_captioner,
)
from curate.train.toy_data import draw_batch
from curate.train.toy_evaluation import GREEDY, greedy_captions
from curate.train.toy_fit import Course


@pytest.fixture(autouse=True)
def _as_before():
    with torch.random.fork_rng(devices=[]):
        yield


def quiet(seed: int, steps: int, half: bool = False) -> Course:
    return Course(seed, steps, half, lambda text: None)


def same(one: ToyCaptioner, other: ToyCaptioner) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_loss_is_the_mean_over_words_and_ends() -> None:
    torch.manual_seed(1)
    model, batch = ToyCaptioner(), draw_batch(5, 0)
    texts = ["a red star", "two blue circles above a star of stars", ""]
    pictures, found = normalized(batch.views[:3]), []
    with torch.no_grad():
        for row, text in enumerate(texts):
            tokens = caption_tokens([text])
            logits = model(model.picture(pictures[row : row + 1]), tokens[:, :-1])
            found += functional.cross_entropy(logits[0], tokens[0, 1:], reduction="none").tolist()
        assert len(found) == 4 + 9 + 1
        loss = lm_loss(model, pictures, caption_tokens(texts))
    assert float(loss) == pytest.approx(np.mean(found), abs=1e-5)
    assert float(loss) == pytest.approx(np.log(44), abs=0.4), "small embeddings begin near the chance of a word"


def test_a_short_training_learns_and_starts_from_what_it_is_given() -> None:
    told: list[str] = []
    start = captioner_from(load_toy_clip(), 3)
    tower = load_toy_clip().picture.state_dict()
    assert all(torch.equal(tower[name], value) for name, value in start.picture.state_dict().items())
    model = fit_captioner(Course(3, 16, False, told.append), drawn_captions(3, 16), start)
    assert model is start
    assert not model.training
    assert float(told[-1].split("loss ")[1].split(",")[0]) < 3.0
    assert told[-1].startswith("toy captioner: step 16 of 16, loss ")
    assert all(text.split()[0] in {"a", "an", "two", "three", "there", "at", "on"} for text in says(model))


def says(model: ToyCaptioner) -> list[str]:
    return greedy_captions(model, draw_batch(6, 0).views[:20])


@pytest.mark.parametrize("half", [False, True])
def test_the_same_seed_gives_the_same_weights(half: bool) -> None:
    one = fit_captioner(quiet(4, 2, half), drawn_captions(4, 2))
    torch.manual_seed(99)
    assert same(one, fit_captioner(quiet(4, 2, half), drawn_captions(4, 2)))
    assert not same(one, fit_captioner(quiet(5, 2, half), drawn_captions(4, 2)))
    assert not same(one, fit_captioner(quiet(4, 2, half), drawn_captions(5, 2)))
    assert same(captioner_from(load_toy_clip(), 1), captioner_from(load_toy_clip(), 1))
    assert not same(captioner_from(load_toy_clip(), 1), captioner_from(load_toy_clip(), 2))


def test_it_learns_from_right_captions_alone() -> None:
    drawn = list(drawn_captions(8, 2))
    assert [draw.captions for draw in drawn] == [draw_batch(8, step).captions for step in range(2)]
    assert np.array_equal(drawn[1].views, draw_batch(8, 1).views)


def test_another_loss_can_take_the_place() -> None:
    seen: list[tuple[int, ...]] = []

    def loss_of(model: ToyCaptioner, pictures: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        seen.append((*pictures.shape, *tokens.shape))
        return lm_loss(model, pictures, tokens) * 0

    batch = draw_batch(5, 0)
    draws = [Draw(batch.views[:4], ["a red star"] * 4)] * 2
    fit_captioner(quiet(1, 2), draws, None, RATE, loss_of)
    assert seen == [(4, 3, 32, 32, 4, 5)] * 2


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    model = ToyCaptioner()
    with torch.no_grad():
        model.positions.fill_(torch.nan)
    with pytest.raises(StageError, match="toy captioner: the loss is nan at step 1"):
        fit_captioner(quiet(0, 2), drawn_captions(0, 2), model)


def test_what_is_written_is_a_model_of_a_config(tmp_path: Path) -> None:
    model = fit_captioner(quiet(4, 1), drawn_captions(4, 1))
    folder = tmp_path / "new" / "captioner"
    save_captioner(model, folder, {"name": "mine", "steps": "1"})
    assert json.loads((folder / "toy.json").read_text()) == {"kind": "captioner", "name": "mine", "steps": "1"}
    assert {file.name for file in folder.iterdir()} == {"toy.json", "model.safetensors"}
    settings = CaptionerSettings(weights=str(folder), device="cpu", precision="fp32")
    require_captioner(settings)
    views = list(draw_batch(6, 0).views[:2])
    assert len(open_captioner(settings).generate(views, 1, GREEDY, [0, 0])) == 2


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(StorageError, match="cannot write"):
        save_captioner(ToyCaptioner(), tmp_path / "file" / "inside", {})
