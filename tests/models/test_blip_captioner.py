"""BLIP's captions beside transformers' own `generate`, and what must not change them."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import tiny_blip
import torch
from PIL import Image
from torch.nn import functional as F

from curate.errors import ConfigError
from curate.models import blip
from curate.models.blip import BlipCaptioner
from curate.models.blip_vision import attended
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, Sampling

PROMPT = "a picture of"
PICTURES = [tiny_blip.picture(seed, 40 + seed % 5, 36) for seed in range(11)]
SEEDS = [2**63 + 97 * number for number in range(11)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_blip.write_blip(tmp_path_factory.mktemp("blip"), "caption", seed=3)


@pytest.fixture(scope="module")
def captioner(folder: Path) -> BlipCaptioner:
    return opened(folder)


def settings(folder: Path, **more: Any) -> CaptionerSettings:
    return CaptionerSettings(weights=str(folder), precision="fp32", device="cpu", **more)


def opened(folder: Path, **more: Any) -> BlipCaptioner:
    return blip.open_captioner(settings(folder, **more))


def captions(
    captioner: BlipCaptioner, sampling: Sampling, n: int = 1, numbers: Sequence[int] = range(11)
) -> list[list[Generated]]:
    """Of the pictures with these numbers."""
    views = [captioner.prepare(PICTURES[number]) for number in numbers]
    return captioner.generate(views, n, sampling, [SEEDS[number] for number in numbers])


def theirs(folder: Path, pictures: list[np.ndarray], prompt: str, **more: Any) -> list[tuple[str, int]]:
    """transformers' texts and how many tokens each has, prompt and end cut off."""
    from transformers import AutoImageProcessor, AutoTokenizer, BlipForConditionalGeneration

    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    words = AutoTokenizer.from_pretrained(folder)
    process = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = process([Image.fromarray(p) for p in pictures], return_tensors="pt")["pixel_values"]
    ids = words([prompt] * len(pictures), return_tensors="pt")["input_ids"] if prompt else None
    given = ids.shape[1] - 1 if prompt else 1
    with torch.inference_mode():
        out = model.generate(pixels, input_ids=ids, do_sample=False, **more)[:, given:].tolist()
    end = model.config.text_config.sep_token_id
    rows = [row[: row.index(end)] if end in row else row for row in out]
    return [(words.decode(row, skip_special_tokens=True), len(row)) for row in rows]


@pytest.mark.parametrize("prompt", ["", PROMPT])
@pytest.mark.parametrize("penalty", [1.0, 1.1, 1.5])
@pytest.mark.parametrize("least", [0, 7])
def test_greedy_captions_are_those_of_transformers(
    captioner: BlipCaptioner, folder: Path, prompt: str, penalty: float, least: int
) -> None:
    sampling = Sampling("greedy", max_tokens=15, min_tokens=least, repetition_penalty=penalty, prompt=prompt)
    more = {"max_new_tokens": 15, "min_new_tokens": least, "repetition_penalty": penalty}
    found = [(row[0].text, row[0].tokens) for row in captions(captioner, sampling)]
    assert found == theirs(folder, PICTURES, prompt, **more)


@pytest.mark.parametrize("prompt", ["", PROMPT])
@pytest.mark.parametrize("penalty", [1.0, 1.1])
def test_captions_of_beams_are_those_of_transformers(
    captioner: BlipCaptioner, folder: Path, prompt: str, penalty: float
) -> None:
    sampling = Sampling("beam", beams=3, max_tokens=12, min_tokens=2, repetition_penalty=penalty, prompt=prompt)
    more = {"max_new_tokens": 12, "min_new_tokens": 2, "repetition_penalty": penalty, "num_beams": 3}
    found = captions(captioner, sampling, 2)
    assert [row[0].text for row in found] == [text for text, _ in theirs(folder, PICTURES, prompt, **more)]
    assert all(row[0].text != row[1].text for row in found)


NUCLEUS = Sampling("nucleus", max_tokens=10, min_tokens=1, prompt=PROMPT)
ALL = [
    NUCLEUS,
    Sampling("top_k", top_k=6, temperature=1.4, max_tokens=9, stop_probability=0.1),
    Sampling("greedy", max_tokens=9, prompt=PROMPT),
    Sampling("beam", beams=4, max_tokens=9, repetition_penalty=1.3),
]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """On two, the last bits of a product of matrices depend on what stands beside a row."""
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.parametrize("sampling", ALL)
def test_a_caption_depends_on_its_picture_alone(
    captioner: BlipCaptioner, sampling: Sampling, two_threads: None
) -> None:
    """Not on the number of pictures in a call, their order, or what is beside it in a unit, nor on the threads that
    torch was given; to the last bit."""
    n = 1 if sampling.method == "greedy" else 3
    whole = captions(captioner, sampling, n)
    for numbers in ([4], [10, 0], [5, 3, 1], list(range(10, -1, -1)), list(range(3, 11))):
        assert captions(captioner, sampling, n, numbers) == [whole[number] for number in numbers]
    assert len({text.text for row in whole for text in row}) >= 11


def test_captions_do_not_depend_on_what_was_asked_before(captioner: BlipCaptioner) -> None:
    """The memory of a longer text, and of more captions, is used again."""
    first = captions(captioner, NUCLEUS, 2)
    captions(captioner, Sampling("beam", beams=5, max_tokens=30), 1)
    assert captions(captioner, NUCLEUS, 2) == first
    more = captions(captioner, NUCLEUS, 6)
    assert [[text.text for text in row[:2]] for row in more] == [[text.text for text in row] for row in first]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_changes_no_caption_on_a_cpu(captioner: BlipCaptioner, folder: Path, batch: int) -> None:
    assert captions(opened(folder, batch=batch), NUCLEUS, 2) == captions(captioner, NUCLEUS, 2)


def test_what_is_missing_of_a_unit_is_the_first_picture(captioner: BlipCaptioner) -> None:
    """So that it ends when a picture of the call does, and not when one of the call before would."""
    captions(captioner, NUCLEUS)
    captions(captioner, NUCLEUS, 1, [7, 2])
    layers = captioner._decoder._laid.pictures
    assert torch.equal(layers[:, :, 2:], layers[:, :, :1].expand(-1, -1, blip.CPU_UNIT - 2, -1, -1, -1))
    assert not torch.equal(layers[:, :, 1], layers[:, :, 0])


def test_captions_in_half_precision_depend_on_their_picture_alone(folder: Path) -> None:
    """In bfloat16 where the processor has it itself, which goes in pieces of two pictures, else in float32."""
    half = blip.open_captioner(CaptionerSettings(weights=str(folder), precision="bf16", device="cpu"))
    whole = captions(half, NUCLEUS, 2)
    for numbers in ([4], [10, 0, 3], list(range(10, -1, -1))):
        assert captions(half, NUCLEUS, 2, numbers) == [whole[number] for number in numbers]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_that_of_torch(kind: torch.dtype, masked: bool) -> None:
    made = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(2, 3, places, 16, generator=made).to(kind) for places in (5, 7, 7))
    allowed = torch.ones(5, 7, dtype=torch.bool).tril(2) if masked else None
    found = attended(queries, keys, values, allowed)
    expected = F.scaled_dot_product_attention(queries.float(), keys.float(), values.float(), attn_mask=allowed)
    assert found.dtype == kind
    assert torch.allclose(found.float(), expected, atol=1e-6 if kind == torch.float32 else 0.02)


def test_another_seed_is_another_caption(captioner: BlipCaptioner) -> None:
    view = captioner.prepare(PICTURES[0])
    found = captioner.generate([view] * 9, 1, NUCLEUS, list(range(9)))
    assert len({row[0].text for row in found}) >= 7
    assert captioner.generate([view], 1, NUCLEUS, [4])[0] == found[4]
    assert captioner.generate([], 1, NUCLEUS, []) == []


@pytest.mark.parametrize("sampling", ALL)
def test_the_log_probability_is_that_of_the_model(
    captioner: BlipCaptioner, folder: Path, sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By transformers, of each text read back as a whole."""
    from transformers import BlipForConditionalGeneration

    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    told: list[list[Any]] = []
    monkeypatch.setattr(captioner, "_told", lambda found: told.extend(found) or found)
    captions(captioner, sampling, 1 if sampling.method == "greedy" else 3)
    prompt = blip._prompt(sampling.prompt, captioner._words, captioner._config)
    end = model.config.text_config.sep_token_id
    pixels = torch.from_numpy(np.stack([captioner.prepare(p) for p in PICTURES])).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(rgb).view(3, 1, 1) for rgb in (captioner.prepare.mean, captioner.prepare.std))
    with torch.inference_mode():
        states = model.vision_model((pixels - mean) / std)[0]
        for number, row in enumerate(told):
            for text in row:
                said = [*text.tokens, *[end] * (text.finish == "stop")]
                ids = torch.tensor([[*prompt, *said]])
                logits = model.text_decoder(ids, encoder_hidden_states=states[number : number + 1]).logits[0]
                logs = logits.log_softmax(1)[len(prompt) - 1 : -1]
                expected = float(logs.gather(1, torch.tensor(said)[:, None]).sum())
                assert text.log_probability == pytest.approx(expected, abs=1e-4)


def test_a_text_is_without_prompt_and_special_tokens(captioner: BlipCaptioner) -> None:
    for row in captions(captioner, Sampling("nucleus", max_tokens=40, temperature=3.0, top_p=1.0, prompt=PROMPT), 3):
        for text in row:
            assert not text.text.startswith(PROMPT)
            assert "[" not in text.text.replace("[ ", "").replace(" [", "") or "[P" not in text.text
            assert not {"[DEC]", "[SEP]", "[CLS]", "[PAD]"} & set(text.text.split())


def test_a_text_of_no_tokens(captioner: BlipCaptioner) -> None:
    sampling = Sampling("greedy", min_tokens=0, stop_probability=1e-6)
    (found,) = captions(captioner, sampling, 1, [3])
    assert (found[0].text, found[0].tokens, found[0].finish) == ("", 0, "stop")
    assert found[0].log_probability < 0


def test_a_picture_is_looked_at_once(captioner: BlipCaptioner, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many captions it has; and its keys and values are there once."""
    seen: list[int] = []
    look = captioner._vision.__class__.__call__
    monkeypatch.setattr(
        captioner._vision.__class__,
        "__call__",
        lambda self, pictures: seen.append(len(pictures)) or look(self, pictures),
    )
    captions(captioner, NUCLEUS, 7)
    assert sum(seen) == len(PICTURES)
    room = captioner._decoder._laid
    assert room.pictures.shape[2] == blip.CPU_UNIT
    assert room.own.shape[2] == 7 * blip.CPU_UNIT


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
@pytest.mark.parametrize(("fits", "unit"), [(7, 4), (3, 2), (1, 1), (8, 8)])
def test_when_memory_runs_out_the_unit_is_halved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fits: int, unit: int, error: Exception
) -> None:
    """In the middle of the work too; what was made stays."""
    captioner = opened(folder)
    expected = captions(captioner, NUCLEUS, 2)
    look, calls = captioner._look, []

    def short(pictures: torch.Tensor) -> None:
        calls.append(captioner.unit)
        if captioner.unit > fits and len(calls) > 1:
            raise error
        look(pictures)

    monkeypatch.setattr(captioner, "_look", short)
    found = captions(captioner, NUCLEUS, 2)
    assert captioner.unit == unit
    assert [[text.text for text in row] for row in found] == [[text.text for text in row] for row in expected]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), SystemExit),
    ],
)
def test_what_does_not_get_better_is_raised(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: Any
) -> None:
    captioner = opened(folder)

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(captioner, "_look", fail)
    with pytest.raises(raised):
        captions(captioner, NUCLEUS)


def test_a_recorded_step_says_the_same(folder: Path, captioner: BlipCaptioner) -> None:
    """A graph has its tokens and its logits in memory that stays where it is."""
    other = opened(folder)
    lay_out, logits = other._decoder.lay_out, []

    def laid(*sizes: int) -> None:
        lay_out(*sizes)
        other._decoder._run = replay

    def replay() -> torch.Tensor:
        made = other._decoder._next(other._decoder._laid.tokens)
        logits[:] = logits or [torch.empty_like(made)]
        return logits[0].copy_(made)

    other._decoder.lay_out = laid  # type: ignore[method-assign]
    for sampling in (NUCLEUS, ALL[3]):
        logits.clear()
        assert captions(other, sampling, 3) == captions(captioner, sampling, 3)


@pytest.mark.parametrize(("width", "height"), [(32, 32), (300, 17), (9, 240), (1, 1), (500, 375)])
def test_pictures_are_made_ready_as_by_transformers(
    captioner: BlipCaptioner, folder: Path, width: int, height: int
) -> None:
    """Equal to 1e-6 by Pillow, which BLIP's authors use; torchvision rounds between the sides, and is up to 4 levels of
    255 off on noise."""
    from transformers import AutoImageProcessor

    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ours = captioner.prepare(pixels)
    assert (ours.shape, ours.dtype) == ((32, 32, 3), np.uint8)
    floats = (ours / 255 - np.array(captioner.prepare.mean)) / np.array(captioner.prepare.std)
    for backend, most in (("pil", 2e-6), ("torchvision", 4.01 / 255 / 0.26)):
        process = AutoImageProcessor.from_pretrained(folder, backend=backend)
        theirs = np.asarray(process(Image.fromarray(pixels), return_tensors="np")["pixel_values"])[0].transpose(1, 2, 0)
        assert np.abs(floats - theirs).max() <= most


def _edit(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Changes a file of JSON."""

    def edit(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        change(found)
        (folder / name).write_text(json.dumps(found))

    return edit


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        found = safetensors.torch.load_file(folder / "model.safetensors")
        change(found)
        safetensors.torch.save_file(found, folder / "model.safetensors", {"format": "pt"})

    return edit


BIAS = "text_decoder.bert.encoder.layer.1.output.dense.bias"
BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "no vocabulary": (lambda folder: (folder / "tokenizer.json").unlink(), "has no vocabulary"),
    "no preprocessing": (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessing of pictures"),
    "cut off": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
        "is damaged",
    ),
    "another architecture": (_edit("config.json", lambda c: c.update(model_type="git")), "is a model of type 'git'"),
    "a tensor is missing": (_tensors(lambda t: t.pop(BIAS)), f"lacks 1 tensors .{BIAS}"),
    "a tensor is too many": (_tensors(lambda t: t.update(other=torch.zeros(3))), "has 1 tensors .other"),
    "of another shape": (_tensors(lambda t: t.update({BIAS: torch.zeros(3)})), "of another shape"),
    "not a number": (_tensors(lambda t: t[BIAS].fill_(float("nan"))), f"model.safetensors is broken: {BIAS}"),
    "infinite": (_tensors(lambda t: t[BIAS].index_fill_(0, torch.tensor([2]), torch.inf)), "not finite; save or fetch"),
    "more pixels": (
        _edit("preprocessor_config.json", lambda c: c.update(size={"height": 64, "width": 64})),
        "its model takes 32 x 32",
    ),
    "start beyond the vocabulary": (
        _edit("config.json", lambda c: c["text_config"].update(bos_token_id=9_999)),
        "token 9999 of the start",
    ),
    "no end": (_edit("config.json", lambda c: c["text_config"].update(sep_token_id=None)), "do not go together"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_folder_that_is_none_is_told(folder: Path, tmp_path: Path, name: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    BROKEN[name][0](broken)
    with pytest.raises(ConfigError, match=BROKEN[name][1]) as told:
        blip.require_captioner(settings(broken))
    assert str(broken) in str(told.value)


@pytest.mark.parametrize(("prompt", "most"), [("", 63), (PROMPT, 60)])
def test_texts_must_have_room(folder: Path, captioner: BlipCaptioner, prompt: str, most: int) -> None:
    """The model has 64 places, and the start and the prompt take 1 and 3."""
    blip.require_captioner(settings(folder, prompt=prompt, max_tokens=most))
    long = Sampling("greedy", prompt=prompt, max_tokens=most, min_tokens=most)
    assert captions(captioner, long, 1, [0])[0][0].tokens == most
    with pytest.raises(ConfigError, match=f"up to 64 tokens, and prompt and max_tokens = {most + 1} are 65 together"):
        blip.require_captioner(settings(folder, prompt=prompt, max_tokens=most + 1))
    with pytest.raises(ValueError, match="are above 64 together"):
        captions(captioner, Sampling("greedy", prompt=prompt, max_tokens=most + 1), 1, [0])


def test_what_the_model_cannot_do_is_told(folder: Path, captioner: BlipCaptioner) -> None:
    with pytest.raises(ConfigError, match="which tells no places"):
        blip.require_captioner(settings(folder, boxes=True))
    with pytest.raises(ValueError, match="2 captions a picture by 'greedy'"):
        captions(captioner, ALL[2], 2)
    with pytest.raises(ConfigError, match="is no folder here"):
        blip.require_captioner(CaptionerSettings(weights="nowhere"))


def test_a_model_of_matching_is_told(tmp_path: Path) -> None:
    made = tiny_blip.write_blip(tmp_path / "itm", "itm")
    with pytest.raises(ConfigError, match="its config names BlipForImageTextRetrieval"):
        blip.require_captioner(settings(made))


def test_the_digest_is_that_of_the_files(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert blip.captioner_digest(settings(other)) == blip.captioner_digest(settings(folder))
    _tensors(lambda tensors: tensors[BIAS].add_(1))(other)
    assert blip.captioner_digest(settings(other)) != blip.captioner_digest(settings(folder))


def test_the_name_is_that_of_the_folder(captioner: BlipCaptioner, folder: Path) -> None:
    assert captioner.name == folder.name
