"""CoCa with a cache against open_clip's own code without one: tokens, logits, beams; units, memory, prompts, ends."""

import gc
import weakref
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coca_folders import captions, make_coca, pictures, settings, with_generation
from tiny_clip import drawn

from curate.models.captioner import Sampling, seeds_of, uniforms
from curate.models.coca import CocaCaptioner, captioner_digest, open_captioner
from curate.models.coca_config import END, START
from curate.models.coca_steps import CocaDecoder
from curate.models.decoding import decode, rows_each
from curate.models.device import work_on

LENGTH = 12


@pytest.fixture
def two_threads():
    """On two, the last bits of these small products depend on their rows: captions must not. Where two wait for one
    another on busy cores it takes three times as long."""
    work_on(0, threads=2)
    torch.set_num_threads(2)
    yield
    work_on(0, threads=1)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coca(tmp_path_factory.mktemp("coca"))


@pytest.fixture(scope="module")
def captioner(folder: Path) -> CocaCaptioner:
    return open_captioner(settings(folder))


@lru_cache(maxsize=4)
def theirs(name: str) -> Any:
    """open_clip's model of a folder."""
    import open_clip
    from safetensors.torch import load_file

    model = open_clip.create_model(f"local-dir:{name}", load_weights=False)
    model.load_state_dict(load_file(Path(name) / "open_clip_model.safetensors"))
    return model.eval()


def normalised(model: Any, views: Sequence[np.ndarray]) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.visual.image_mean, model.visual.image_std))
    return (torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2) / 255 - mean) / std


class Uncached:
    """`curate.models.decoding.Decoder` by open_clip's forward pass over the whole text, for each token."""

    def __init__(self, model: Any, images: torch.Tensor, rows: int) -> None:
        self.model, self.images = model, images.repeat_interleave(rows, 0)
        self.text = torch.zeros(0)

    def start(self, prompt: torch.Tensor) -> torch.Tensor:
        self.text = prompt
        return self.logits()

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        self.text = torch.cat([self.text, tokens[:, None]], 1)
        return self.logits()

    def reorder(self, rows: torch.Tensor) -> None:
        self.text = self.text[rows]

    def logits(self) -> torch.Tensor:
        logits = self.model(self.images, self.text, output_labels=False)["logits"][:, -1].clone()
        logits[:, 0] = -torch.inf
        return logits


def by_open_clip(folder: Path, views: Sequence[np.ndarray], n: int, sampling: Sampling) -> list[list[Any]]:
    """What the shared loop makes of open_clip's logits."""
    import open_clip

    model, seeds = theirs(str(folder)), seeds_of([view.tobytes().hex() for view in views], 7)
    tokens = open_clip.tokenize([sampling.prompt])[0].tolist()
    prompt = torch.tensor([tokens[: tokens.index(END)]]).repeat(len(views), 1)
    with torch.inference_mode():
        decoder = Uncached(model, normalised(model, views), rows_each(sampling, n))
        return decode(decoder, prompt, sampling, uniforms(seeds, n, sampling.max_tokens), [END], n)


def told(found: Any) -> list[Any]:
    """Text, tokens and end of each caption; and, rounded, its probability."""
    return [[(one.text, one.tokens, one.finish, round(one.log_probability, 3)) for one in own] for own in found]


def test_greedy_captions_are_those_of_open_clip_generate(
    folder: Path, captioner: CocaCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    with_generation(monkeypatch)
    model, views = theirs(str(folder)), pictures(5)
    out = model.generate(normalised(model, views), seq_len=LENGTH + 2, generation_type="top_k", top_k=1, min_seq_len=0)
    assert out.shape == (5, LENGTH + 2)
    found = captions(captioner, views, 1, settings(folder).sampling)
    for row, (one,) in zip(out, found, strict=True):
        words = open_clip.decode(row).split("<end_of_text>")[0].replace("<start_of_text>", "")
        assert (one.text, one.tokens) == (words.strip(), LENGTH)
    assert len({one.text for (one,) in found}) == 5


def test_greedy_logits_step_by_step(folder: Path, captioner: CocaCaptioner) -> None:
    """Each token by open_clip's `model(image, text)["logits"]`, and their probabilities added up."""
    model, views = theirs(str(folder)), pictures(3)
    found = captions(captioner, views, 1, settings(folder).sampling)
    for view, (one,) in zip(views, found, strict=True):
        text, summed = torch.tensor([[START]]), 0.0
        with torch.inference_mode():
            for _ in range(LENGTH):
                logits = model(normalised(model, [view]), text, output_labels=False)["logits"][0, -1]
                text = torch.cat([text, logits.argmax().view(1, 1)], 1)
                summed += float(logits.log_softmax(0).max())
        import open_clip

        assert one.text == open_clip.decode(text[0, 1:]).strip()
        assert abs(one.log_probability - summed) < 1e-3


@pytest.mark.parametrize(
    ("n", "changes"),
    [
        (1, {"method": "greedy", "prompt": "a photo of a"}),
        (1, {"method": "greedy", "repetition_penalty": 1.7}),
        (4, {"method": "nucleus", "top_p": 0.9, "prompt": "a photo of"}),
        (3, {"method": "top_k", "top_k": 5, "temperature": 1.5}),
        (3, {"method": "beam", "beams": 3}),
        (2, {"method": "beam", "beams": 4, "prompt": "two", "repetition_penalty": 1.3}),
    ],
)
def test_every_way_of_decoding_is_that_of_the_uncached_model(
    folder: Path, captioner: CocaCaptioner, n: int, changes: dict[str, Any]
) -> None:
    import open_clip

    sampling, views = settings(folder, captions=n, **changes).sampling, pictures(3)
    found = captions(captioner, views, n, sampling)
    expected = by_open_clip(folder, views, n, sampling)
    for own, other in zip(found, expected, strict=True):
        assert len(own) == n
        for one, text in zip(own, other, strict=True):
            words = open_clip.decode(torch.tensor(text.tokens, dtype=torch.int64)).strip()
            assert (one.text, one.tokens, one.finish) == (words, len(text.tokens), text.finish)
            assert abs(one.log_probability - text.log_probability) < 1e-3


def exchanged(folder: Path, target: Path, word: str, token: int) -> Path:
    """A copy of a model in which a token is as likely as a word was, and the other way round."""
    import open_clip
    from safetensors.torch import load_file, save_file

    target.mkdir()
    (target / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    tensors = load_file(folder / "open_clip_model.safetensors")
    name, other = "text_decoder.text_projection", int(open_clip.tokenize([word])[0, 1])
    tensors[name][:, [other, token]] = tensors[name][:, [token, other]]
    save_file(tensors, target / "open_clip_model.safetensors")
    return target


def one_of_some(texts: Sequence[str]) -> str:
    """A word of one token that stands inside of a text, and not in every text."""
    import open_clip

    words = [word for text in texts for word in text.split()[1:] if open_clip.tokenize([word])[0, 2] == END]
    return next(word for word in words if not all(word in text for text in texts))


def test_a_text_ends_at_the_end_and_the_end_is_in_its_probability(folder: Path, tmp_path: Path) -> None:
    views = pictures(5)
    whole = captions(open_captioner(settings(folder)), views, 1, settings(folder).sampling)
    word = one_of_some([one.text for (one,) in whole])
    model = open_captioner(settings(exchanged(folder, tmp_path / "ends", word, END)))
    found = captions(model, views, 1, settings(folder).sampling)
    ended = [(one, before) for (one,), (before,) in zip(found, whole, strict=True) if one.finish == "stop"]
    assert len(ended) > 0
    assert any(one.finish == "length" for (one,) in found)
    for one, before in ended:
        assert one.text == before.text.split(word)[0].strip()
        assert one.tokens < LENGTH
    expected = by_open_clip(tmp_path / "ends", views, 1, settings(folder).sampling)
    for (one,), (text,) in zip(found, expected, strict=True):
        assert (one.tokens, one.finish) == (len(text.tokens), text.finish)
        assert abs(one.log_probability - text.log_probability) < 1e-3


def test_the_token_for_contrast_has_no_say_in_a_caption(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "open_clip_model.safetensors")
    assert tensors["text.cls_emb"].abs().max() > 0
    tensors["text.cls_emb"] = tensors["text.cls_emb"] * -100 + 3
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    sampling, views = settings(folder).sampling, pictures(3)
    assert by_open_clip(tmp_path, views, 1, sampling) == by_open_clip(folder, views, 1, sampling)
    other = captions(open_captioner(settings(tmp_path)), views, 1, sampling)
    assert other == captions(open_captioner(settings(folder)), views, 1, sampling)


def test_padding_is_never_said(folder: Path, captioner: CocaCaptioner, tmp_path: Path) -> None:
    """open_clip's `generate` would end a text there, and its text tower would not look at the place behind it."""
    sampling, views = settings(folder).sampling, pictures(3)
    (before,) = captions(captioner, views, 1, sampling)[0]
    likely = exchanged(folder, tmp_path / "padding", before.text.split()[0], 0)
    found = captions(open_captioner(settings(likely)), views, 1, sampling)
    assert [one.tokens for (one,) in found] == [LENGTH] * 3
    assert not any("!" in one.text for (one,) in found)
    assert found[0][0].text != before.text


def test_what_was_no_number_is_forgotten_with_its_pictures(folder: Path) -> None:
    """Caches lie in the same memory from unit to unit, and a place that is masked is still multiplied, by 0."""
    model, start = theirs(str(folder)), torch.full((4, 1), START)
    with torch.inference_mode():
        tokens = model.visual(normalised(model, pictures(2)))[1]
        decoder, fresh = (CocaDecoder(model, 2, 2, 8, 49_408) for _ in range(2))
        decoder.look(tokens * torch.nan)
        decoder.start(start)
        for _ in range(4):
            assert not decoder.step(start[:, 0])[:, 1:].isfinite().any()
        for other in (decoder, fresh):
            other.look(tokens)
            other.start(start)
        assert torch.equal(decoder.step(start[:, 0]), fresh.step(start[:, 0]))


@pytest.mark.parametrize(
    ("precision", "method", "n"),
    [("fp32", "greedy", 1), ("bf16", "greedy", 1), ("bf16", "nucleus", 2), ("fp32", "beam", 2)],
)
def test_captions_do_not_depend_on_what_is_beside_them(
    folder: Path, precision: str, method: str, n: int, two_threads: None
) -> None:
    own = settings(folder, precision=precision, method=method, captions=n)
    model, views = open_captioner(own), pictures(18)
    whole = captions(model, views, n, own.sampling)
    assert len({one.text for some in whole for one in some}) > 12
    for cuts in ([1, 9], [17]):
        parts = np.split(np.arange(18), cuts)
        assert [c for part in parts for c in captions(model, [views[i] for i in part], n, own.sampling)] == whole
    order = np.random.default_rng(3).permutation(18)
    assert captions(model, [views[i] for i in order], n, own.sampling) == [whole[i] for i in order]
    assert captions(open_captioner(own), views[:1], n, own.sampling) == whole[:1]


def test_one_caption_more_changes_none_of_the_others(folder: Path, captioner: CocaCaptioner) -> None:
    sampling, views = settings(folder, method="nucleus").sampling, pictures(3)
    few, more = (told(captions(captioner, views, n, sampling)) for n in (2, 3))
    assert [own[:2] for own in more] == few


class Tight(CocaCaptioner):
    """A CoCa in too little memory for units of more rows than `room`."""

    room = 8

    def _unit(self, *given: Any) -> Any:
        if self._rows > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._unit(*given)


def test_where_memory_runs_out_units_are_halved(folder: Path, captioner: CocaCaptioner) -> None:
    own, views = settings(folder, method="nucleus"), pictures(20)
    assert captions(Tight(own), views, 2, own.sampling) == captions(captioner, views, 2, own.sampling)
    model = Tight(own)
    model.room = 1
    with pytest.raises(torch.OutOfMemoryError, match="a single picture does not fit"):
        captions(model, views, 2, own.sampling)


def test_caches_are_given_back_at_once(folder: Path) -> None:
    """Where memory ran out, a decoder that waits for the garbage collector leaves no room for a smaller one."""
    own = settings(folder)
    model = open_captioner(own)
    captions(model, pictures(1), 1, own.sampling)
    (decoder,) = map(weakref.ref, model._decoders.values())
    gc.disable()
    try:
        model._shrink(1)
        assert decoder() is None
    finally:
        gc.enable()


class Broken(CocaCaptioner):
    """A CoCa on a GPU that fails."""

    def _unit(self, *given: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


def test_a_gpu_that_failed_ends_its_worker(folder: Path) -> None:
    own = settings(folder)
    with pytest.raises(SystemExit, match="the GPU of this worker failed"):
        captions(Broken(own), pictures(1), 1, own.sampling)


def test_a_step_may_run_before_it_is_recorded(folder: Path) -> None:
    """On a GPU a step is run a few times before its kernels are recorded, with whatever stands in its memory, and is
    replayed for unit after unit of pictures."""
    model, start = theirs(str(folder)), torch.full((4, 1), START)
    with torch.inference_mode():
        plain, warmed = (CocaDecoder(model, 2, 2, 8, 49_408) for _ in range(2))
        warmed._replay = recorded = Recorded(warmed._read_next)
        for seed in (0, 1):
            tokens = model.visual(normalised(model, pictures(2, seed=seed)))[1]
            for decoder in (plain, warmed):
                decoder.look(tokens)
                decoder.start(start)
            for place in range(7):
                words = torch.tensor([5, 9, 20, 21]) + 100 * place
                assert torch.equal(plain.step(words), warmed.step(words))
    assert recorded.addresses == 1


class Recorded:
    """A step that is run three times when it is first asked for, and says how often its memory moved."""

    def __init__(self, step: Any) -> None:
        self.step, self.first, self.seen = step, True, set[tuple[int, ...]]()

    def __call__(self) -> torch.Tensor:
        for _ in range(3 * self.first):
            self.step()
        self.first = False
        own = self.step.__self__
        layers = [layer._keys for layer in (*own._own, *own._mixed)] + [layer._both for layer in own._seen]
        self.seen.add(tuple(tensor.data_ptr() for tensor in (*layers, own._tokens, own._at)))
        found: torch.Tensor = self.step()
        return found

    @property
    def addresses(self) -> int:
        return len(self.seen)


@pytest.mark.parametrize(
    ("n", "changes", "words"),
    [
        (2, {"method": "greedy"}, "2 captions"),
        (4, {"method": "beam"}, "beams = 3"),
        (1, {"max_tokens": 25}, "24 places"),
        (1, {"prompt": "a " * 30}, "shorten the prompt"),
    ],
)
def test_what_cannot_be_decoded(captioner: CocaCaptioner, n: int, changes: dict[str, Any], words: str) -> None:
    sampling = Sampling(**{"method": "nucleus", "max_tokens": 12, "min_tokens": 0, **changes})
    with pytest.raises(ValueError, match=words):
        captions(captioner, pictures(1), n, sampling)


def test_every_place_is_used_and_not_one_more(folder: Path, captioner: CocaCaptioner) -> None:
    """24 places hold the start and 23 tokens; the 24th is not read again."""
    sampling = settings(folder, max_tokens=24).sampling
    (one,) = captions(captioner, pictures(1), 1, sampling)[0]
    assert one.tokens == 24
    (text,) = by_open_clip(folder, pictures(1), 1, sampling)[0]
    assert abs(one.log_probability - text.log_probability) < 1e-3
    prompted = settings(folder, max_tokens=22, prompt="a dog").sampling
    assert captions(captioner, pictures(1), 1, prompted)[0][0].tokens == 22


def test_no_pictures_no_captions(captioner: CocaCaptioner) -> None:
    assert captioner.generate([], 1, Sampling("greedy"), []) == []


def test_a_picture_is_made_ready_as_open_clip_does(folder: Path, captioner: CocaCaptioner) -> None:
    import open_clip
    from PIL import Image

    transform = open_clip.image_transform(32, is_train=False)
    pixels = drawn(90, 61)
    ready = captioner.prepare(pixels)
    own = normalised(theirs(str(folder)), [ready])[0]
    assert (ready.shape, ready.dtype) == ((32, 32, 3), np.uint8)
    assert torch.allclose(own, transform(Image.fromarray(pixels)), atol=1e-6)


def test_name_and_digest(folder: Path, captioner: CocaCaptioner, tmp_path: Path) -> None:
    assert captioner.name == folder.name
    digest = captioner_digest(settings(folder))
    assert digest == captioner_digest(settings(folder, method="nucleus"))
    assert digest != captioner_digest(settings(make_coca(tmp_path, seed=1)))


@pytest.mark.slow
def test_coca_vit_b_32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real architecture, but for 9 of 12 layers that are like the others, with random weights, from a file."""
    import open_clip
    from safetensors.torch import save_file

    with_generation(monkeypatch)
    about = open_clip.get_model_config("coca_ViT-B-32")
    for part in ("vision_cfg", "text_cfg", "multimodal_cfg"):
        about[part]["layers"] = 3
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "coca_ViT-B-32", about)
    torch.manual_seed(0)
    model = open_clip.create_model("coca_ViT-B-32", load_weights=False).eval()
    with torch.no_grad():
        model.text_decoder.text_projection.normal_(std=0.05)
        model.text.positional_embedding.mul_(60)
        for block in model.text_decoder.cross_attn:
            block.attn.out_proj.weight.mul_(8)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "coca.safetensors")
    own = settings(tmp_path / "coca.safetensors", architecture="coca_ViT-B-32", max_tokens=8)
    views = pictures(2, 224)
    found = captions(open_captioner(own), views, 1, own.sampling)
    out = model.generate(normalised(model, views), seq_len=10, generation_type="top_k", top_k=1, min_seq_len=0)
    words = [open_clip.decode(row[1:-1]).split("<end_of_text>")[0].strip() for row in out]
    assert [one.text for (one,) in found] == words
    assert len({one.text for (one,) in found}) == 2
