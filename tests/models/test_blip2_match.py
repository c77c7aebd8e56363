"""BLIP-2's matcher against transformers' own forward, hostile texts, and units."""

import json
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import tiny_blip
import torch
from tiny_blip import picture, write_blip, write_blip2

import curate.models.blip2_match
from curate.errors import ConfigError
from curate.models.blip2_match import Blip2Matching, matcher_digest, open_matcher, require_matcher
from curate.models.caption_settings import MatcherSettings
from curate.models.hf_folder import load_image_processor, load_model, load_tokenizer
from curate.models.match_units import pre_caption

TEXTS = [
    "a dog",
    "two red birds on a tree",
    "A Dog, sitting!",
    "the small house in the street with a blue sky and two large trees of green water on the picture",
    "a photo of a woman and a man " * 12,
]


def asked(path: Path) -> MatcherSettings:
    return MatcherSettings(weights=str(path), precision="fp32", device="cpu")


@pytest.fixture(scope="module", params=[True, False], ids=["image_token", "without"])
def folder(request, tmp_path_factory):
    return write_blip2(tmp_path_factory.mktemp("blip2") / "itm", image_token=request.param)


@pytest.fixture(scope="module")
def matcher(folder):
    return Blip2Matching(asked(folder))


@lru_cache(maxsize=1)
def loaded(path: Path):
    return load_model(path, "Blip2ForImageTextRetrieval"), load_tokenizer(path), load_image_processor(path)


def published(path: Path, image: np.ndarray, text: str) -> np.ndarray:
    """transformers asked for one pair, without padding, with tokens that stand for the picture where it has such."""
    model, tokenizer, ready = loaded(path)
    tokens = tokenizer(pre_caption(text, 50), truncation=True, max_length=32, return_tensors="pt").input_ids
    if model.config.image_token_index is not None:
        tokens = torch.cat([torch.full((1, 4), model.config.image_token_index), tokens], dim=1)
    pixels = ready(image, return_tensors="pt").pixel_values
    with torch.inference_mode():
        asked_for = {"attention_mask": torch.ones_like(tokens), "use_image_text_matching_head": True}
        return model(pixel_values=pixels, input_ids=tokens, **asked_for).logits_per_image[0].numpy()


def test_logits_are_those_of_transformers(folder, matcher):
    images, texts = [picture(0), picture(1, 33, 44), picture(2, 40, 20)], (TEXTS, TEXTS[:2], TEXTS[3:])
    found = matcher.logits([matcher.prepare(image) for image in images], texts)
    for image, own, logits in zip(images, texts, found, strict=True):
        np.testing.assert_allclose(logits, np.stack([published(folder, image, text) for text in own]), atol=1e-5)
    assert np.ptp(np.concatenate(found)[:, 1]) > 0.05, "texts and pictures make a difference"
    scores = matcher.match([matcher.prepare(images[0])], [TEXTS])[0]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(found[0][:, 0] - found[0][:, 1])), atol=1e-6)


def test_a_score_does_not_depend_on_its_neighbours(matcher):
    views = [matcher.prepare(picture(seed)) for seed in range(6)]
    alone = [[matcher.match([view], [[text]])[0][0] for text in TEXTS] for view in views]
    for size in (1, 2, 4, 6):
        for start in range(0, 6, size):
            found = matcher.match(views[start : start + size][::-1], [TEXTS] * len(views[start : start + size]))
            assert [own.tolist() for own in found][::-1] == alone[start : start + size]


@pytest.mark.parametrize("text", ["", " \n", "!!!", "​", " " * 1_000_000])
def test_a_text_without_a_word_has_no_probability(matcher, text):
    found = matcher.match([matcher.prepare(picture(0))], [["a dog", text]])[0]
    assert np.isfinite(found).tolist() == [True, False]


@pytest.mark.parametrize("text", ["a" * 1_000_000, "???", "[SEP][CLS]", "<image>" * 50, "</s>", "\ud800"])
def test_hostile_texts_have_a_finite_one(matcher, text):
    assert np.isfinite(matcher.match([matcher.prepare(picture(0))], [[text]])[0]).all()


def test_the_token_of_a_picture_in_a_text_is_its_characters(matcher):
    tokens = matcher._read(["<image> a dog [SEP] [CLS]"])["<image> a dog [SEP] [CLS]"]
    words = tiny_blip.vocabulary()
    assert [tokens[0], tokens[-1]] == [2, 3]
    assert not {0, 2, 3, 4, len(words)} & set(tokens[1:-1])
    assert words[tokens[1]] == "<"


def test_at_most_32_tokens_are_read(matcher):
    assert len(matcher._read(["a dog " * 30])["a dog " * 30]) == 32


@pytest.mark.parametrize("part", ["see", "judge"])
def test_without_memory_units_are_halved(folder, monkeypatch, part):
    matcher, sizes = open_matcher(asked(folder)), []
    views = [matcher.prepare(picture(seed)) for seed in range(5)]
    whole, call = matcher.logits(views, [TEXTS] * 5), getattr(matcher, part)

    def short(*own):
        sizes.append(len(own[0] if part == "see" else own[1]))
        if sizes[-1] > 1:
            raise RuntimeError("CUDA out of memory")
        return call(*own)

    monkeypatch.setattr(matcher, part, short)
    np.testing.assert_allclose(np.stack(matcher.logits(views, [TEXTS] * 5)), np.stack(whole), atol=1e-5)
    assert sizes[:3] == [4, 2, 1]


def test_in_bfloat16_the_q_former_stays_exact(folder, matcher, monkeypatch):
    monkeypatch.setattr(curate.models.blip2_match, "computes", lambda precision, where: torch.bfloat16)
    half = Blip2Matching(asked(folder))
    view = matcher.prepare(picture(0))
    np.testing.assert_allclose(half.match([view], [TEXTS])[0], matcher.match([view], [TEXTS])[0], atol=0.05)
    assert half._model.vision_model.embeddings.patch_embedding.weight.dtype == torch.bfloat16
    assert half._model.qformer.layernorm.weight.dtype == torch.float32


def test_a_folder_of_another_model_is_refused(folder, tmp_path):
    require_matcher(asked(folder))
    for path, words in (
        (write_blip2(tmp_path / "captioner", "caption"), "not those of Blip2ForImageTextRetrieval"),
        (write_blip(tmp_path / "blip"), "type 'blip'; one of blip-2 is needed"),
    ):
        with pytest.raises(ConfigError, match=words):
            require_matcher(asked(path))
    with pytest.raises(ConfigError, match="not those of Blip2ForImageTextRetrieval"):
        open_matcher(asked(tmp_path / "captioner"))


def test_a_tokenizer_without_ends_is_refused(folder, tmp_path):
    path = shutil.copytree(folder, tmp_path / "other")
    tokenizer = tiny_blip.tokenizer()
    tokenizer.sep_token = None
    tokenizer.save_pretrained(path)
    with pytest.raises(ConfigError, match=r"without \[CLS\] and \[SEP\]"):
        require_matcher(asked(path))


@pytest.mark.parametrize(("name", "value"), [("pad_token_id", -1), ("max_position_embeddings", 31)])
def test_a_q_former_without_the_tokens_or_the_places_is_refused(folder, tmp_path, name, value):
    path = shutil.copytree(folder, tmp_path / "other")
    told = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(told | {"qformer_config": told["qformer_config"] | {name: value}}))
    with pytest.raises(ConfigError, match=r"needs|are needed|of another shape"):
        require_matcher(asked(path))


def test_the_digest_is_of_all_files(folder, tmp_path):
    path = shutil.copytree(folder, tmp_path / "copy")
    before = matcher_digest(asked(path))
    assert before == matcher_digest(asked(folder))
    (path / "model.safetensors").write_bytes(
        write_blip2(tmp_path / "new", seed=1).joinpath("model.safetensors").read_bytes()
    )
    assert matcher_digest(asked(path)) != before
