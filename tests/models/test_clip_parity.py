"""Our embeddings and scores against open_clip's own transforms, tokenizer and towers, with the same random weights."""

import io
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_clip import KINDS, TEXT, TRIMS, drawn, make, openstax

import curate.models.clip
from curate.fetch.image import decode
from curate.filter import Batch
from curate.models.clip import MAX_CHARS, Clip, readable
from curate.models.device import work_on
from curate.models.pair_scores import ScorePairs, similarity
from curate.models.settings import ModelSettings

EXACT = 1e-5
PICTURES = [drawn(w, h) for w, h in [(32, 32), (31, 33), (100, 67), (67, 100), (400, 50), (9, 30), (1, 1), (32, 90)]]
TEXTS = [
    "", "a dog", "A DOG  on\tthe\n mat", "!", "!!a !b c!", "x" * 300, "a cat on a mat " * 30, "tea &amp;amp; milk",
    "&lt;b&gt; 5 &gt; 3", "😀😀 👩‍👩‍👧 🇩🇪", "héllo wörld", "voilÃ\xa0 le travail", "lâ\x80\x85 x", "日本語" * 50,
    "العربية", "<end_of_text> more", "<start_of_text>", "don't we'll", "3 1415 92", "\x00\x01", "&nbsp;", "\ufeffbom",
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with random weights of a kind, made when it is first asked for."""
    root = tmp_path_factory.mktemp("tiny")
    return cache(lambda kind: make(root / kind, kind))


def ours(folder: Path, precision: str = "fp32") -> Clip:
    return Clip(ModelSettings(weights=str(folder), precision=precision, device="cpu"))


class Theirs:
    """open_clip as its README shows it."""

    def __init__(self, folder: Path) -> None:
        import open_clip

        name = f"local-dir:{folder}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    def pictures(self, pictures: list[Image.Image]) -> np.ndarray:
        import torch

        with torch.no_grad():
            found = self.model.encode_image(torch.stack([self.preprocess(picture) for picture in pictures]))
        return _unit(found)

    def texts(self, texts: list[str]) -> np.ndarray:
        import torch

        with torch.no_grad():
            return _unit(self.model.encode_text(self.tokenizer(texts)))


def _unit(features: Any) -> np.ndarray:
    found = features.float().numpy()
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_both_towers_of_every_kind_are_open_clips(tiny: Any, kind: str) -> None:
    mine, theirs = ours(tiny(kind)), Theirs(tiny(kind))
    assert mine.towers.trims == (kind in TRIMS)
    assert np.abs(mine.texts(TEXTS) - theirs.texts(TEXTS)).max() < EXACT
    assert np.abs(mine.texts(["a dog, alone"]) - theirs.texts(["a dog, alone"])).max() < EXACT
    usable = [p for p in PICTURES if kind != "custom_text" or min(p.shape[:2]) > 1]
    found = mine.pictures([mine.prepare(picture) for picture in usable])
    assert found.dtype == np.float32
    assert np.abs(found - theirs.pictures([Image.fromarray(p) for p in usable])).max() < EXACT
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < EXACT
    assert np.ptp(found, axis=0).max() > 100 * EXACT, "random weights must tell pictures apart"


@pytest.fixture(scope="module")
def pair(tiny: Any) -> tuple[Clip, Theirs]:
    return ours(tiny("clip")), Theirs(tiny("clip"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.integers(0, 2 * TEXT["context_length"]).map(lambda n: " ".join(f"w{n}x" for _ in range(n)))
        | st.sampled_from(TEXTS)
        | st.text(max_size=60),
        min_size=1,
        max_size=9,
    )
)
def test_texts_of_any_lengths_beside_one_another(pair: tuple[Clip, Theirs], texts: list[str]) -> None:
    mine, theirs = pair
    found = mine.texts(texts)
    assert np.abs(found - theirs.texts(texts)).max() < EXACT
    again = mine.texts(texts[::-1])[::-1]
    assert (found == again).all(), "the second time they come from memory"


def test_every_length_of_text_up_to_the_context_and_beyond(pair: tuple[Clip, Theirs]) -> None:
    texts = [" ".join("dog" for _ in range(n)) for n in range(TEXT["context_length"] + 4)]
    assert np.abs(pair[0].texts(texts) - pair[1].texts(texts)).max() < EXACT
    assert (pair[0].texts(texts[-2:-1]) == pair[0].texts(texts[-1:])).all(), "open_clip cuts what does not fit"


@pytest.mark.parametrize(
    "text",
    [
        "dog " * 25_000, "x" * 100_000, "é" * 100_000, "." * 100_000, "\n" * 100_000 + "dog", "a&amp;" * 20_000,
        "internationalwomensday" * 5_000, "😂" * 100_000, "日本語" * 30_000,
    ],
    ids=lambda text: repr(text[:8]),
)  # fmt: skip
def test_a_very_long_text_is_what_open_clip_makes_of_it(text: str) -> None:
    import open_clip

    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    cut = readable(text)
    assert len(cut) <= MAX_CHARS
    assert (tokenizer([cut]) == tokenizer([text[:20_000].lstrip() if text.isalpha() else text])).all()


@pytest.mark.parametrize("text", [*TEXTS, "a" * 2_000, " a  b " * 300])
def test_a_text_of_usual_length_is_left_alone(text: str) -> None:
    assert readable(text) is text


def test_each_distinct_text_is_computed_once_and_long_ago_ones_again(pair: tuple[Clip, Theirs], monkeypatch) -> None:
    mine = pair[0]
    monkeypatch.setattr(curate.models.clip, "KEPT_TEXTS", 4)
    computed: list[str] = []
    tokenize = mine.towers.tokenize
    noted = replace(mine.towers, tokenize=lambda texts: (computed.extend(texts), tokenize(texts))[1])
    monkeypatch.setattr(mine, "towers", noted)
    mine._texts.clear()
    first = mine.texts(["a", "b", "a", "a"])
    assert computed == ["a", "b"]
    assert (first[0] == first[2]).all()
    mine.texts(["c", "a"])
    assert computed == ["a", "b", "c"]
    many = mine.texts(["d", "e", "f", "g", "h"])
    assert many.shape == (5, 32), "more at once than are kept"
    assert len(mine._texts) == 4
    mine.texts(["a"])
    assert computed == [*"abcdefgh", "a"]


@pytest.fixture
def shapes(pair: tuple[Clip, Theirs], monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of the batches that reached the text tower: texts and places."""
    mine, seen = pair[0], []
    encode = mine.towers.encode_text
    noted = replace(mine.towers, encode_text=lambda tokens: (seen.append(tuple(tokens.shape)), encode(tokens))[1])
    monkeypatch.setattr(mine, "towers", noted)
    mine._texts.clear()
    return seen


def test_texts_of_like_length_stand_together(pair: tuple[Clip, Theirs], shapes: list[tuple[int, int]]) -> None:
    texts = [f"{'w ' * (1 if number % 3 else 18)}n{number}" for number in range(600)]
    found = pair[0].texts(texts)
    assert shapes == [(256, 16), (144, 16), (200, 24)], "the places of the whole context are 24"
    assert np.abs(found[::40] - pair[1].texts(texts[::40])).max() < EXACT


@pytest.mark.parametrize(
    ("words", "context", "places"),
    [(0, 77, 16), (13, 77, 16), (14, 77, 16), (15, 77, 32), (30, 77, 32), (31, 77, 48), (62, 77, 64), (63, 77, 77),
     (75, 77, 77), (0, 12, 12), (14, 16, 16), (14, 20, 16), (15, 20, 20)],
)  # fmt: skip
def test_how_many_places_a_text_is_given(words: int, context: int, places: int) -> None:
    """Two are for its start and its end; an inner 0, which is a word to some tokenizers, is not padding."""
    tokens = np.zeros((2, context), np.int64)
    tokens[0, : min(words + 2, context)] = 7
    tokens[0, 1 : min(words, context - 1)] = 0
    tokens[1] = 7
    assert curate.models.clip._places(tokens).tolist() == [places, context]


def test_the_places_of_a_text_do_not_depend_on_those_beside_it(pair: tuple[Clip, Theirs], shapes: Any) -> None:
    texts = [" ".join(["dog"] * n) for n in range(TEXT["context_length"] + 4)]
    alone = []
    for text in texts:
        pair[0].texts([text])
        alone.append(shapes.pop()[1])
    for some in (texts[3:9], texts[::5], texts):
        pair[0]._texts.clear()
        shapes.clear()
        pair[0].texts(some)
        wanted = sorted(alone[texts.index(text)] for text in some)
        assert [length for count, length in shapes for _ in range(count)] == wanted


def test_in_half_precision_neighbours_do_not_move_an_embedding(tiny: Any) -> None:
    """In tens, in fives, and beside longer ones. On a CPU that computes in bfloat16, whose kernels for 5 texts and for
    40 add up in the same order."""
    import torch

    clip = ours(tiny("clip"), "bf16")
    if clip.kind is not torch.bfloat16:
        pytest.skip("this CPU has no bfloat16")
    texts = [f"a{' x' * (number % 8)} dog{number}" for number in range(40)]
    together = clip.texts(texts)
    for packs in (*([texts[n : n + count] for n in range(0, 40, count)] for count in (5, 10)), [[*texts, "a " * 30]]):
        clip._texts.clear()
        found = np.concatenate([clip.texts(pack) for pack in packs])[:40]
        assert (found == together).all()


def test_what_is_kept_of_texts_does_not_reach_the_next_shard(pair: tuple[Clip, Theirs]) -> None:
    mine = pair[0]
    mine.texts(["kept"])
    assert "kept" in mine._texts
    work_on(0, 1)
    mine.texts(["other"])
    assert list(mine._texts) == ["other"]


def test_two_batches_under_way_at_once(pair: tuple[Clip, Theirs]) -> None:
    mine, theirs = pair
    views = [mine.prepare(picture) for picture in PICTURES]
    begun = [mine.start_pictures(views[:3]), mine.start_pictures(views[3:])]
    texts = [mine.start_texts(["a dog", "b"]), mine.start_texts(["b", "c", "a dog"])]
    found = [answer() for answer in reversed(begun)][::-1]
    assert np.abs(np.concatenate(found) - theirs.pictures([Image.fromarray(p) for p in PICTURES])).max() < EXACT
    said = texts[1](), texts[0]()
    assert np.abs(said[0] - theirs.texts(["b", "c", "a dog"])).max() < EXACT
    assert np.abs(said[1] - theirs.texts(["a dog", "b"])).max() < EXACT


def test_nothing_to_embed(pair: tuple[Clip, Theirs]) -> None:
    assert pair[0].pictures([]).shape == pair[0].texts([]).shape == (0, 32)


def scores(folder: Path, pairs: list[tuple[str, bytes]], **more: Any) -> np.ndarray:
    """As a run does it: decoded, prepared, scored in batches."""
    scorer = ScorePairs("m", ModelSettings(weights=str(folder), device="cpu", **more))
    found = []
    for start in range(0, len(pairs), 48):
        part = pairs[start : start + 48]
        views = [scorer.prepare(decode(data)) for _, data in part]
        found += scorer.score(Batch(pa.table({"caption": [c for c, _ in part]}), views))[similarity("m")].to_pylist()
    return np.array(found)


def plain(folder: Path, pairs: list[tuple[str, bytes]]) -> np.ndarray:
    """open_clip's loop."""
    theirs = Theirs(folder)
    images = theirs.pictures([Image.open(io.BytesIO(data)).convert("RGB") for _, data in pairs])
    return (images * theirs.texts([caption for caption, _ in pairs])).sum(1)


@pytest.mark.parametrize("kind", ["clip", "siglip_last"])
def test_scores_of_real_pairs_are_open_clips(tiny: Any, kind: str) -> None:
    pairs = openstax()[:120]
    found, expected = scores(tiny(kind), pairs, precision="fp32"), plain(tiny(kind), pairs)
    assert np.abs(found - expected).max() < EXACT
    assert expected.std() > 0.05


def test_half_precision_keeps_the_order_of_real_pairs(tiny: Any) -> None:
    """Whether or not this CPU computes in bfloat16, the towers themselves do."""
    import torch

    pairs = openstax()[:240]
    exact = scores(tiny("clip"), pairs, precision="fp32")
    for kind in (torch.bfloat16, torch.float16):
        clip = ours(tiny("clip"))
        clip.kind = kind
        clip.towers.module.to(kind)
        images = clip.pictures([clip.prepare(decode(data)) for _, data in pairs])
        assert images.dtype == np.float32
        half = (images * clip.texts([caption for caption, _ in pairs])).sum(1)
        assert half.tolist() != exact.tolist()
        assert rank_correlation(half, exact) > 0.999, kind


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


@pytest.mark.slow
def test_a_real_architecture_on_real_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ViT-B-32, but for 9 of 12 layers that are like the others, from one file, named by its architecture."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    about = open_clip.get_model_config("ViT-B-32")
    for part in ("vision_cfg", "text_cfg"):
        about[part]["layers"] = 3
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", about)
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32", load_weights=False)
    model.eval()
    path = tmp_path / "b32.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    pairs = openstax()[:: len(openstax()) // 16][:16]
    found = scores(path, pairs, architecture="ViT-B-32", precision="fp32")
    pictures = torch.stack([preprocess(Image.open(io.BytesIO(data)).convert("RGB")) for _, data in pairs])
    with torch.no_grad():
        images = _unit(model.encode_image(pictures))
        texts = _unit(model.encode_text(open_clip.get_tokenizer("ViT-B-32")([caption for caption, _ in pairs])))
    assert np.abs(found - (images * texts).sum(1)).max() < EXACT
