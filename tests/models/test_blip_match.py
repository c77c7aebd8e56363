"""BLIP's matcher against transformers' own forward with [ENC] in front, what [CLS] does, hostile texts, and units."""

import json
import shutil
import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_blip
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_blip import SIDE, picture, write_blip

import curate.models.blip_match
import curate.models.match_units
from curate.errors import ConfigError
from curate.models.blip_match import BlipMatching, matcher_digest, require_matcher
from curate.models.caption_settings import MatcherSettings
from curate.models.device import sent
from curate.models.hf_folder import load_image_processor, load_model, load_tokenizer
from curate.models.match_units import READ_TOGETHER, places_of, plain_tokens, pre_caption

TEXTS = [
    "a dog",
    "two red birds on a tree",
    "A Dog, sitting!",
    "the small house in the street with a blue sky and two large trees of green water on the picture",
    "a photo of a woman and a man " * 12,
]
COUNT = len(tiny_blip.vocabulary())
ENC = COUNT + 1


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_blip(tmp_path_factory.mktemp("blip") / "base", size="base")


def asked(path: Path, **changes) -> MatcherSettings:
    return MatcherSettings(weights=str(path), precision="fp32", device="cpu", **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_blip(tmp_path_factory.mktemp("blip") / "itm")


@pytest.fixture(scope="module")
def matcher(folder):
    return BlipMatching(asked(folder))


@lru_cache(maxsize=1)
def loaded(path: Path, changed_ns: int):
    return load_model(path, "BlipForImageTextRetrieval")


def published(path: Path, image: np.ndarray, text: str, first: int | None) -> np.ndarray:
    """transformers asked for one pair, without padding; `first` is put in the place of [CLS]."""
    model = loaded(path, (path / "model.safetensors").stat().st_mtime_ns)
    tokens = load_tokenizer(path)(pre_caption(text, 30), truncation=True, max_length=35, return_tensors="pt").input_ids
    if first is not None:
        tokens[:, 0] = first
    pixels = load_image_processor(path)(image, return_tensors="pt").pixel_values
    with torch.inference_mode():
        return model(tokens, pixels, attention_mask=torch.ones_like(tokens)).itm_score[0].numpy()


def test_logits_are_those_of_transformers_with_the_token_of_the_image_grounded_encoder(folder, matcher):
    images = [picture(0), picture(1, 33, 44), picture(2, 40, 20)]
    found = matcher.logits([matcher.prepare(image) for image in images], [TEXTS, TEXTS[:2], TEXTS[3:]])
    for image, texts, own in zip(images, (TEXTS, TEXTS[:2], TEXTS[3:]), found, strict=True):
        wanted = [published(folder, image, text, ENC) for text in texts]
        np.testing.assert_allclose(own, np.stack(wanted), atol=1e-5)
    spread = np.ptp(np.concatenate(found)[:, 1])
    assert spread > 0.05, "texts and pictures make a difference, or the comparison says nothing"


def test_probabilities_are_the_second_of_a_softmax(matcher):
    view = matcher.prepare(picture(0))
    logits, found = matcher.logits([view], [TEXTS])[0], matcher.match([view], [TEXTS])[0]
    assert (found.dtype, found.shape) == (np.float32, (len(TEXTS),))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(logits[:, 0] - logits[:, 1])), atol=1e-6)


def test_with_cls_the_head_answers_the_opposite(tmp_path):
    """A head that asks the first token alone: [ENC] says match, [CLS] says none. transformers (and data-juicer, which
    calls it so) hand over [CLS]."""
    from safetensors.torch import load_file, save_file

    path = write_blip(tmp_path)
    tensors = load_file(path / "model.safetensors")
    words = tensors["text_encoder.embeddings.word_embeddings.weight"]
    words[2], words[ENC] = 5 * torch.ones(32), -5 * torch.ones(32)
    words[2, ::2] *= -1
    words[ENC, ::2] *= -1
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    cls, enc = (published(path, picture(0), "a dog", first) for first in (None, ENC))
    mean = (cls + enc) / 2
    away = torch.from_numpy(enc - cls)
    tensors["itm_head.weight"] *= 20 / float(away.abs().max())
    tensors["itm_head.bias"] = (tensors["itm_head.bias"] - torch.from_numpy(mean)) * 20 / float(away.abs().max())
    if enc[1] - enc[0] < cls[1] - cls[0]:
        tensors["itm_head.weight"], tensors["itm_head.bias"] = (
            tensors[f"itm_head.{part}"].flip(0).contiguous() for part in ("weight", "bias")
        )
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    wrong, right = (published(path, picture(0), "a dog", first) for first in (None, ENC))
    assert wrong[0] > wrong[1] + 1
    assert right[1] > right[0] + 1
    ours = BlipMatching(asked(path))
    np.testing.assert_allclose(ours.logits([ours.prepare(picture(0))], [["a dog"]])[0][0], right, atol=1e-4)


def test_a_tokenizer_that_knows_its_tokens_by_name_gives_the_same(folder, matcher, tmp_path):
    path = write_blip(tmp_path, own_tokens=True)
    named = BlipMatching(asked(path))
    views = [matcher.prepare(picture(0))]
    np.testing.assert_array_equal(named.logits(views, [TEXTS])[0], matcher.logits(views, [TEXTS])[0])


@pytest.mark.parametrize(
    "more", [["[x]"], ["[x]", "[y]"], ["[x]", "[y]", "[z]"], ["[x]", "[y]", "[ENC]"], ["[DEC]", "[x]"]]
)
def test_a_model_without_the_token_is_refused(tmp_path, more):
    path = write_blip(tmp_path)
    tiny_blip.tokenizer(*more).save_pretrained(path)
    for call in (require_matcher, BlipMatching):
        with pytest.raises(ConfigError, match=r"no token \[ENC\]"):
            call(asked(path))


def renumbered(path: Path, token: str, number: int) -> Path:
    """A tokenizer that gives a token another number."""
    told = json.loads((path / "tokenizer.json").read_text())
    told["model"]["vocab"][token] = number
    for added in told["added_tokens"]:
        added["id"] = number if added["content"] == token else added["id"]
    (path / "tokenizer.json").write_text(json.dumps(told))
    return path


def with_text_config(path: Path, **changes) -> Path:
    told = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(told | {"text_config": told["text_config"] | changes}))
    return path


def with_few_places(path: Path, places: int) -> Path:
    from safetensors.torch import load_file, save_file

    name, tensors = "text_encoder.embeddings.position_embeddings.weight", load_file(path / "model.safetensors")
    tensors[name] = tensors[name][:places].clone()
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return with_text_config(path, max_position_embeddings=places)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: renumbered(path, "[SEP]", COUNT + 2), rf"no \[SEP\] or padding among the {COUNT + 2} tokens"),
        (lambda path: with_text_config(path, pad_token_id=-1), r"no \[SEP\] or padding .*: 3, -1"),
        (lambda path: with_few_places(path, 34), "places for 34 tokens; 35 are needed"),
    ],
)
def test_tokens_that_the_model_does_not_have_are_told_before_a_run(folder, tmp_path, spoil, words):
    """They would be an index out of range: on a GPU that ends the worker."""
    path = spoil(shutil.copytree(folder, tmp_path / "other"))
    for call in (require_matcher, BlipMatching):
        with pytest.raises(ConfigError, match=words):
            call(asked(path))
    require_matcher(asked(with_few_places(shutil.copytree(folder, tmp_path / "enough"), 35)))


def test_one_that_names_the_decoders_token_alone_has_it_behind(folder, tmp_path):
    path = shutil.copytree(folder, tmp_path / "named")
    tiny_blip.tokenizer("[DEC]").save_pretrained(path)
    assert BlipMatching(asked(path))._first == ENC


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "!!!", '.!"()*#:;~', "​", "\x00", "." * 1_000_000, " " * 1_000_000])
def test_a_text_without_a_word_has_no_probability(matcher, text):
    found = matcher.match([matcher.prepare(picture(0))], [["a dog", text]])[0]
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "a dog " * 200_000,
        "???",
        " " * 50_000 + "a dog",
        "[ENC] [SEP] [CLS] [PAD] [MASK] [DEC]",
        "</s><image><|im_end|>",
        "犬 🐕 \ud800",
        "ı" * 300,
    ],
)
def test_hostile_texts_have_a_finite_one(matcher, text):
    found = matcher.match([matcher.prepare(picture(0))], [[text]])[0]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("own", [False, True])
def test_a_special_token_in_a_text_is_its_characters(tmp_path, own):
    matcher = BlipMatching(asked(write_blip(tmp_path, own_tokens=own)))
    special = {0, 2, 3, 4, COUNT, ENC}
    for text in ("[SEP] a dog", "a [PAD] dog [ENC] [enc]", "[MASK][CLS]"):
        tokens = matcher._read([text])[text]
        assert tokens[0] == ENC
        assert tokens[-1] == 3
        assert not special & set(tokens[1:-1])


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("A Dog.", "a dog"),
        ("a  dog\n", "a dog"),
        ('say "hi" (now): #1; ~2*3!', "say hi now 1 2 3"),
        ("don't, a-b/c?", "don't, a-b/c?"),
        ("x " * 31, " ".join(["x"] * 30)),
        ("x" * 20_001, "x" * 20_000),
        ("", ""),
    ],
)
def test_texts_are_made_ready_as_blip_does(text, plain):
    assert pre_caption(text, 30) == plain


@given(st.text(max_size=60))
def test_made_ready_twice_is_made_ready_once(text):
    once = pre_caption(text, 30)
    assert pre_caption(once, 30) == once
    assert not set(once) & set('.!"()*#:;~\n')


def test_the_first_words_are_read_whatever_a_tokenizer_cuts(folder, tmp_path):
    path = shutil.copytree(folder, tmp_path / "other")
    told = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(told | {"truncation_side": "left", "model_max_length": 9}))
    text = "dog " + "cat " * 60
    for own in (folder, path):
        tokens = plain_tokens(load_tokenizer(own), [text] * (READ_TOGETHER + 1), 3, COUNT)
        words = tiny_blip.vocabulary()
        assert tokens == [tuple(map(words.index, ("dog", "cat", "cat")))] * (READ_TOGETHER + 1)
    assert plain_tokens(load_tokenizer(folder), [], 3, COUNT) == []
    dog, cat = map(tiny_blip.vocabulary().index, ("dog", "cat"))
    assert plain_tokens(load_tokenizer(folder), ["dog cat"], 3, cat) == [(dog,)], "the model has no more tokens"


def test_at_most_35_tokens_are_read(matcher):
    tokens = matcher._read(["a dog " * 30])["a dog " * 30]
    assert len(tokens) == 32, "30 words"
    tokens = matcher._read(["bcbc " * 20])["bcbc " * 20]
    assert len(tokens) == 35


@pytest.mark.parametrize(
    ("count", "places"), [(1, 8), (8, 8), (9, 16), (16, 16), (17, 24), (24, 24), (25, 35), (35, 35)]
)
def test_texts_are_padded_to_one_of_four_lengths(count, places):
    assert places_of(count, curate.models.blip_match.LENGTHS) == places


def test_padding_moves_a_score_by_a_rounding(matcher, monkeypatch):
    view = matcher.prepare(picture(0))
    near = matcher.logits([view], [["a dog"]])[0]
    monkeypatch.setattr(matcher._units, "lengths", (35,))
    far = matcher.logits([view], [["a dog"]])[0]
    np.testing.assert_allclose(near, far, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.lists(st.sampled_from(TEXTS), max_size=5)), min_size=1, max_size=9),
    st.integers(1, 9),
)
def test_a_score_does_not_depend_on_its_neighbours(matcher, pairs, size):
    alone = {
        (seed, text): matcher.match([matcher.prepare(picture(seed))], [[text]])[0][0]
        for seed, own in pairs
        for text in own
    }
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        found = matcher.match([matcher.prepare(picture(seed)) for seed, _ in part], [own for _, own in part])
        for (seed, own), scores in zip(part, found, strict=True):
            assert scores.tolist() == [alone[seed, text] for text in own]


def test_each_picture_and_pair_is_computed_once(folder, monkeypatch):
    matcher, seen, judged = BlipMatching(asked(folder)), [], []
    see, judge = matcher.see, matcher.judge
    monkeypatch.setattr(matcher, "see", lambda images: seen.append(len(images)) or see(images))
    monkeypatch.setattr(matcher, "judge", lambda *own: judged.append(own[1]) or judge(*own))
    view = matcher.prepare(picture(0))
    found = matcher.match([view, view, view], [["a dog"] * 5 + ["A dog!"], [], ["", " "]])
    assert seen == [4], "one unit, filled up; pictures without a text are not read"
    assert judged == [[0] * 4]
    assert found[0].tolist() == [found[0][0]] * 6
    assert found[1].shape == (0,)
    assert np.isnan(found[2]).all()
    assert matcher.match([], []) == []
    assert seen == [4]


@pytest.mark.parametrize("words", ["CUDA out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"])
@pytest.mark.parametrize("part", ["see", "judge"])
def test_without_memory_units_are_halved(folder, monkeypatch, words, part):
    plain, matcher, sizes, alive = BlipMatching(asked(folder)), BlipMatching(asked(folder)), [], []
    views = [plain.prepare(picture(seed)) for seed in range(5)]
    texts = [TEXTS] * 5
    whole, call = plain.logits(views, texts), getattr(matcher, part)

    def short(*own):
        sizes.append(len(own[0] if part == "see" else own[1]))
        if sizes[-1] > 1:
            raise RuntimeError(words)
        return call(*own)

    monkeypatch.setattr(matcher, part, short)
    monkeypatch.setattr(matcher._units, "free", lambda: alive.append(sys.exc_info()[1]))
    for own, wanted in zip(matcher.logits(views, texts), whole, strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-5)
    assert sizes[:3] == [4, 2, 1]
    assert alive == [None, None], "given back when the exception, which holds what filled the memory, is gone"
    monkeypatch.setattr(matcher, part, lambda *own: (_ for _ in ()).throw(RuntimeError(words)))
    with pytest.raises(RuntimeError, match=words):
        matcher.logits(views, texts)


def test_another_error_is_not_taken_for_memory(folder, monkeypatch):
    matcher = BlipMatching(asked(folder))
    monkeypatch.setattr(matcher, "judge", lambda *own: (_ for _ in ()).throw(RuntimeError("index out of range")))
    with pytest.raises(RuntimeError, match="index out of range"):
        matcher.match([matcher.prepare(picture(0))], [["a dog"]])
    assert matcher._units.rows == curate.models.blip_match.ROWS["cpu"]


def test_a_gpu_that_failed_ends_the_process(folder, monkeypatch):
    matcher = BlipMatching(asked(folder))

    def broken(*own):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(matcher, "judge", broken)
    with pytest.raises(SystemExit, match="GPU of this worker failed: CUDA error: an illegal"):
        matcher.match([matcher.prepare(picture(0))], [["a dog"]])


def test_to_a_gpu_tensors_go_from_pinned_memory_and_nothing_waits():
    calls = []

    class Values:
        def pin_memory(self):
            calls.append("pinned")
            return self

        def to(self, where, non_blocking=False):
            calls.append((where.type, non_blocking))
            return self

    values = Values()
    assert sent(values, SimpleNamespace(type="cpu")) is values
    assert calls == []
    sent(values, SimpleNamespace(type="cuda"))
    assert calls == ["pinned", ("cuda", True)]


def test_in_bfloat16_scores_are_near(folder, matcher, monkeypatch):
    monkeypatch.setattr(curate.models.blip_match, "computes", lambda precision, where: torch.bfloat16)
    half = BlipMatching(asked(folder))
    view = matcher.prepare(picture(0))
    np.testing.assert_allclose(half.match([view], [TEXTS])[0], matcher.match([view], [TEXTS])[0], atol=0.03)
    assert half._model.itm_head.weight.dtype == torch.bfloat16


def test_prepared_pictures_are_bytes(matcher):
    view = matcher.prepare(picture(0, 50, 20))
    assert (view.dtype, view.shape) == (np.uint8, (SIDE, SIDE, 3))


def test_pixels_are_those_of_transformers(folder, matcher):
    from curate.models.hf_pictures import normalised

    for seed, (width, height) in enumerate([(48, 40), (7, 45), (32, 32)]):
        image = picture(seed, width, height)
        ours = normalised(torch.from_numpy(np.stack([matcher.prepare(image)])), matcher.prepare_picture)
        theirs = load_image_processor(folder)(image, return_tensors="pt").pixel_values
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": {"height": 64, "width": 64}}, "of 64 x 64 px, and its model takes 32 x 32"),
        ({"size": {"height": 32, "width": 48}}, "of 32 x 48 px"),
        ({"size": {"height": 32}}, "has no preprocessing of pictures"),
        ({"resample": 0}, "not known here: KeyError"),
        ({"do_normalize": False}, "not known here: resize and normalise"),
        ({"do_rescale": False}, "not known here: resize and normalise"),
        ({"rescale_factor": 1.0}, "not known here: resize and normalise"),
        ({"image_mean": [0.5]}, "not known here"),
        ({"image_std": [0.0, 0.0, 0.0]}, "not known here: resize and normalise"),
        ({"size": {"height": 10**9, "width": 10**9}}, "of 1,000,000,000 px, and its model takes 32 x 32"),
        ({"size": {"height": 129, "width": 32}}, "of 129 px, and its model"),
        ({"size": {"height": -5, "width": -5}}, "not known here: ValueError"),
        ({"do_resize": False}, "of 39 x 61 px"),
    ],
)
def test_another_preprocessing_is_refused(folder, tmp_path, change, words):
    path = shutil.copytree(folder, tmp_path / "other")
    told = json.loads((path / "preprocessor_config.json").read_text())
    (path / "preprocessor_config.json").write_text(json.dumps(told | change))
    with pytest.raises(ConfigError, match=words):
        require_matcher(asked(path))


def test_settings_of_pictures_that_do_nothing_are_no_matter(folder, tmp_path):
    path = shutil.copytree(folder, tmp_path / "hub")
    told = json.loads((path / "preprocessor_config.json").read_text())
    for name in ("rescale_factor", "do_rescale", "do_convert_rgb", "resample"):
        del told[name]
    older = {"size_divisor": 32, "processor_class": "BlipProcessor", "do_pad": True, "feature_extractor_type": "x"}
    (path / "preprocessor_config.json").write_text(json.dumps(told | older))
    require_matcher(asked(path))


def test_a_captioner_is_no_matcher(tmp_path):
    path = write_blip(tmp_path, "caption")
    for call in (require_matcher, BlipMatching):
        with pytest.raises(ConfigError, match="not those of BlipForImageTextRetrieval"):
            call(asked(path))


def test_the_digest_is_of_all_files(folder, tmp_path):
    path = shutil.copytree(folder, tmp_path / "copy")
    before = matcher_digest(asked(path))
    assert before == matcher_digest(asked(folder))
    told = json.loads((path / "preprocessor_config.json").read_text())
    (path / "preprocessor_config.json").write_text(json.dumps(told | {"resample": 2}))
    assert matcher_digest(asked(path)) != before
    require_matcher(asked(path))


@pytest.mark.slow
def test_at_the_base_size_scores_do_not_depend_on_neighbours_either(base, monkeypatch):
    monkeypatch.setattr(curate.models.blip_match, "computes", lambda precision, where: torch.bfloat16)
    matcher = BlipMatching(asked(base))
    views = [matcher.prepare(picture(seed)) for seed in range(2)]
    together = matcher.logits(views, [TEXTS[:3], TEXTS[1:]])
    alone = matcher.logits(views[1:], [TEXTS[2:3]])
    assert together[1][1].tolist() == alone[0][0].tolist()


@pytest.mark.slow
def test_the_base_size_agrees_too(base):
    matcher = BlipMatching(asked(base))
    image = np.ascontiguousarray(np.kron(picture(0), np.ones((8, 8, 1), np.uint8)))
    found = matcher.logits([matcher.prepare(image)], [TEXTS[2:4]])[0]
    wanted = np.stack([published(base, image, text, ENC) for text in TEXTS[2:4]])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
