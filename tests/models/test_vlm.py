"""Models of pictures and text against transformers asked one picture at a time; what captions must not depend on."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tiny_vlm import EOS, KINDS, MORE_KINDS, picture, write

from curate.models import vlm
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Sampling
from curate.models.vlm_units import ROWS, Rows

SIZES = [(48, 40), (40, 48), (90, 33), (47, 39), (41, 40), (64, 64), (48, 41), (30, 30), (50, 40)]
PICTURES = [picture(seed, *size) for seed, size in enumerate(SIZES)]
SEEDS = [3, 2**64 - 1, 5, 0, 11, 12, 13, 14, 15]
DRAWN = Sampling("nucleus", max_tokens=9, min_tokens=2)
SHORT = replace(DRAWN, max_tokens=6)
GREEDY = Sampling("greedy", max_tokens=9, min_tokens=0, repetition_penalty=1.0)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Models by kind and settings, written and loaded once."""
    made = {}

    def get(kind, **settings):
        key = (kind, *settings.items())
        if kind == "smolvlm":
            pytest.importorskip("num2words", reason="SmolVLM's processor needs the package num2words")
        if kind not in made:
            made[kind] = write(tmp_path_factory.mktemp(kind), kind)
        if key not in made:
            own = {"precision": "fp32", "device": "cpu", **settings}
            made[key] = vlm.open_captioner(CaptionerSettings(weights=str(made[kind]), **own))
        return made[key]

    return get


def asked_alone(model, pixels):
    """Inputs for one picture as transformers' own processor makes them."""
    from PIL import Image

    processor = model.inputs.processor
    text = {"florence2": "<CAPTION>", "paligemma": "<image> caption en", "git": ""}.get(model.writer.config.model_type)
    image = Image.fromarray(pixels)
    if text == "":  # as GIT's page has it: it starts by itself
        return {"pixel_values": processor(images=image, return_tensors="pt")["pixel_values"]}
    if text is not None:
        return processor(images=image, text=text, return_tensors="pt")
    words = [{"type": "image", "image": image}, {"type": "text", "text": "Describe this image in one sentence."}]
    return processor.apply_chat_template(
        [{"role": "user", "content": words}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def in_form(model, pixels):
    """The picture in its form, where the model has forms."""
    from PIL import Image

    form = model.prepare(pixels).form
    return pixels if form == (0, 0) else np.asarray(Image.fromarray(pixels).resize(form, Image.Resampling.BICUBIC))


def published(model, pixels, **options):
    """What transformers writes of one picture: texts, numbers of tokens, ends, log-probabilities of the bare model."""
    import torch

    inputs = asked_alone(model, in_form(model, pixels))
    with torch.inference_mode():
        found = model.writer._model.generate(
            **inputs, return_dict_in_generate=True, output_logits=True, max_new_tokens=options.pop("tokens"), **options
        )
    start = inputs["input_ids"].shape[1] if "input_ids" in inputs else 1
    start = 2 if model.writer.config.is_encoder_decoder else start
    beams = getattr(found, "beam_indices", None)
    likely = model.writer._model.compute_transition_scores(found.sequences, found.logits, beams, normalize_logits=True)
    answers = []
    for row, own in zip(found.sequences[:, start:].tolist(), likely.tolist(), strict=True):
        own = own[len(own) - len(row) :]
        ended = row.index(EOS) if EOS in row else len(row)
        text = model.inputs.processor.tokenizer.decode(row[:ended], skip_special_tokens=True).strip()
        answers.append((text, ended, "stop" if ended < len(row) else "length", sum(own[: ended + 1])))
    return answers


def told(captions):
    return [
        [(one.text, one.tokens, one.finish, pytest.approx(one.log_probability, abs=1e-3)) for one in own]
        for own in captions
    ]


@pytest.mark.parametrize("kind", KINDS + MORE_KINDS)
def test_greedy_captions_are_those_of_transformers(opened, kind):
    model = opened(kind)
    pictures = PICTURES[:5]
    found = model.generate([model.prepare(pixels) for pixels in pictures], 1, GREEDY, SEEDS[:5])
    forced = int(kind == "florence2")
    wanted = [published(model, pixels, do_sample=False, tokens=9 + forced) for pixels in pictures]
    assert wanted == told(found)
    assert len({own[0].text for own in found}) > 1


@pytest.mark.parametrize("kind", ["llava", "florence2", "qwen2_vl"])
def test_penalty_and_least_length_are_those_of_transformers(opened, kind):
    model = opened(kind)
    sampling = replace(GREEDY, repetition_penalty=1.5, min_tokens=6)
    found = model.generate([model.prepare(pixels) for pixels in PICTURES[:4]], 1, sampling, SEEDS[:4])
    forced = int(kind == "florence2")
    options = {"do_sample": False, "repetition_penalty": 1.5, "min_new_tokens": 6 + forced, "tokens": 9 + forced}
    assert [published(model, pixels, **options) for pixels in PICTURES[:4]] == told(found)


@pytest.mark.parametrize("kind", KINDS)
def test_beams_are_those_of_transformers(opened, kind):
    model = opened(kind)
    sampling = replace(GREEDY, method="beam", beams=3)
    found = model.generate([model.prepare(pixels) for pixels in PICTURES[:5]], 2, sampling, SEEDS[:5])
    options = {"do_sample": False, "num_beams": 3, "num_return_sequences": 2, "tokens": 9 + (kind == "florence2")}
    assert [published(model, pixels, **options) for pixels in PICTURES[:5]] == told(found)


def test_one_beam_is_greedy(opened):
    model = opened("llava")
    images = [model.prepare(pixels) for pixels in PICTURES[:3]]
    beam = replace(GREEDY, method="beam", beams=1)
    assert model.generate(images, 1, beam, SEEDS[:3]) == model.generate(images, 1, GREEDY, SEEDS[:3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("sampling", "n"),
    [(SHORT, 1), (SHORT, 3), (replace(SHORT, method="beam", beams=2), 2), (replace(SHORT, method="greedy"), 1)],
    ids=["one", "three", "beams", "greedy"],
)
def test_captions_do_not_depend_on_neighbours_order_or_calls(opened, kind, sampling, n):
    model = opened(kind, precision="bf16")
    images = [model.prepare(pixels) for pixels in PICTURES]
    whole = model.generate(images, n, sampling, SEEDS)
    assert [len(own) for own in whole] == [n] * len(images)
    for number in (0, 2, 5, 8):
        assert model.generate([images[number]], n, sampling, [SEEDS[number]])[0] == whole[number]
    images, seeds = images[::-1], SEEDS[::-1]
    parts = model.generate(images[:4], n, sampling, seeds[:4]) + model.generate(images[4:], n, sampling, seeds[4:])
    assert parts[::-1] == whole


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
def test_more_captions_than_rows_go_on_with_the_next_ones(opened, kind):
    model = opened(kind)
    images = [model.prepare(pixels) for pixels in PICTURES[:2]]
    some = model.generate(images, ROWS["cpu"], DRAWN, SEEDS[:2])
    more = model.generate(images, 2 * ROWS["cpu"] + 3, DRAWN, SEEDS[:2])
    assert [own[: ROWS["cpu"]] for own in more] == some
    assert [len(own) for own in more] == [2 * ROWS["cpu"] + 3] * 2
    assert len({one.text for one in more[0]}) > ROWS["cpu"]


def test_a_seed_is_all_that_is_drawn_by(opened):
    import torch

    model = opened("llava")
    image = model.prepare(PICTURES[0])
    state = torch.random.get_rng_state()
    first = model.generate([image, image], 1, DRAWN, [7, 8])
    torch.manual_seed(99)
    assert model.generate([image, image], 1, DRAWN, [7, 8]) == first
    assert first[0] != first[1]
    torch.random.set_rng_state(state)


@pytest.mark.parametrize("change", [{"top_p": 1e-6}, {"method": "top_k", "top_k": 1}])
def test_a_draw_from_one_token_is_greedy(opened, change):
    model = opened("llava")
    images = [model.prepare(pixels) for pixels in PICTURES[:3]]
    drawn = model.generate(images, 2, replace(DRAWN, **change), SEEDS[:3])
    likeliest = model.generate(images, 1, replace(DRAWN, method="greedy"), SEEDS[:3])
    assert [[one.text for one in own] for own in drawn] == [[own[0].text] * 2 for own in likeliest]


def test_a_model_that_answers_nothing_has_an_empty_caption(opened):
    model = opened("llava")
    silent = replace(DRAWN, min_tokens=0, stop_probability=1e-6)
    (one,) = model.generate([model.prepare(PICTURES[0])], 1, silent, [1])[0]
    assert (one.text, one.tokens, one.finish) == ("", 0, "stop")
    assert one.log_probability < 0


def test_a_text_is_whole_and_cut_off_only_by_the_most_tokens(opened):
    model = opened("qwen2_vl")
    (long,) = model.generate([model.prepare(PICTURES[0])], 1, Sampling(max_tokens=60, min_tokens=60), [1])[0]
    assert (long.tokens, long.finish) == (60, "length")
    assert len(long.text.split()) > 40
    assert long.text == long.text.strip()
    assert not any(word in long.text for word in ("<|image_pad|>", "</s>", "<pad>"))


def test_no_pictures_are_no_captions(opened):
    assert opened("llava").generate([], 3, DRAWN, []) == []


@pytest.mark.parametrize(
    ("n", "sampling", "words"),
    [
        (2, GREEDY, "greedy"),
        (4, replace(GREEDY, method="beam", beams=3), "beam"),
        (0, DRAWN, "0 captions"),
        (1, replace(DRAWN, max_tokens=4096), "max_tokens"),
        (1, replace(DRAWN, prompt="x " * 20_000), "prompt has"),
    ],
)
def test_what_a_model_cannot_do_is_refused(opened, n, sampling, words):
    model = opened("llava")
    with pytest.raises(ValueError, match=words):
        model.generate([model.prepare(PICTURES[0])], n, sampling, [1])


class Tight:
    """A writer that has memory for so many rows; it notes how many it was asked for."""

    def __init__(self, writer, most, error):
        self.writer, self.most, self.error, self.asked = writer, most, error, []
        self.where, self.kind = writer.where, writer.kind

    def write(self, inputs, n, sampling, draws):
        rows = len(inputs["input_ids"]) * (sampling.beams if sampling.method == "beam" else n)
        self.asked.append(rows)
        if rows > self.most:
            raise self.error
        return self.writer.write(inputs, n, sampling, draws)


def tight(model, most, error):
    """The same model with less memory."""
    import copy

    own = copy.copy(model)
    own.writer, own.rows = Tight(model.writer, most, error), Rows(model.writer.where)
    return own


@pytest.mark.parametrize(
    ("n", "most", "units", "words"),
    [
        (1, 3, [16, 8, 4, 2], "CUDA out of memory"),
        (3, 3, [15, 6, 3], "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
        (20, 5, [16, 8, 4], "CUDA out of memory"),
        (2, 1, [16, 8, 4, 2, 1], "CUDA out of memory"),
    ],
)
def test_without_memory_the_unit_is_halved(opened, n, most, units, words):
    model = opened("llava")
    images = [model.prepare(pixels) for pixels in PICTURES[:5]]
    small = tight(model, most, RuntimeError(words))
    found = small.generate(images, n, DRAWN, SEEDS[:5])
    assert list(dict.fromkeys(small.writer.asked)) == units
    assert [[one.text for one in own] for own in found] == [
        [one.text for one in own] for own in model.generate(images, n, DRAWN, SEEDS[:5])
    ]


def test_a_picture_for_which_there_is_no_memory_raises(opened):
    import torch

    small = tight(opened("llava"), 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        small.generate([small.prepare(PICTURES[0])], 1, DRAWN, [1])
    with pytest.raises(torch.OutOfMemoryError):
        small.generate([small.prepare(PICTURES[0])], 2, replace(DRAWN, method="beam"), [1])


def test_another_failure_is_not_taken_for_memory(opened):
    import torch

    small = tight(opened("llava"), 0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        small.generate([small.prepare(PICTURES[0])], 1, DRAWN, [1])
    broken = tight(opened("llava"), 0, torch.AcceleratorError("CUDA error: an illegal memory access"))
    with pytest.raises(SystemExit, match="GPU"):
        broken.generate([broken.prepare(PICTURES[0])], 1, DRAWN, [1])


def test_pictures_of_one_form_go_through_together(opened):
    model = opened("qwen2_vl")
    counted = tight(model, 100, RuntimeError())
    counted.generate([model.prepare(picture(seed, 48, 40)) for seed in range(4)], 1, DRAWN, SEEDS[:4])
    assert counted.writer.asked == [2, 2]
    counted = tight(opened("llava"), 100, RuntimeError())
    counted.generate([counted.prepare(pixels) for pixels in PICTURES], 1, DRAWN, SEEDS)
    assert counted.writer.asked == [16]


def test_threads_prepare_what_one_thread_prepares(opened):
    from concurrent.futures import ThreadPoolExecutor

    for kind in ("idefics3", "qwen2_vl", "florence2"):
        prepare = opened(kind).prepare
        alone = [prepare(pixels) for pixels in PICTURES]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(partial(prepare), PICTURES * 3))
        for one, other in zip(alone * 3, together, strict=True):
            assert one.form == other.form
            assert np.array_equal(one.values, other.values)
