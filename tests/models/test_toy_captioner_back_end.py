"""The toy captioner as a back end: what it knows, what its captions depend on, and which folders it takes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from curate.errors import ConfigError
from curate.models import open_captioner as back_ends
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Sampling, seeds_of
from curate.models.toy import load_toy_captioner
from curate.models.toy_captioner import PLACES, caption_tokens, log_likelihood
from curate.models.toy_captioning import UNIT_ROWS, ToyCaptioning, captioner_digest
from curate.models.weights import TOY_FILES
from curate.toyweb.caption import parse
from curate.toyweb.scene import alter
from curate.train.toy_data import draw_batch
from curate.train.toy_evaluation import auc, draw_pairs, exact_ratio, greedy_captions, likelihoods

NUCLEUS = Sampling(min_tokens=0, repetition_penalty=1.0)
N = 40


@pytest.fixture(scope="module")
def views() -> list[np.ndarray]:
    return list(draw_batch(31, 0).views)


def opened(precision="fp32") -> ToyCaptioning:
    return ToyCaptioning(load_toy_captioner(), "toy", precision, "cpu")


def test_it_describes_scenes_that_it_has_not_seen() -> None:
    captioner, pairs = load_toy_captioner(), draw_pairs(9_010, 400)
    told = greedy_captions(captioner, pairs.views)
    assert exact_ratio(told, pairs.scenes) >= 0.97
    score = likelihoods(captioner, pairs.views, pairs.captions)
    for wrong, least in (("other_scene", 0.999), ("wrong_attribute", 0.998)):
        assert auc(score[pairs.labels == "clean"], score[pairs.labels == wrong]) >= least


def test_the_file_says_what_it_is() -> None:
    path = TOY_FILES["captioner"]
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about["name"] == "toy captioner"
    assert "--captioner-steps" in about["command"]
    assert path.stat().st_size <= 1_500_000


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_caption_depends_on_its_picture_and_seed_alone(views, precision: str) -> None:
    """Not on which pictures it is asked for with, in which order, how often, or by how many threads."""
    worker, seeds = opened(precision), seeds_of([f"picture {n}" for n in range(len(views))], 7)
    whole = worker.generate(views, 2, NUCLEUS, seeds)
    assert len({own[0].text for own in whole}) > 100
    assert any(own[0].text != own[1].text for own in whole)
    for start, stop in ((0, 1), (0, 5), (100, 128), (3, 128)):
        assert worker.generate(views[start:stop], 2, NUCLEUS, seeds[start:stop]) == whole[start:stop]
    order = np.random.default_rng(1).permutation(len(views))
    mixed = worker.generate([views[i] for i in order], 2, NUCLEUS, [seeds[i] for i in order])
    assert mixed == [whole[i] for i in order]
    twice = worker.generate([*views[::-1], *views], 2, NUCLEUS, [*seeds[::-1], *seeds])
    assert twice == [*whole[::-1], *whole]
    torch.set_num_threads(2)
    assert worker.generate(views, 2, NUCLEUS, seeds) == whole


def test_another_seed_gives_another_caption(views) -> None:
    worker = opened()
    one, other = (worker.generate(views[:N], 1, NUCLEUS, [seed] * N) for seed in (1, 2))
    assert sum(a[0].text != b[0].text for a, b in zip(one, other, strict=True)) > N / 2
    assert {own[0].finish for own in one} == {"stop"}


@pytest.mark.parametrize(
    ("sampling", "n"),
    [
        (NUCLEUS, 3),
        (Sampling("greedy"), 1),
        (Sampling("top_k", top_k=5), 2),
        (Sampling("beam", beams=3, min_tokens=0, repetition_penalty=1.0), 3),
        (Sampling("nucleus", top_p=1, temperature=0.5, prompt="a picture of"), 2),
        (Sampling(max_tokens=4, min_tokens=2), 1),
        (Sampling(max_tokens=PLACES), 1),
    ],
    ids=["nucleus", "greedy", "top_k", "beam", "prompt", "short", "longest"],
)
def test_every_sampling_gives_texts_with_their_likelihood(views, sampling: Sampling, n: int) -> None:
    """The log-probability is what the model gives to the text when it reads it."""
    worker = opened()
    found = worker.generate(views[:5], n, sampling, [3] * 5)
    assert [len(own) for own in found] == [n] * 5
    model = load_toy_captioner()
    for view, own in zip(views, found, strict=False):
        for one in own:
            assert one.tokens == len(one.text.replace(",", " ,").split()) <= sampling.max_tokens
            assert (one.finish == "length") <= (one.tokens == sampling.max_tokens)
            if one.finish == "stop":
                assert one.log_probability == pytest.approx(_read(model, view, sampling.prompt, one.text), abs=0.02)


def _read(model, view: np.ndarray, prompt: str, text: str) -> float:
    """Log-probability of the text and its end behind a prompt. Unknown words are said by nobody."""
    with torch.inference_mode():
        pixels = (torch.from_numpy(view[None]).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
        picture = model.picture(pixels)
        whole = float(log_likelihood(model, picture, caption_tokens([f"{prompt} {text}"])))
        if not prompt:
            return whole
        given = caption_tokens([prompt])[:, :-1]
        told = model(picture, given[:, :-1]).log_softmax(-1).gather(2, given[:, 1:, None])
        return whole - float(told.sum())


def test_beams_come_best_first_and_a_prompt_is_not_told(views) -> None:
    worker = opened()
    beams = worker.generate(views[:N], 3, Sampling("beam", beams=3, min_tokens=0, repetition_penalty=1.0), [0] * N)
    assert all(len({one.text for one in own}) == 3 for own in beams)
    prompted = worker.generate(views[:N], 1, Sampling("greedy", repetition_penalty=1, prompt="a picture of"), [0] * N)
    texts = [own[0].text for own in prompted]
    assert not any(text.startswith("a picture") for text in texts)
    assert sum(parse(f"a picture of {text}") is not None for text in texts) > 0.9 * N


@pytest.mark.parametrize(
    ("sampling", "n", "words"),
    [
        (Sampling("greedy"), 2, "greedy"),
        (Sampling("beam", beams=2), 3, "beam"),
        (Sampling(max_tokens=PLACES + 1), 1, f"max_tokens can be {PLACES}"),
        (Sampling(max_tokens=PLACES, prompt="a picture of"), 1, f"max_tokens can be {PLACES - 3}"),
        (Sampling(prompt="a photo of"), 1, "does not know"),
    ],
)
def test_what_it_cannot_do_is_a_value_error(views, sampling: Sampling, n: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        opened().generate(views[:2], n, sampling, [0, 0])


def test_no_pictures_have_no_captions() -> None:
    assert opened().generate([], 2, NUCLEUS, []) == []


def test_with_more_captions_than_rows_a_picture_goes_alone(views) -> None:
    found = opened().generate(views[:2], UNIT_ROWS + 1, NUCLEUS, [1, 2])
    assert [len(own) for own in found] == [UNIT_ROWS + 1] * 2


class Cramped(ToyCaptioning):
    """Has room for few pictures at a time."""

    most, asked = 50, 0

    def _look(self, views):
        self.asked += 1
        if len(views) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return super()._look(views)


def test_where_memory_runs_out_units_are_halved(views) -> None:
    worker = Cramped(load_toy_captioner(), "toy", "fp32", "cpu")
    found = worker.generate(views, 1, NUCLEUS, list(range(128)))
    assert [len(own) for own in found] == [1] * 128
    assert worker.asked == 3 + 4, "256, 128 and 64 rows fail, 32 do, for this call"
    worker.most = 0
    with pytest.raises(RuntimeError, match="out of memory"):
        worker.generate(views[:2], 1, NUCLEUS, [0, 1])


def test_the_shipped_one_is_opened_by_its_settings() -> None:
    settings = CaptionerSettings(device="cpu")
    back_ends.require_captioner(settings)
    worker = back_ends.open_captioner(settings)
    assert worker.name == "toy captioner"
    view = worker.prepare(np.zeros((300, 200, 3), np.uint8))
    assert (view.shape, view.dtype) == ((32, 32, 3), np.uint8)
    assert back_ends.captioner_digest(settings) == captioner_digest(CaptionerSettings(seed=4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(TOY_FILES["captioner"], tmp_path / "model.safetensors")
    (tmp_path / "toy.json").write_text(json.dumps({"kind": "captioner"}))
    return tmp_path


def test_one_trained_here_is_opened_by_its_folder(folder: Path, views) -> None:
    settings = CaptionerSettings(weights=str(folder), device="cpu", precision="fp32")
    back_ends.require_captioner(settings)
    worker = back_ends.open_captioner(settings)
    assert worker.name == f"{folder.name} (toy)"
    greedy = Sampling("greedy")
    assert worker.generate(views[:3], 1, greedy, [0] * 3) == opened().generate(views[:3], 1, greedy, [0] * 3)


def test_other_weights_are_another_model(folder: Path) -> None:
    settings = CaptionerSettings(weights=str(folder), device="cpu")
    before = captioner_digest(settings)
    tensors = load_file(folder / "model.safetensors")
    tensors["positions"] = tensors["positions"] * 2
    save_file(tensors, folder / "model.safetensors")
    assert captioner_digest(settings) != before


def _no_kind(folder: Path) -> None:
    (folder / "toy.json").write_text("[1]")


def _broken_json(folder: Path) -> None:
    (folder / "toy.json").write_text("{")


def _matcher(folder: Path) -> None:
    (folder / "toy.json").write_text('{"kind": "matcher"}')


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _other_weights(folder: Path) -> None:
    shutil.copy(TOY_FILES["matcher"], folder / "model.safetensors")


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _infinite(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["positions"][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_kind, r"toy\.json does not say its kind"),
        (_broken_json, r"toy\.json does not say its kind"),
        (_matcher, "is a toy matcher, and no captioner"),
        (_no_weights, r"model\.safetensors"),
        (_other_weights, "does not hold the toy model ToyCaptioner"),
        (_cut, r"model\.safetensors is refused"),
        (_infinite, "not finite: positions"),
    ],
)
def test_folders_that_do_not_fit_are_refused(folder: Path, spoil, words: str) -> None:
    spoil(folder)
    with pytest.raises(ConfigError, match=words):
        back_ends.require_captioner(CaptionerSettings(weights=str(folder), device="cpu"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_tokens": PLACES + 1}, "places"),
        ({"prompt": "une image de"}, "does not know"),
        ({"device": "cuda"}, "sees no GPU"),
    ],
)
def test_settings_that_it_cannot_do_are_refused_before_a_run(changes, words: str) -> None:
    if "device" in changes and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError, match=words):
        back_ends.require_captioner(CaptionerSettings(**{"device": "cpu", **changes}))


def test_a_wrong_attribute_is_less_likely(views) -> None:
    """Of one picture, by the likelihood alone: the filter of `bench/capfilt.py`."""
    from random import Random

    from curate.toyweb.caption import describe

    batch, random = draw_batch(32, 0), Random(1)
    scenes = [parse(text) for text in batch.captions]
    wrong = [describe(alter(scene, random), random.randrange(8)) for scene in scenes]
    model = load_toy_captioner()
    right = likelihoods(model, batch.views, batch.captions)
    assert (right > likelihoods(model, batch.views, wrong)).mean() > 0.9
