"""Captions with boxes: what Florence-2 is asked about a caption, in which pieces, and what becomes of its answers."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_vlm import picture, write

from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, Sampling
from curate.models.decoding import Decoded
from curate.models.florence_boxes import GROUNDING
from curate.models.open_captioner import open_captioner, require_captioner
from curate.models.vlm_grounding import Grounding
from curate.models.vlm_units import Rows

PICTURES = [picture(seed) for seed in range(6)]
TASK = "Locate the phrases in the caption : "


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("florence2"), "florence2")
    own = CaptionerSettings(weights=str(folder), precision="fp32", device="cpu", boxes=True)
    require_captioner(own)
    return open_captioner(own)


class Says:
    """A writer that answers each question with a box for its last word, and notes what it was asked."""

    def __init__(self, writer, most=100):
        self.where, self.kind, self.config, self.asked, self.most = writer.where, writer.kind, writer.config, [], most

    def write(self, inputs, n, sampling, draws):
        assert (n, sampling.method, draws) == (1, "greedy", None)
        questions = [row[told].tolist() for row, told in zip(*self._read(inputs), strict=True)]
        self.asked.append([len(questions), inputs["input_ids"].shape[1]])
        self.questions += questions
        if len(questions) > self.most:
            raise MemoryError
        return [[Decoded([question[-2], *self._box(len(question))], 0.0, "stop")] for question in questions]

    def _read(self, inputs):
        return inputs["input_ids"], inputs["attention_mask"].bool()

    def _box(self, length):
        return [self.first + number for number in (length, 2, 999, 998)]


def captions(*texts):
    return [[Generated(text, -1.0, len(text.split()), "stop") for text in own] for own in texts]


def asking(model, most=100):
    says = Says(model.writer, most)
    says.questions = []
    says.first = model.inputs.processor.tokenizer.convert_tokens_to_ids("<loc_0>")
    return Grounding(model.inputs, says), says


def test_the_question_is_the_processor_s_own(model):
    from PIL import Image

    text = "two dog on a mat"
    wanted = model.inputs.processor(images=Image.fromarray(PICTURES[0]), text=GROUNDING + text, return_tensors="pt")
    assert model.grounding.question(text) == wanted["input_ids"][0].tolist()


def test_a_long_caption_is_asked_about_in_part(model):
    assert len(model.grounding.question("dog " * 5_000)) == 256
    assert len(model.grounding.question("{input} {0} <loc_5> %s")) < 60


def test_each_caption_has_its_own_phrases_and_one_of_no_text_is_not_asked_about(model):
    grounding, says = asking(model)
    given = captions(["a dog", "", "two cat"], ["red house"], [])
    images = [model.prepare(pixels) for pixels in PICTURES[:3]]
    found = grounding.grounded(images, given, Rows(model.writer.where))
    length = len(model.grounding.question("a dog"))
    assert [[[phrase.words for phrase in one.phrases] for one in own] for own in found] == [
        [["dog"], [], ["cat"]],
        [["house"]],
        [],
    ]
    assert found[0][0].phrases[0].box == pytest.approx(((length + 0.5) / 1000, 0.0025, 0.9995, 0.9985))
    assert [[(one.text, one.log_probability) for one in own] for own in found] == [
        [(one.text, one.log_probability) for one in own] for own in given
    ]
    assert says.asked == [[16, 32]]
    assert grounding.question("a dog") in says.questions
    assert grounding.question("") not in says.questions


def test_questions_of_one_length_go_through_in_full_units(model):
    grounding, says = asking(model)
    given = captions(*[["dog"] * 6, ["dog " * 20] * 2] * 3)
    grounding.grounded([model.prepare(pixels) for pixels in PICTURES], given, Rows(model.writer.where))
    assert [rows for rows, _ in says.asked] == [16, 16, 16]
    lengths = [length for _, length in says.asked]
    assert lengths[0] == lengths[1] < lengths[2]
    assert all(length % 16 == 0 for length in lengths)


def test_without_memory_units_are_halved(model):
    grounding, says = asking(model, most=2)
    given = captions(*[["a dog"]] * 6)
    images = [model.prepare(pixels) for pixels in PICTURES]
    found = grounding.grounded(images, given, Rows(model.writer.where))
    assert [rows for rows, _ in says.asked] == [16, 8, 4, 2, 2, 2]
    assert all(own[0].phrases for own in found)
    grounding, _ = asking(model, most=0)
    with pytest.raises(MemoryError):
        grounding.grounded(images, given, Rows(model.writer.where))


def test_phrases_of_the_model_itself_do_not_depend_on_neighbours(model, monkeypatch):
    """A random model writes no boxes, so that what it writes is taken as it is."""
    import curate.models.vlm_grounding as module

    monkeypatch.setattr(module, "parse_boxes", lambda answer: (answer,))
    monkeypatch.setattr(model.grounding, "_answer", replace(model.grounding._answer, max_tokens=12))
    images = [model.prepare(pixels) for pixels in PICTURES]
    sampling, seeds = Sampling(max_tokens=6, min_tokens=1), range(6)
    whole = model.generate(images, 2, sampling, seeds)
    assert len({one.phrases for own in whole for one in own}) > 6
    assert [model.generate([image], 2, sampling, [seed])[0] for image, seed in zip(images, seeds, strict=True)] == whole
    assert model.generate(images[::-1], 2, sampling, seeds[::-1])[::-1] == whole


def test_boxes_are_asked_for_or_not(model, tmp_path, monkeypatch):
    monkeypatch.setattr(model.grounding, "_answer", replace(model.grounding._answer, max_tokens=12))
    plain = CaptionerSettings(weights=str(write(tmp_path, "florence2")), precision="fp32", device="cpu")
    other = open_captioner(plain)
    assert other.grounding is None
    images = [other.prepare(np.zeros((9, 9, 3), np.uint8))]
    sampling = Sampling(max_tokens=6)
    (one,), (same,) = other.generate(images, 1, sampling, [3])[0], model.generate(images, 1, sampling, [3])[0]
    assert (one.text, one.phrases) == (same.text, ())
