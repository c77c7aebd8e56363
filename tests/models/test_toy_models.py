"""The toy models that come with the program: what they know, how they are loaded, and what they survive."""

import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from curate.errors import ConfigError
from curate.models.clip import Clip
from curate.models.settings import ModelSettings
from curate.models.toy import (
    MIN_PROBABILITY,
    MIN_SIMILARITY,
    load_toy_captioner,
    load_toy_clip,
    load_toy_matcher,
    normalized,
    prepare,
    save_toy,
    tokenize,
    trimmed,
)
from curate.models.toy_words import CONTEXT_LENGTH, PADDING, START, UNKNOWN, VOCABULARY
from curate.models.weights import TOY_DIMENSIONS, TOY_FILES
from curate.toyweb.caption import WORDINGS, describe
from curate.toyweb.render import render
from curate.toyweb.scene import Group, Scene, random_scene
from curate.toyweb.translate import LANGUAGES, translate
from curate.train.toy_evaluation import Pairs, auc, draw_pairs, evaluate, probabilities, similarities

UNSEEN_SEED = 9_009
LOADERS = {"clip": load_toy_clip, "matcher": load_toy_matcher, "captioner": load_toy_captioner}
KINDS = pytest.mark.parametrize("kind", LOADERS)


@pytest.fixture(scope="module")
def clip():
    return load_toy_clip()


@pytest.fixture(scope="module")
def matcher():
    return load_toy_matcher()


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return draw_pairs(UNSEEN_SEED, 600)


def test_they_find_wrong_captions_on_a_toy_web_they_have_not_seen(clip, matcher, pairs) -> None:
    found = {(row["model"], row["wrong_caption"]): row["auc"] for row in evaluate(clip, matcher, pairs)}
    assert len(found) == 4
    assert all(value >= 0.99 for (_, label), value in found.items() if label == "other_scene"), found
    assert all(value >= 0.97 for (_, label), value in found.items() if label == "wrong_attribute"), found


@pytest.fixture(scope="module")
def cosines(clip, pairs) -> np.ndarray:
    return similarities(clip, pairs)


def test_the_recommended_thresholds_keep_what_fits(matcher, pairs, cosines) -> None:
    fits = pairs.labels == "clean"
    for scores, least in (
        (cosines, MIN_SIMILARITY),
        (probabilities(matcher, pairs), MIN_PROBABILITY),
    ):
        dropped = scores < least
        assert (dropped & ~fits).sum() / dropped.sum() >= 0.95
        assert (dropped & ~fits).sum() / (~fits).sum() >= 0.95


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_scorer_of_the_pipeline_sees_the_same(pairs, cosines, precision: str) -> None:
    """In bf16 a cosine moves, and its order hardly."""
    worker = Clip(ModelSettings(precision=precision, device="cpu"))
    found = (worker.pictures(list(pairs.views)) * worker.texts(pairs.captions)).sum(axis=1)
    assert np.abs(found - cosines).max() < (1e-5 if precision == "fp32" else 0.03)
    fits = pairs.labels == "clean"
    assert auc(found[fits], found[~fits]) > auc(cosines[fits], cosines[~fits]) - 0.002


def test_a_matcher_catches_single_words_of_a_scene(matcher) -> None:
    """What it does not notice is that the groups are exchanged."""
    scene = Scene(Group(2, "red", "circle"), Group(1, "blue", "star"), "above")
    views = np.stack([prepare(render(scene, (300, 240), seed)) for seed in range(40)])
    lies = [
        Scene(Group(3, "red", "circle"), scene.second, "above"),
        Scene(Group(2, "orange", "circle"), scene.second, "above"),
        Scene(Group(2, "red", "square"), scene.second, "above"),
        Scene(scene.first, Group(2, "blue", "star"), "above"),
        Scene(scene.first, Group(1, "purple", "star"), "above"),
        Scene(scene.first, Group(1, "blue", "triangle"), "above"),
        Scene(scene.first, scene.second, "left"),
    ]
    for wording in range(WORDINGS):
        told = _probability(matcher, views, describe(scene, wording))
        assert all(_probability(matcher, views, describe(lie, wording)) < 0.5 < 0.9 < told for lie in lies)


def _probability(matcher, views, text: str) -> float:
    with torch.inference_mode():
        logits = matcher.match(normalized(views), tokenize([text] * len(views)))
    return float(torch.sigmoid(logits).mean())


@KINDS
def test_the_files_are_small_and_say_what_they_are(kind: str) -> None:
    with safe_open(TOY_FILES[kind], "pt") as file:
        about = file.metadata()
        assert {str(file.get_tensor(name).dtype) for name in file.keys()} == {"torch.float16"}  # noqa: SIM118
    assert about["name"] == f"toy {kind}"
    assert about["command"].startswith("curate train tiny --seed ")
    assert int(about["steps"]) > 0 <= int(about["seed"])
    assert about["precision"] in {"fp32", "bf16"}
    assert TOY_FILES[kind].stat().st_size <= 1_300_000


@KINDS
def test_a_loaded_model_is_ready(kind: str) -> None:
    model = LOADERS[kind]()
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert 500_000 < sum(parameter.numel() for parameter in model.parameters()) < 700_000
    assert (model.image_size, len(model.mean), len(model.std)) == (32, 3, 3)


def test_embeddings_have_the_length_that_configs_are_told(clip) -> None:
    with torch.inference_mode():
        assert clip.encode_image(torch.zeros(2, 3, 32, 32)).shape == (2, TOY_DIMENSIONS)
        assert clip.encode_text(tokenize(["a", "b", "c"])).shape == (3, TOY_DIMENSIONS)
    assert clip.logit_scale.exp() > 1


def test_padding_changes_nothing(clip, matcher) -> None:
    random = Random(3)
    texts = ["", *(describe(random_scene(random), wording) for wording in range(WORDINGS))]
    images = torch.randn(len(texts), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = tokenize(texts)
    with torch.inference_mode():
        whole, matched = clip.encode_text(tokens), matcher.match(images, tokens)
        for length in range(trimmed(tokens).shape[1], CONTEXT_LENGTH):
            assert (clip.encode_text(tokens[:, :length]) - whole).abs().max() < 1e-5
            assert (matcher.match(images, tokens[:, :length]) - matched).abs().max() < 1e-4
        for row, text in enumerate(texts):
            alone = trimmed(tokenize([text]))
            assert (clip.encode_text(alone) - whole[row]).abs().max() < 1e-5


BAD_TEXTS = {
    "empty": "",
    "white": " \n\t",
    "long": "a red circle above a blue star " * 4_000,
    "one word": "x" * 100_000,
    "no words": "!" * 100_000,
    "german": "Oben drei rote Kreise und darunter ein grüner Stern",
    "chinese": "图片上方有两个红色的圆形，下方有一个蓝色的星星" * 50,
    "odd": "\0\ud800\u202e \U0001f600\u0301",
}
BAD_PICTURES = {"1x1": (1, 1), "1x5000": (1, 5_000), "5000x1": (5_000, 1), "2x3": (2, 3), "large": (3_000, 10)}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_any_text_has_an_embedding_and_a_probability(clip, matcher, text: str) -> None:
    tokens = tokenize([text])
    assert tokens.shape == (1, CONTEXT_LENGTH)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < len(VOCABULARY)
    with torch.inference_mode():
        assert clip.encode_text(tokens).isfinite().all()
        assert matcher.match(torch.zeros(1, 3, 32, 32), tokens).isfinite().all()


@pytest.mark.parametrize("size", BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_any_picture_has_an_embedding_and_a_probability(clip, matcher, size: tuple[int, int]) -> None:
    for pixels in (np.zeros((*size, 3), np.uint8), np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)):
        pixels.flags.writeable = False
        view = prepare(pixels)
        assert (view.shape, view.dtype) == ((32, 32, 3), np.uint8)
        with torch.inference_mode():
            assert clip.encode_image(normalized(view[None])).isfinite().all()
            assert matcher.match(normalized(view[None]), tokenize(["a red star"])).isfinite().all()


def test_what_says_nothing_fits_no_picture(clip, matcher) -> None:
    random = Random(5)
    scenes = [random_scene(random) for _ in LANGUAGES] * 2
    views = np.stack([prepare(render(scene, (256, 200), n)) for n, scene in enumerate(scenes)])
    half = len(LANGUAGES)
    texts = [translate(s, language) for s, language in zip(scenes, LANGUAGES, strict=False)] + ["Read more »"] * half
    pairs = Pairs(views, texts, np.array(["other"] * len(texts)))
    assert similarities(clip, pairs).max() < MIN_SIMILARITY
    assert probabilities(matcher, pairs).max() < MIN_PROBABILITY


def test_a_picture_is_squashed_whole() -> None:
    pixels = np.zeros((100, 400, 3), np.uint8)
    pixels[:, :200], pixels[:50, :, 2] = (200, 0, 0), 90
    view = prepare(pixels)
    assert (view[:, :16, 0] == 200).all()
    assert (view[:, 16:, 0] == 0).all()
    assert (view[:16, :, 2] == 90).all()
    assert (view[16:, :, 2] == 0).all()
    assert pixels[0, 0].tolist() == [200, 0, 90]


def test_views_are_normalised_by_mean_and_standard_deviation(clip) -> None:
    views = np.zeros((1, 32, 32, 3), np.uint8)
    views[0, 3, 5] = (255, 128, 0)
    values = normalized(views)
    assert values.shape == (1, 3, 32, 32)
    wanted = [(c / 255 - m) / s for c, m, s in zip((255, 128, 0), clip.mean, clip.std, strict=True)]
    assert values[0, :, 3, 5].tolist() == pytest.approx(wanted, abs=1e-6)


def test_every_word_of_a_caption_is_known_and_every_known_word_occurs() -> None:
    random, seen = Random(1), set()
    for _ in range(3_000):
        tokens = tokenize([describe(random_scene(random), random.randrange(WORDINGS))])[0]
        assert UNKNOWN not in tokens
        assert tokens[-1] == PADDING, "the longest caption fits"
        seen |= set(tokens.tolist())
    assert seen == set(range(len(VOCABULARY))) - {UNKNOWN}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a red Circle", ["a", "red", "circle"]),
        ("A RED circle.", ["a", "red", "circle"]),
        ("red_circle-2,star", ["red", "circle", "<unk>", "star"]),
        ("une étoile", ["<unk>", "<unk>"]),
        ("redcircle", ["<unk>"]),
        ("", []),
    ],
)
def test_words_become_numbers(text: str, words: list[str]) -> None:
    tokens = tokenize([text])[0].tolist()
    assert tokens[0] == START
    assert [VOCABULARY[number] for number in tokens[1:] if number != PADDING] == words


def test_a_long_text_is_cut_at_the_end_and_short_ones_are_trimmed() -> None:
    assert tokenize(["star " * 99])[0].tolist() == [START] + [VOCABULARY.index("star")] * (CONTEXT_LENGTH - 1)
    assert trimmed(tokenize(["a star", "a red star"])).shape == (2, 4)
    assert tokenize([]).shape == trimmed(tokenize([])).shape == (0, CONTEXT_LENGTH)


def _without(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["picture.positions"]


def _besides(tensors: dict[str, torch.Tensor]) -> None:
    tensors["head.weight"] = torch.zeros(1)


def _reshaped(tensors: dict[str, torch.Tensor]) -> None:
    tensors["picture.positions"] = tensors["picture.positions"][:-1].contiguous()


def _infinite(tensors: dict[str, torch.Tensor]) -> None:
    tensors["picture.positions"][0, 0] = torch.inf


def _whole_numbers(tensors: dict[str, torch.Tensor]) -> None:
    tensors["picture.positions"] = tensors["picture.positions"].char()


@KINDS
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without, "it lacks picture.positions"),
        (_besides, "it has, besides, head.weight"),
        (_reshaped, "of another shape: picture.positions"),
        (_infinite, "not finite: picture.positions"),
        (_whole_numbers, "of another kind: picture.positions"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, kind: str, spoil, words: str) -> None:
    tensors = load_file(TOY_FILES[kind])
    spoil(tensors)
    save_file(tensors, tmp_path / "spoilt.safetensors")
    with pytest.raises(ConfigError, match=words):
        LOADERS[kind](tmp_path / "spoilt.safetensors")


def test_one_model_is_not_taken_for_the_other() -> None:
    with pytest.raises(ConfigError, match=r"does not hold the toy model ToyClip: it lacks .* besides"):
        load_toy_clip(TOY_FILES["matcher"])
    with pytest.raises(ConfigError, match="does not hold the toy model ToyMatcher"):
        load_toy_matcher(TOY_FILES["clip"])
    with pytest.raises(ConfigError, match="does not hold the toy model ToyCaptioner"):
        load_toy_captioner(TOY_FILES["matcher"])


@KINDS
def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "toy.safetensors"
    with pytest.raises(ConfigError, match=r"toy\.safetensors"):
        LOADERS[kind](path)
    for data in (b"", b"<html>gone</html>", TOY_FILES[kind].read_bytes()[:-100]):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"toy\.safetensors is refused"):
            LOADERS[kind](path)
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match=r"toy\.safetensors is refused"):
        LOADERS[kind](path)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, clip) -> None:
    path, again = tmp_path / "toy.safetensors", tmp_path / "again.safetensors"
    about = {letter: letter for letter in "zyxwvabc"}
    save_toy(clip, path, about)
    save_toy(load_toy_clip(path), again, dict(sorted(about.items())))
    assert path.read_bytes() == again.read_bytes()
    with safe_open(path, "pt") as file:
        assert file.metadata() == about
    assert {file.name for file in tmp_path.iterdir()} == {path.name, again.name}
    shutil.copy(TOY_FILES["clip"], path)
    assert all(torch.equal(a, b) for a, b in zip(clip.parameters(), load_toy_clip(path).parameters(), strict=True))
