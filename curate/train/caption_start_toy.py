"""The toys as captioner and matcher to be trained.

The matcher's text layers read a text alone for ITC and look at the picture too for ITM, as BLIP's do: the toy CLIP's
text tower is made of the matcher's own layers, without their look at the picture. Each kind takes what the other has:
picture tower, words, places, layers. A toy matcher is kept with its ITC heads beside it, in a file that no back end
reads, so that a training can be continued.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import ConfigError
from curate.manifest import fingerprint
from curate.models.settings import TOY
from curate.models.toy import ToyClip, ToyMatcher, prepare, tokenize, trimmed
from curate.models.toy_captioner import PLACES, ToyCaptioner, caption_tokens
from curate.models.toy_clip import MEAN, STD
from curate.models.toy_words import PADDING, UNKNOWN
from curate.models.weights import TOY_FILES, read_tensors
from curate.source.model_file import file_digest
from curate.train.caption_start import NEW, TOY_FILE, Recipe, Trainee
from curate.train.folder import tensors_of
from curate.train.momentum import FIRST_TEMPERATURE

__all__ = ["captioner", "matcher"]

TENSORS, HEADS = "model.safetensors", "itc.safetensors"
FRESH_RATE, TOWER_RATE = 2e-3, 1e-3
"""Highest rates from random weights, and from towers that know something, which a higher one makes forget."""
Tensors = Mapping[str, Tensor]


def _recipe(start: str) -> Recipe:
    rate = FRESH_RATE if start == NEW else TOWER_RATE
    return Recipe(rate, 0.02, (0.9, 0.98), 80, 0.05, 1.0, 0.0, 1.0)


class Pictures(nn.Module):
    """uint8 (n, size, size, 3) to what a picture tower takes."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std


class ToyCaptionerModule(nn.Module):
    """A toy captioner as `curate.train.caption_start.Trainee` wants it."""

    def __init__(self, model: ToyCaptioner) -> None:
        super().__init__()
        self.model, self.pictures = model, Pictures(MEAN, STD)

    def logits(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        found: Tensor = self.model(self.model.picture(self.pictures(pixels)), tokens)
        return found


class ToyMatcherModule(nn.Module):
    """A toy matcher and a toy CLIP of the same towers."""

    def __init__(self, model: ToyMatcher, clip: ToyClip) -> None:
        super().__init__()
        self.model, self.pictures = model, Pictures(MEAN, STD)
        self.picture_out, self.text_out = clip.picture_out, clip.text_out
        self.temperature = nn.Parameter(torch.tensor(FIRST_TEMPERATURE))

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.model.picture(self.pictures(pixels))
        return seen, functional.normalize(self.picture_out(seen.mean(dim=1)).float(), dim=-1)

    def embed(self, tokens: Tensor) -> Tensor:
        x, hidden = self.model.text(tokens)
        for layer in self.model.layers:
            own = layer.norm(x)
            x = x + layer.attention(own, own, hidden)
            x = x + layer.mlp(x)
        return functional.normalize(self.text_out(self.model.norm(x[:, 0])).float(), dim=-1)

    def judge(self, seen: Tensor, tokens: Tensor) -> Tensor:
        return self.model.logit(self.model.read(seen, tokens))


def captioner(start: str, seed: int, prompt: str) -> Trainee:
    """A toy captioner from a start. Raises ConfigError."""
    words = caption_tokens([prompt])
    if UNKNOWN in words or words.shape[1] - 1 >= PLACES:
        raise ConfigError(f"prompt = {prompt!r} is too long for the toy captioner, or has words that it does not know")
    given, digest = _given(start, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ToyCaptioner()
    fresh = _take(model.state_dict(), {_as_captioner(name): tensor for name, tensor in given.items()}, start)

    def write(folder: Path) -> None:
        _write(folder, TENSORS, tensors_of(model))
        _tell(folder, "captioner", digest)

    return Trainee(
        f"toy captioner from {_told(start)}",
        ToyCaptionerModule(model),
        prepare,
        lambda texts: caption_tokens([f"{prompt} {text}" for text in texts]),
        PADDING,
        words.shape[1] - 2,
        _recipe(start),
        fresh,
        digest,
        write,
    )


def matcher(start: str, seed: int) -> Trainee:
    """A toy matcher from a start. Raises ConfigError."""
    given, digest = _given(start, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, clip = ToyMatcher(), ToyClip()
    module = ToyMatcherModule(model, clip)
    fresh = _take(model.state_dict(), {_as_matcher(name): tensor for name, tensor in given.items()}, start)
    _take(_heads(module.state_dict()), given)

    def write(folder: Path) -> None:
        _write(folder, TENSORS, tensors_of(model))
        _write(folder, HEADS, _heads(tensors_of(module)))
        _tell(folder, "matcher", digest)

    return Trainee(
        f"toy matcher from {_told(start)}",
        module,
        prepare,
        lambda texts: trimmed(tokenize(texts)),
        PADDING,
        0,
        _recipe(start),
        fresh,
        digest,
        write,
    )


def _given(start: str, seed: int) -> tuple[dict[str, Tensor], str]:
    """The tensors of a start, and its fingerprint. Raises ConfigError."""
    if start == NEW:
        return {}, fingerprint(["toy", NEW, seed])
    path = TOY_FILES["clip"] if start == TOY else Path(start) / TENSORS
    if not path.is_file():
        raise ConfigError(f"{start} has no {TENSORS}; name a folder that a training wrote")
    tensors = read_tensors(path)
    files, heads = [path], Path(start) / HEADS
    if start != TOY and heads.is_file():
        files.append(heads)
        tensors |= read_tensors(heads)
    return tensors, fingerprint(["toy", *map(file_digest, files)])


def _heads(tensors: Tensors) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("model.")}


def _as_captioner(name: str) -> str:
    return {"text.words.weight": "words.weight", "text.positions": "positions"}.get(name, name)


def _as_matcher(name: str) -> str:
    return {"words.weight": "text.words.weight", "positions": "text.positions"}.get(name, name)


def _take(own: Tensors, given: Tensors, start: str = NEW) -> str:
    """Copy what goes by the same name into a model's tensors, of words as many as both have; says what is lacking.

    Raises ConfigError for a start, other than NEW, with nothing of it."""
    lacking = [name for name in own if name not in given]
    if start != NEW and len(lacking) == len(own):
        raise ConfigError(
            f"{start} has no tensor of this toy, so it is no captioner and no matcher; name another start"
        )
    with torch.no_grad():
        for name in own.keys() & given.keys():
            tensor, target = given[name], own[name]
            if name.endswith("words.weight") and tensor.ndim == 2:
                rows = min(len(tensor), len(target))
                tensor, target = tensor[:rows], target[:rows]
            if tensor.shape != target.shape or not tensor.is_floating_point():
                raise ConfigError(f"the start's {name} is {tuple(tensor.shape)}, and not of this toy; train it anew")
            if not tensor.isfinite().all():
                raise ConfigError(f"the start's {name} has values that are not finite; train it anew")
            target.copy_(tensor)
    return f"{len(lacking)} of {len(own)} tensors, such as {lacking[0]}" if lacking else ""


def _told(start: str) -> str:
    return {TOY: "the toy CLIP", NEW: "random weights"}.get(start, Path(start).name)


def _write(folder: Path, name: str, tensors: Tensors) -> None:
    from safetensors.torch import save_file

    save_file(dict(tensors), folder / name)


def _tell(folder: Path, kind: str, start: str) -> None:
    about = json.dumps({"kind": kind, "from": start}, indent=1)
    (folder / TOY_FILE).write_text(about + "\n", "utf-8")
