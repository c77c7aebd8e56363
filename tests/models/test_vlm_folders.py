"""Folders of models that write about pictures: what is refused, in words, before anything runs; digests and prompts."""

import json
import shutil
from copy import copy
from functools import cache

import numpy as np
import pytest
from tiny_vlm import tokenizer, write

from curate.errors import ConfigError
from curate.models import vlm
from curate.models.caption_settings import CaptionerSettings
from curate.models.open_captioner import open_captioner, require_captioner
from curate.models.vlm_prompts import default_prompt, prompt_text


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = write(tmp_path_factory.mktemp(kind), kind)
        return made[kind]

    return get


@pytest.fixture(scope="module")
def opened(folders):
    """Whole models, loaded once."""
    return cache(lambda kind: open_captioner(settings(folders(kind))))


@pytest.fixture
def copied(folders, tmp_path):
    """A copy that may be broken."""

    def get(kind):
        return shutil.copytree(folders(kind), tmp_path / kind)

    return get


def settings(folder, **more):
    return CaptionerSettings(weights=str(folder), **{"precision": "fp32", "device": "cpu", **more})


def edited(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes))


@pytest.mark.parametrize("kind", ["llava", "idefics3", "qwen2_vl", "florence2", "paligemma"])
def test_a_whole_folder_is_taken_by_the_generic_back_end(folders, opened, kind):
    require_captioner(settings(folders(kind), max_tokens=8))
    if kind in ("llava", "florence2"):  # which are opened for others too
        assert isinstance(opened(kind), vlm.Vlm)
        assert opened(kind).name == folders(kind).name


def lacks(name):
    def change(folder):
        (folder / name).unlink()

    return change


def no_pictures(folder):
    """A language model alone."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shutil.rmtree(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=20, **sizes)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def own_code(folder):
    edited(folder, "config.json", model_type="mine", auto_map={"AutoModelForCausalLM": "modeling.Mine"})


def cut_off(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-500])


def no_template(folder):
    (folder / "chat_template.jinja").write_text("{{ messages[3]['content'] }}{% if %}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lacks("config.json"), "config.json"),
        (lacks("model.safetensors"), "model.safetensors"),
        (lacks("tokenizer.json"), "vocabulary"),
        (lacks("processor_config.json"), "preprocessor_config.json"),
        (cut_off, "damaged"),
        (own_code, "code of its own"),
        (no_pictures, "'llama', which does not write text about a picture"),
        (no_template, "chat template"),
        (lambda folder: edited(folder, "config.json", image_token_index=None), "llava"),
    ],
)
def test_a_broken_folder_is_refused_with_what_to_do(copied, change, words):
    folder = copied("llava")
    change(folder)
    with pytest.raises(ConfigError, match=words):
        require_captioner(settings(folder))
    with pytest.raises(ConfigError, match=words):
        open_captioner(settings(folder))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"boxes": True}, "boxes"),
        ({"max_tokens": 600}, "max_tokens = 4[0-9][0-9]$"),
        ({"device": "cuda"}, "no GPU"),
        ({"revision": "abc"}, "revision"),
        ({"prompt": "x" * 30_000}, "prompt"),
    ],
)
def test_settings_that_the_model_cannot_do_are_refused(folders, more, words):
    import torch

    if more.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=words):
        require_captioner(settings(folders("llava"), **more))


@pytest.mark.parametrize(
    ("prompt", "fits"), [("", True), ("<DETAILED_CAPTION>", True), ("What is shown ?", True), ("<OD> cats", False)]
)
def test_florence_takes_tasks_and_refuses_words_beside_them(folders, prompt, fits):
    own = settings(folders("florence2"), prompt=prompt)
    if fits:
        return require_captioner(own)
    with pytest.raises(ConfigError, match="refuses prompt"):
        require_captioner(own)


def test_the_most_tokens_may_fill_all_places(folders):
    """LLaVA's 512 places hold picture, question and text; Florence-2's 256 the text, its start and what is forced."""
    with pytest.raises(ConfigError, match="max_tokens") as told:
        require_captioner(settings(folders("llava"), max_tokens=512))
    most = int(str(told.value).rpartition(" ")[2])
    require_captioner(settings(folders("llava"), max_tokens=most))
    for max_tokens, fits in ((254, True), (255, False)):
        own = settings(folders("florence2"), max_tokens=max_tokens, min_tokens=max_tokens)
        if fits:
            model = open_captioner(own)
            (one,) = model.generate([model.prepare(np.zeros((9, 9, 3), np.uint8))], 1, own.sampling, [1])[0]
            assert one.tokens == max_tokens
        else:
            with pytest.raises(ConfigError):
                require_captioner(own)


def test_a_question_for_which_there_is_no_place_is_refused(folders):
    """Of a model that reads the question apart from what it writes."""
    require_captioner(settings(folders("florence2"), prompt="dog " * 230))
    with pytest.raises(ConfigError, match="shorten the prompt"):
        require_captioner(settings(folders("florence2"), prompt="dog " * 240))


def test_a_place_for_a_picture_in_a_prompt_is_refused(folders, tmp_path):
    for folder in (folders("llava"), write(tmp_path, "blip2_opt")):
        with pytest.raises(ConfigError, match="has <image>, the place of the picture"):
            require_captioner(settings(folder, prompt="a <image> of"))


def test_a_processor_that_needs_a_package_says_which_and_why_it_is_not_here(folders, tmp_path, monkeypatch):
    """SmolVLM's, whether the package is here or not."""
    import transformers.models.smolvlm.processing_smolvlm as processing

    monkeypatch.setattr(processing, "num2words", None)
    folder = write(tmp_path, "idefics3")
    edited(
        folder,
        "processor_config.json",
        processor_class="SmolVLMProcessor",
        video_processor={"video_processor_type": "SmolVLMVideoProcessor"},
    )
    with pytest.raises(ConfigError, match=r"pip install num2words \(it is under the LGPL"):
        require_captioner(settings(folder))


def test_the_digest_is_of_every_file_and_of_the_default_prompt(folders, copied, monkeypatch):
    folder = copied("llava")
    first = vlm.captioner_digest(settings(folders("llava")))
    assert vlm.captioner_digest(settings(folder)) == first
    assert vlm.captioner_digest(settings(folder, seed=5)) == first
    monkeypatch.setattr(vlm, "default_prompt", lambda kind: "Look.")
    assert vlm.captioner_digest(settings(folder)) != first
    monkeypatch.undo()
    for name in ("chat_template.jinja", "processor_config.json", "tokenizer.json", "generation_config.json"):
        path = folder / name
        path.write_text(path.read_text("utf-8") + " ")
        second = vlm.captioner_digest(settings(folder))
        assert second != first
        first = second


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [
        ("florence2", "<CAPTION>"),
        ("paligemma", "caption en"),
        ("blip-2", ""),
        ("qwen2_vl", "Describe this image in one sentence."),
        ("some_new_model", "Describe this image in one sentence."),
    ],
)
def test_default_prompts(kind, prompt):
    assert default_prompt(kind) == prompt


ENDLESS = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
LONG = "{{ range(90000)|reject('in', range(90000)|list)|join }}"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (ENDLESS, "more than 0.05 s"),
        (LONG, "more than 0.05 s"),
        ("{{ 10 ** 10 ** 10 }}", "a power"),
        ("{{ 'a' * 99_999_999_999 }}", "number 99_999_999_999"),
        ("{{ 'a'.ljust(0xffffffff) }}", "number 0xffffffff"),
        ("a" * 200_001, "200,001 characters"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "recursion"),
        ("{{ raise_exception('not so') }}", "not so"),
        ({"tools": "a"}, "none has the name default"),
    ],
)
def test_a_template_that_asks_for_too_much_is_refused(opened, monkeypatch, template, words):
    import sys
    import time

    import curate.models.chat_template as module

    if "more than" in words:
        monkeypatch.setattr(module, "TEMPLATE_S", 0.05)
    processor = copy(opened("llava").inputs.processor)
    processor.chat_template = template
    began, before = time.thread_time(), sys.gettrace()
    with pytest.raises(ConfigError, match=words):
        prompt_text(processor, "llava", "dog")
    assert time.thread_time() - began < 1
    assert sys.gettrace() is before


def test_a_template_has_one_date_for_all_days(opened):
    processor = copy(opened("llava").inputs.processor)
    asks = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}\n" + processor.chat_template
    processor.chat_template = {"default": asks, "tools": "a"}
    text, _ = prompt_text(processor, "llava", "two dog")
    assert text == "26 Jul 2024<s>user : <image> two dog </s> assistant : "


class Plain:
    """A processor without a chat template."""

    chat_template = None
    image_token = "<img>"


def test_a_model_without_a_template_has_the_picture_before_the_words():
    assert prompt_text(Plain(), "some", "What is it?") == ("<img>What is it?", {})
    assert prompt_text(Plain(), "florence2", "") == ("<CAPTION>", {})
    assert prompt_text(Plain(), "blip-2", "a picture of") == ("a picture of", {})


def test_a_model_without_a_place_for_a_picture_is_refused():
    with pytest.raises(ConfigError, match="no token for a picture"):
        prompt_text(object(), "some", "What is it?")


def test_a_template_has_the_picture_the_words_and_the_start_of_the_answer_once(opened):
    model = opened("llava")
    words = model.inputs.processor.tokenizer
    ids = model.inputs.beside((0, 0), "two dog")["input_ids"][0].tolist()
    text = words.decode(ids)
    assert ids.count(words.bos_token_id) == 1
    assert text.split()[-5:] == ["two", "dog", "</s>", "assistant", ":"]
    assert text.count("<image>") == 16
    default = words.decode(model.inputs.beside((0, 0), "")["input_ids"][0].tolist())
    assert "Describe this image in one" in default


def test_the_ends_that_the_folder_names_end_a_text(copied):
    folder = copied("llava")
    edited(folder, "generation_config.json", eos_token_id=[3, 4], repetition_penalty=9.0, max_length=3)
    model = open_captioner(settings(folder))
    assert model.writer.ends == (3, 4)
    image = model.prepare(np.zeros((9, 9, 3), np.uint8))
    own = settings(folder, max_tokens=30, min_tokens=20).sampling
    captions = model.generate([image], 40, own, [1])[0]
    assert all(one.tokens >= 20 for one in captions)
    assert {one.finish for one in captions} == {"stop", "length"}
    only = copied("qwen2_vl")
    edited(only, "generation_config.json", eos_token_id=4)
    assert open_captioner(settings(only)).writer.ends == (4,)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("llava", {"eos_token_id": [], "pad_token_id": -1}),
        ("llava", {"eos_token_id": "x", "pad_token_id": 100_000}),
        ("llava", {"eos_token_id": [3.5, [3], -1, 10**30], "suppress_tokens": "ab", "bad_words_ids": 5}),
        ("llava", {"eos_token_id": True, "suppress_tokens": [100_000], "bad_words_ids": [[], [-1], ["a"]]}),
        ("florence2", {"decoder_start_token_id": [3], "forced_bos_token_id": 100_000}),
        ("florence2", {"decoder_start_token_id": 99_999, "forced_bos_token_id": -3, "eos_token_id": []}),
    ],
)
def test_what_is_no_token_of_the_model_counts_for_nothing(opened, copied, kind, names):
    """Its config.json names them rightly. Texts of different lengths, so that some go on with the padding."""
    folder = copied(kind)
    edited(folder, "generation_config.json", **names)
    own = settings(folder, max_tokens=12, min_tokens=0)
    require_captioner(own)
    model = open_captioner(own)
    assert model.writer.ends == (3,)
    images = [model.prepare(np.full((40, 40, 3), shade, np.uint8)) for shade in (0, 255)]
    found = model.generate(images, 8, own.sampling, [1, 2**64 - 1])
    if kind == "llava":
        assert {one.finish for each in found for one in each} == {"stop", "length"}
        assert found == opened(kind).generate(images, 8, own.sampling, [1, 2**64 - 1])


@pytest.mark.parametrize("kind", ["llava", "florence2"])
@pytest.mark.parametrize("method", ["nucleus", "beam", "greedy"])
def test_what_the_folder_says_about_decoding_is_set_aside(opened, copied, kind, method):
    folder = copied(kind)
    odd = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "min_length": 40, "max_length": 3, "temperature": 9.0}
    odd |= {"num_beams": 4, "length_penalty": -9.0, "early_stopping": True, "do_sample": True, "top_k": 1, "top_p": 0.1}
    odd |= {"num_return_sequences": 2, "exponential_decay_length_penalty": [0, 9.0], "renormalize_logits": True}
    odd |= {"forced_bos_token_id": 7} if kind == "llava" else {}
    edited(folder, "generation_config.json", **odd)
    own = settings(folder, method=method, max_tokens=8, min_tokens=0).sampling
    plain, other = opened(kind), open_captioner(settings(folder))
    n = 1 if method == "greedy" else 2
    images = [plain.prepare(np.full((40, 40, 3), shade, np.uint8)) for shade in (0, 90, 255)]
    assert other.generate(images, n, own, [1, 2, 3]) == plain.generate(images, n, own, [1, 2, 3])


def test_a_model_and_a_processor_that_do_not_go_together_are_refused_when_opened(copied):
    folder = copied("llava")
    about = json.loads((folder / "processor_config.json").read_text("utf-8"))
    about["image_processor"] |= {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    (folder / "processor_config.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="cannot write about a picture"):
        open_captioner(settings(folder))
