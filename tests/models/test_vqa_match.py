"""VQAScore against transformers' own forward on the whole question, for models of eight kinds; hostile texts; units."""

import json
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vlm
import torch
from PIL import Image
from tiny_vlm import picture

import curate.models.vqa_match
from curate.errors import ConfigError
from curate.models.caption_settings import MatcherSettings
from curate.models.hf_folder import load_model
from curate.models.vlm_inputs import Inputs
from curate.models.vlm_pictures import ALIKE
from curate.models.vlm_prompts import prompt_text
from curate.models.vqa_match import VqaMatching, matcher_digest, require_matcher

QUESTION = "Does this picture show {text} ? answer Yes or No ."
WORDS = ("Yes", "No", "Does", "show", "or", "answer")
TEXTS = ["a red dog", "two blue bird in the house with a tree", "a", "the small cat sits on a street . " * 3]
KINDS = ("llava", "llava_onevision", "idefics3", "qwen2_vl", "qwen3_vl", "paligemma", "blip2_opt", "blip2_t5")


def asked(path: Path, **changes) -> MatcherSettings:
    return MatcherSettings(
        weights=str(path), head="vqa", precision="fp32", device="cpu", **{"question": QUESTION, **changes}
    )


def write(folder: Path, kind: str, words: tuple[str, ...] = WORDS) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_vlm, "WORDS", (*tiny_vlm.WORDS, *words))
        return tiny_vlm.write(folder, kind)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder and matcher of a kind, made once."""
    found: dict[str, tuple[Path, VqaMatching]] = {}

    def of(kind: str) -> tuple[Path, VqaMatching]:
        if kind not in found:
            path = write(tmp_path_factory.mktemp("vqa") / kind, kind)
            found[kind] = path, VqaMatching(asked(path))
        return found[kind]

    return of


@lru_cache(maxsize=1)
def loaded(path: Path, changed_ns: int) -> tuple[Any, Any]:
    """transformers' model and processor of a folder."""
    model = load_model(path, "AutoModelForImageTextToText")
    return model, Inputs(path, model.config).processor


def published(matcher: VqaMatching, path: Path, image: np.ndarray, text: str) -> float:
    """The model's own forward for one question without padding: the softmax of what comes next, at "Yes"."""
    model, processor = loaded(path, max(file.stat().st_mtime_ns for file in path.iterdir()))
    question, options = prompt_text(processor, model.config.model_type, QUESTION.replace("{text}", text.strip()))
    form = matcher.prepare(image).form
    view = Image.fromarray(image) if form == ALIKE else Image.fromarray(image).resize(form, Image.Resampling.BICUBIC)
    inputs = processor(images=view, text=question, return_tensors="pt", **options)
    if "t5" in str(path):
        inputs["decoder_input_ids"] = torch.tensor([[tiny_vlm.PAD]])
    with torch.inference_mode():
        logits = model(**inputs).logits[0, -1]
    known = processor.tokenizer.get_vocab()
    return float(sum(logits.softmax(-1)[known[form]] for form in ("Yes", "ĠYes", "▁Yes") if form in known))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_probability_of_yes_as_the_next_token(made, kind):
    path, matcher = made(kind)
    require_matcher(asked(path))
    images = [picture(0), picture(1, 70, 40)]
    found = matcher.match([matcher.prepare(image) for image in images], [TEXTS, TEXTS[:1]])
    assert [own.dtype for own in found] == [np.float32] * 2
    for image, own, texts in zip(images, found, (TEXTS, TEXTS[:1]), strict=True):
        wanted = [published(matcher, path, image, text) for text in texts]
        np.testing.assert_allclose(own, wanted, rtol=1e-4)
    assert np.ptp(found[0]) > 0.1 * found[0].max(), "texts make a difference"
    assert matcher._units.lengths[0] == 16, "padded, and the same"


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
def test_a_score_does_not_depend_on_its_neighbours(made, kind):
    _, matcher = made(kind)
    views = [matcher.prepare(picture(seed, *size)) for seed, size in enumerate([(48, 40), (40, 48), (48, 40)])]
    alone = [[matcher.match([view], [[text]])[0][0] for text in TEXTS] for view in views]
    for order in ([0, 1, 2], [2, 0, 1], [1, 2]):
        found = matcher.match([views[row] for row in order], [TEXTS[::-1]] * len(order))
        assert [own.tolist()[::-1] for own in found] == [alone[row] for row in order]


def test_pairs_that_come_again_are_asked_once(made, monkeypatch):
    _, matcher = made("llava")
    rows, judge = [], matcher.judge
    monkeypatch.setattr(matcher, "judge", lambda *own: rows.append(own[1]) or judge(*own))
    view = matcher.prepare(picture(0))
    found = matcher.match([view, view], [["a red dog"] * 6, []])
    assert rows == [[0] * 4], "one unit, filled up"
    assert found[0].tolist() == [found[0][0]] * 6
    assert found[1].shape == (0,)
    assert matcher.match([], []) == []


@pytest.mark.parametrize("text", ["", " ", "\n\t ", " " * 1_000_000])
def test_a_text_without_a_word_has_no_probability(made, text):
    _, matcher = made("llava")
    found = matcher.match([matcher.prepare(picture(0))], [["a red dog", text]])[0]
    assert np.isfinite(found).tolist() == [True, False]


@pytest.mark.parametrize("kind", ["llava", "idefics3", "paligemma"])
@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000, "a dog " * 200_000, "!!!", "<image>", "</s> <image> <s>" * 20, "{text}", "{{ 1/0 }}", "\ud800"],
)
def test_hostile_texts_have_a_finite_one(made, kind, text):
    _, matcher = made(kind)
    assert np.isfinite(matcher.match([matcher.prepare(picture(0))], [[text]])[0]).all()


@pytest.mark.parametrize("text", ["<image> a dog", "a </s> dog", "<s>", "<<image>image>", "<pad>" * 9])
def test_a_token_of_the_model_in_a_text_stays_words(made, text):
    _, matcher = made("llava")
    plain = matcher._questions.read(ALIKE, "a dog")["input_ids"][0].tolist()
    found = matcher._questions.read(ALIKE, text)["input_ids"][0].tolist()
    for token in (tiny_vlm.PAD, tiny_vlm.BOS, tiny_vlm.EOS, plain[4]):
        assert found.count(token) == plain.count(token)


@pytest.mark.parametrize("kind", ["idefics3", "qwen2_vl"])
def test_the_grey_picture_of_a_form_is_made_ready_once(made, monkeypatch, kind):
    _, matcher = made(kind)
    questions, forms = matcher._questions, [matcher.prepare(picture(0, *size)).form for size in ((48, 40), (40, 90))]
    first = [questions.read(form, text) for form in forms for text in ("a dog", "a red dog")]
    own = questions._grey._own

    class Asked:
        def __call__(self, *views, **options):
            pytest.fail("asked again")

        def __getattr__(self, name):
            return getattr(own, name)

    monkeypatch.setattr(questions._grey, "_own", Asked())
    again = [questions.read(form, text) for form in forms for text in ("a dog", "a red dog")]
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert len({one["input_ids"].shape[1] for one in first}) >= 2


def test_a_text_that_is_more_than_words_all_the_same_has_no_probability(made, monkeypatch):
    _, matcher = made("llava")
    monkeypatch.setattr(matcher._questions, "_written", re.compile("(?!)"))
    found = matcher.match([matcher.prepare(picture(0))], [["a dog", "a </s> dog", "<pad>", "<image>"]])[0]
    assert np.isfinite(found).tolist() == [True, False, False, False]


def test_of_a_text_the_first_tokens_are_read(made):
    _, matcher = made("llava")
    whole, cut = matcher.match([matcher.prepare(picture(0))], [["a dog " * 900, "a dog " * 128]])[0]
    assert whole == cut
    assert matcher.match([matcher.prepare(picture(0))], [["a dog " * 127]])[0][0] != cut


def test_a_model_that_minds_padding_has_none(made, monkeypatch):
    path, matcher = made("llava")
    view = matcher.prepare(picture(0))
    wanted, plain = matcher.match([view], [TEXTS])[0], VqaMatching._padded

    def minded(self, values, length, fill):
        return plain(self, values, length, 1 if values.min() == values.max() == 1 else fill)  # pads are looked at

    monkeypatch.setattr(VqaMatching, "_padded", minded)
    other = VqaMatching(asked(path))
    assert other._units.lengths[0] == 1
    np.testing.assert_allclose(other.match([view], [TEXTS])[0], wanted, rtol=1e-4)


@pytest.mark.parametrize(
    ("spelled", "known"), [(("Yes",), 1), (("ĠYes",), 1), (("▁Yes", "Yes"), 2), (("yes", "YES", "Yes!"), 0)]
)
def test_the_answer_is_told_with_and_without_a_space(tmp_path, spelled, known):
    path = write(tmp_path, "llava", spelled)
    if known:
        matcher = VqaMatching(asked(path))
        assert len(matcher._questions.answers) == known
        found = matcher.match([matcher.prepare(picture(0))], [TEXTS[:1]])[0]
        np.testing.assert_allclose(found, [published(matcher, path, picture(0), TEXTS[0])], rtol=1e-4)
        return
    for call in (require_matcher, VqaMatching):
        with pytest.raises(ConfigError, match="no token for the answer 'Yes'"):
            call(asked(path))


def test_the_question_is_asked(made):
    path, matcher = made("llava")
    other = VqaMatching(asked(path, question="{text} is shown ?"))
    view = matcher.prepare(picture(0))
    assert other.match([view], [["a red dog"]])[0] != matcher.match([view], [["a red dog"]])[0]


def test_without_memory_units_are_halved(made, monkeypatch):
    path, whole = made("llava")
    matcher, sizes = VqaMatching(asked(path)), []
    judge = matcher.judge
    views = [matcher.prepare(picture(seed)) for seed in range(3)]

    def short(*own):
        sizes.append(len(own[1]))
        if sizes[-1] > 1:
            raise RuntimeError("CUDA out of memory")
        return judge(*own)

    monkeypatch.setattr(matcher, "judge", short)
    ours, wanted = (one.match(views, [TEXTS] * 3) for one in (matcher, whole))
    np.testing.assert_allclose(np.stack(ours), np.stack(wanted), rtol=1e-4)
    assert sizes[:3] == [4, 2, 1]


def test_in_bfloat16_scores_are_near(made, monkeypatch):
    path, matcher = made("llava")
    monkeypatch.setattr(curate.models.vqa_match, "computes", lambda precision, where: torch.bfloat16)
    half = VqaMatching(asked(path))
    view = matcher.prepare(picture(0))
    np.testing.assert_allclose(half.match([view], [TEXTS])[0], matcher.match([view], [TEXTS])[0], rtol=0.2)
    assert half._units.lengths[0] == 16


def test_what_the_folder_says_about_decoding_is_set_aside(made, tmp_path):
    path, matcher = made("llava")
    other = shutil.copytree(path, tmp_path / "other")
    (other / "generation_config.json").write_text(
        '{"num_beams": 4, "num_return_sequences": 2, "do_sample": true, "temperature": 5.0, "max_length": 1}'
    )
    view = matcher.prepare(picture(0))
    found = VqaMatching(asked(other)).match([view], [TEXTS])[0]
    assert found.tolist() == matcher.match([view], [TEXTS])[0].tolist()


@pytest.mark.parametrize(
    ("kind", "words"), [("florence2", "type 'florence2', which answers no"), ("git", "type 'git', which answers no")]
)
def test_a_model_that_answers_no_questions_is_refused(tmp_path, kind, words):
    path = write(tmp_path, kind)
    for call in (require_matcher, VqaMatching):
        with pytest.raises(ConfigError, match=words):
            call(asked(path))


def test_a_model_without_room_for_a_text_is_refused(tmp_path):
    path = write(tmp_path, "llava")
    told = json.loads((path / "config.json").read_text())
    told["text_config"]["max_position_embeddings"] = 48
    (path / "config.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="has 48 places, and picture and question leave"):
        VqaMatching(asked(path))


def test_a_broken_model_is_told(made, tmp_path):
    path, _ = made("llava")
    other = shutil.copytree(path, tmp_path / "other")
    (other / "model.safetensors").write_bytes(b"")
    for call in (require_matcher, VqaMatching):
        with pytest.raises(ConfigError, match=r"model.safetensors is damaged"):
            call(asked(other))


def test_the_digest_is_of_all_files(made, tmp_path):
    path, _ = made("llava")
    other = shutil.copytree(path, tmp_path / "other")
    before = matcher_digest(asked(path))
    assert matcher_digest(asked(other)) == before
    (other / "chat_template.jinja").write_text("other")
    assert matcher_digest(asked(other)) != before
