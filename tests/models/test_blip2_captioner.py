"""BLIP-2 with both kinds of language models against transformers asked one picture at a time."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tiny_vlm import EOS, picture, write

from curate.errors import ConfigError
from curate.models import blip2
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Sampling
from curate.models.open_captioner import captioner_digest, open_captioner, require_captioner
from curate.models.vlm_units import ROWS

KINDS = ("blip2_opt", "blip2_t5")
PICTURES = [picture(seed, 40 + seed, 50) for seed in range(11)]
SEEDS = list(range(11))
GREEDY = Sampling("greedy", max_tokens=8, min_tokens=0, repetition_penalty=1.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: write(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def settings(folder, **more):
    return CaptionerSettings(weights=str(folder), **{"precision": "fp32", "device": "cpu", **more})


@pytest.fixture(scope="module")
def opened(folders):
    return {kind: open_captioner(settings(folders[kind])) for kind in KINDS}


def published(model, pixels, prompt="", **options):
    """As transformers writes it: the text, its tokens, and how likely the bare model holds it."""
    inputs = model.inputs.processor(images=Image.fromarray(pixels), text=prompt, return_tensors="pt")
    with torch.inference_mode():
        found = model.writer._model.generate(
            **inputs, return_dict_in_generate=True, output_logits=True, **{"max_new_tokens": 8, **options}
        )
    likely = model.writer._model.language_model.compute_transition_scores(
        found.sequences, found.logits, getattr(found, "beam_indices", None), normalize_logits=True
    )
    answers = []
    for row, own in zip(found.sequences.tolist(), likely.tolist(), strict=True):
        row = row[len(row) - len(own) :]
        ended = row.index(EOS) if EOS in row else len(row)
        text = model.inputs.processor.tokenizer.decode(row[:ended], skip_special_tokens=True).strip()
        answers.append((text, ended, sum(own[: ended + 1])))
    return answers


def told(captions):
    return [[(one.text, one.tokens, pytest.approx(one.log_probability, abs=1e-3)) for one in own] for own in captions]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["", "a picture of"])
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_captions_are_those_of_transformers(opened, kind, prompt, penalty):
    model = opened[kind]
    sampling = replace(GREEDY, prompt=prompt, repetition_penalty=penalty)
    found = model.generate([model.prepare(pixels) for pixels in PICTURES], 1, sampling, SEEDS)
    options = {"do_sample": False, "repetition_penalty": penalty}
    assert [published(model, pixels, prompt, **options) for pixels in PICTURES] == told(found)
    assert len({own[0].text for own in found}) > 2


@pytest.mark.parametrize("kind", KINDS)
def test_beams_are_those_of_transformers(opened, kind):
    model = opened[kind]
    sampling = replace(GREEDY, method="beam", beams=3, min_tokens=3)
    found = model.generate([model.prepare(pixels) for pixels in PICTURES[:4]], 3, sampling, SEEDS[:4])
    options = {"num_beams": 3, "num_return_sequences": 3, "min_new_tokens": 3}
    assert [published(model, pixels, **options) for pixels in PICTURES[:4]] == told(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 3])
def test_captions_do_not_depend_on_neighbours(folders, kind, n):
    model = open_captioner(settings(folders[kind], precision="bf16"))
    sampling = Sampling(max_tokens=8, min_tokens=2)
    images = [model.prepare(pixels) for pixels in PICTURES]
    whole = model.generate(images, n, sampling, SEEDS)
    for number in (0, 3, 10):
        assert model.generate([images[number]], n, sampling, [SEEDS[number]])[0] == whole[number]
    assert model.generate(images[::-1], n, sampling, SEEDS[::-1])[::-1] == whole
    assert len({one.text for own in whole for one in own}) >= len(images)


def test_a_picture_is_encoded_once_for_all_its_captions(opened):
    model, seen = opened["blip2_opt"], []
    hook = model.writer._model.vision_model.register_forward_hook(lambda *call: seen.append(len(call[1][0])))
    try:
        model.generate([model.prepare(PICTURES[0])], ROWS["cpu"], Sampling(max_tokens=4, min_tokens=0), [1])
    finally:
        hook.remove()
    assert seen == [1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("inside", "outside"), [(EOS, 7), (7, EOS), ([EOS, 7], EOS)])
def test_a_text_ends_where_transformers_ends_it(folders, tmp_path, kind, inside, outside):
    """The language model in it has ends of its own, which count."""
    from transformers import AutoModelForImageTextToText

    folder = shutil.copytree(folders[kind], tmp_path / "m")
    for name, end in (("config.json", inside), ("generation_config.json", outside)):
        about = json.loads((folder / name).read_text("utf-8"))
        about.get("text_config", about)["eos_token_id"] = end
        (folder / name).write_text(json.dumps(about))
    plain = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    model = open_captioner(settings(folder))
    sampling = replace(GREEDY, max_tokens=30)
    found = model.generate([model.prepare(pixels) for pixels in PICTURES[:6]], 1, sampling, SEEDS[:6])
    for pixels, (one,) in zip(PICTURES, found, strict=False):
        inputs = model.inputs.processor(images=Image.fromarray(pixels), text="", return_tensors="pt")
        wanted = plain.generate(**inputs, do_sample=False, max_new_tokens=30)[0].tolist()
        ended = len(wanted) - int(kind == "blip2_t5") - (inputs["input_ids"].shape[1] if kind == "blip2_opt" else 0)
        assert one.tokens + (one.finish == "stop") == ended


def test_the_prompt_is_in_no_caption(opened):
    sampling = Sampling(max_tokens=8, prompt="Describe this image in one sentence .")
    for model in opened.values():
        for own in model.generate([model.prepare(pixels) for pixels in PICTURES[:3]], 2, sampling, SEEDS[:3]):
            assert not any(one.text.startswith("Describe this image") for one in own)


def test_a_whole_folder_is_taken_by_this_back_end(folders):
    for folder in folders.values():
        require_captioner(settings(folder, max_tokens=8))
        assert captioner_digest(settings(folder)) == blip2.captioner_digest(settings(folder))


def without_the_picture(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"image_token_index": None}))


def without_queries(folder):
    path = folder / "processor_config.json"
    about = json.loads(path.read_text("utf-8"))
    about.pop("num_query_tokens")
    path.write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_the_picture, "which token stands for the picture"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "vocabulary"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: (folder / "processor_config.json").unlink(), "preprocessor_config.json"),
    ],
)
def test_a_broken_folder_is_refused(folders, tmp_path, change, words):
    folder = shutil.copytree(folders["blip2_opt"], tmp_path / "m")
    change(folder)
    for ask in (require_captioner, open_captioner):
        with pytest.raises(ConfigError, match=words):
            ask(settings(folder))


def test_a_processor_that_does_not_know_its_queries_is_told_them(folders, opened, tmp_path):
    folder = shutil.copytree(folders["blip2_opt"], tmp_path / "m")
    without_queries(folder)
    model = open_captioner(settings(folder))
    image = model.prepare(PICTURES[0])
    assert model.generate([image], 1, GREEDY, [0]) == opened["blip2_opt"].generate([image], 1, GREEDY, [0])


def test_more_tokens_than_places_and_boxes_are_refused(folders):
    with pytest.raises(ConfigError, match="max_tokens = 9"):
        require_captioner(settings(folders["blip2_opt"], max_tokens=95))
    require_captioner(settings(folders["blip2_t5"], max_tokens=95))
    with pytest.raises(ConfigError, match="boxes"):
        require_captioner(settings(folders["blip2_opt"], boxes=True))
