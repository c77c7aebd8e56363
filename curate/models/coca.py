"""open_clip's CoCa as a captioner, with a cache: the image is looked at once, and each token is computed once.

open_clip loads the weights and sees the picture; the texts are made by `curate.models.coca_steps` and the loop that all
captioners share. With the same weights greedy captions are those of open_clip's own `generate`, token for token, at a
fraction of the time (`bench/coca.py`). Pictures go through in units of a fixed number of decoder rows, filled up with
the last one, so that a caption does not depend on what stands beside it.

Two things differ from open_clip on purpose. `generate` there ends a text at a padding token, which the model was never
taught to say; here it cannot be said. And its `top_p` of .1 by default is not ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.errors import ConfigError
from curate.manifest import fingerprint
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, Sampling, uniforms
from curate.models.coca_config import END, START, WORDS, coca_config
from curate.models.coca_steps import CocaDecoder
from curate.models.decoding import decode, rows_each
from curate.models.device import computes, device, on_one_thread, require_device
from curate.models.memory import is_memory
from curate.models.settings import ModelSettings
from curate.models.towers import open_towers, require_towers
from curate.models.weights import told_by_tag, weights_digest

__all__ = ["CocaCaptioner", "captioner_digest", "open_captioner", "require_captioner"]

ROWS = {"cpu": 16, "cuda": 256}
"""Of a unit, whatever `batch` says. On a core 16 rows of coca_ViT-B-32 take a sixth of the time that they take one by
one; from 4 rows on the logits were the same to the last bit, whatever the number (AVX-512, float32 and bfloat16)."""

Prompt: TypeAlias = "list[int]"


def open_captioner(settings: CaptionerSettings) -> CocaCaptioner:
    """The CoCa of these settings. Raises ConfigError."""
    _require_settings(settings)
    return CocaCaptioner(settings)


def captioner_digest(settings: CaptionerSettings) -> str:
    """Digest of its tensors, its config, and what open_clip knows of the tag. Raises ConfigError."""
    own = _model_settings(settings)
    return fingerprint(["coca", 1, own.architecture, weights_digest(own), dict(told_by_tag(own))])


def require_captioner(settings: CaptionerSettings) -> None:
    """Raise ConfigError for an architecture that is no CoCa, tensors that do not fit it, a device that is not there, a
    prompt and `max_tokens` that have no place."""
    require_device(settings.device)
    _require_settings(settings)
    require_towers(_model_settings(settings))


def _require_settings(settings: CaptionerSettings) -> None:
    """Raise ConfigError for what the settings and the config file tell alone."""
    if settings.boxes:
        raise ConfigError("boxes = true: a CoCa tells no boxes; write boxes = false, or take a Florence-2")
    if settings.revision:
        raise ConfigError(f"revision = {settings.revision!r} is not for models of open_clip; remove it")
    config = coca_config(_model_settings(settings))
    _prompt(settings.sampling, config.places, config.padding)


def _model_settings(settings: CaptionerSettings) -> ModelSettings:
    try:
        return ModelSettings(architecture=settings.architecture, weights=settings.weights, precision=settings.precision)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _prompt(sampling: Sampling, places: int, padding: int) -> Prompt:
    """The start and the prompt's tokens. Raises ConfigError where they leave no place, or cannot be read."""
    import open_clip

    found: list[int] = open_clip.tokenize([sampling.prompt], context_length=places + 2)[0].tolist()
    tokens = found[: found.index(END)]
    if START in tokens[1:] or END in found[len(tokens) + 1 :]:
        raise ConfigError(f"prompt = {sampling.prompt!r} has marks of the model in it; write it without")
    if padding in tokens[1:]:
        raise ConfigError(f"prompt = {sampling.prompt!r} has the padding among its tokens; write it without '!'")
    most = places + 1 - len(tokens)
    if sampling.max_tokens > most:
        change = f"write max_tokens = {most} or less" if most > 0 else "shorten the prompt"
        raise ConfigError(
            f"max_tokens = {sampling.max_tokens}: the model has {places} places, of which start and prompt take "
            f"{min(len(tokens), places)}; {change}"
        )
    return tokens


class CocaCaptioner:
    """A CoCa on a device. Not for use from two threads at once, but for `prepare`."""

    def __init__(self, settings: CaptionerSettings) -> None:
        own = _model_settings(settings)
        self._config = coca_config(own)
        towers = open_towers(own)
        self.name, self.prepare = towers.name, towers.prepare
        self._where = device(settings.device)
        self._kind = computes(settings.precision, self._where)
        self._model = towers.module.to(self._where, self._kind).requires_grad_(False)
        self._mean, self._std = (
            torch.tensor(values, device=self._where).view(1, 3, 1, 1) for values in (towers.mean, towers.std)
        )
        self._rows = ROWS[self._where.type]
        self._decoders: dict[tuple[int, int, int], CocaDecoder] = {}

    @on_one_thread
    def generate(
        self, images: Sequence[Any], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Generated]]:
        """As `curate.models.captioner.Captioner`. Texts are in small letters, and without the prompt. Raises ValueError
        for a prompt or a `max_tokens` for which there is no place."""
        try:
            prompt = _prompt(sampling, self._config.places, self._config.padding)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        each = rows_each(sampling, n)
        found: list[list[Generated]] = []
        while len(found) < len(images):
            part = slice(len(found), len(found) + max(1, self._rows // each))
            made = self._tried(images[part], prompt, (n, sampling), seeds[part])
            if made is None:
                self._shrink(each)
            else:
                found += made
        return found

    def _tried(
        self, views: Sequence[Any], prompt: Prompt, asked: tuple[int, Sampling], seeds: Sequence[int]
    ) -> list[list[Generated]] | None:
        """None where memory ran out and fewer pictures may fit. The exception ends here: while it lives, so does all
        that filled the memory."""
        try:
            return self._unit(views, prompt, asked, seeds)
        except torch.AcceleratorError as error:
            if not is_memory(error):
                raise SystemExit(f"curate: the GPU of this worker failed: {error}") from error
        except (RuntimeError, MemoryError) as error:
            if not is_memory(error):
                raise
        return None

    def _unit(
        self, views: Sequence[Any], prompt: Prompt, asked: tuple[int, Sampling], seeds: Sequence[int]
    ) -> list[list[Generated]]:
        n, sampling = asked
        each = rows_each(sampling, n)
        pictures = max(1, self._rows // each)
        missing = pictures - len(views)
        drawn = sampling.method in ("nucleus", "top_k")
        draws = uniforms([*seeds, *[0] * missing], n, sampling.max_tokens) if drawn else None
        decoder = self._decoder((pictures, each, len(prompt) + sampling.max_tokens - 1))
        with torch.inference_mode():
            decoder.look(self._look(np.stack([*views, *[views[-1]] * missing])))
            prompts = torch.tensor([prompt], device=self._where).repeat(pictures, 1)
            texts = decode(decoder, prompts, sampling, draws, [END], n)
        return [
            [Generated(_text(t.tokens), t.log_probability, len(t.tokens), t.finish) for t in own]
            for own in texts[: len(views)]
        ]

    def _decoder(self, size: tuple[int, int, int]) -> CocaDecoder:
        """The one of pictures, rows of each, places: kept, since a run has one size from first to last."""
        if size not in self._decoders:
            self._decoders.clear()
            with torch.inference_mode():
                self._decoders[size] = CocaDecoder(self._model, *size, WORDS)
        return self._decoders[size]

    def _look(self, views: npt.NDArray[np.uint8]) -> Tensor:
        """uint8 (pictures, size, size, 3) to the tokens that the text decoder reads: (pictures, tokens, width)."""
        held = torch.from_numpy(views)
        if self._where.type == "cuda":
            held = held.pin_memory().to(self._where, non_blocking=True)
        values = held.permute(0, 3, 1, 2).float().div_(255).sub_(self._mean).div_(self._std).to(self._kind)
        tokens: Tensor = self._model.visual(values)[1]
        return tokens

    def _shrink(self, each: int) -> None:
        """Units of half as many pictures, and nothing kept of the larger ones. Raises OutOfMemoryError when a unit is
        one picture."""
        self._decoders.clear()
        if self._where.type == "cuda":
            torch.cuda.empty_cache()
        if self._rows // each <= 1:
            raise torch.OutOfMemoryError("a single picture does not fit into the memory of the device")
        self._rows //= 2


def _text(tokens: Sequence[int]) -> str:
    """Tokens without the end to words, as open_clip's examples do it: without the start, and without white space around
    them."""
    import open_clip

    words: str = open_clip.decode(torch.tensor(tokens, dtype=torch.int64))
    return words.replace("<start_of_text>", "").strip()
