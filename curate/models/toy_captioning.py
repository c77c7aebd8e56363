"""The toy captioner as a back end: the shipped one, or one trained here, which is a folder.

Pictures go through in units of a fixed number of decoder rows, filled up with the last one, so that a caption does not
depend on what stands beside it. 256 rows, because a picture costs a third less than at 64; a single one costs as much
as all of them, .1 s. What the setting `batch` says is not asked for: units of another size would give other captions.
In bf16 only products of matrices are bfloat16; attention over two dozen words is three times as fast in float32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.errors import ConfigError
from curate.filter import Pixels
from curate.manifest import fingerprint
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, Sampling, uniforms
from curate.models.decoding import decode, rows_each
from curate.models.device import computes, device, on_one_thread, require_device
from curate.models.memory import is_memory
from curate.models.model_files import content_digest
from curate.models.settings import TOY, Precision
from curate.models.toy import load_toy_captioner, prepare
from curate.models.toy_captioner import END, PLACES, ToyCaptioner, caption_text, caption_tokens
from curate.models.toy_decoder import ToyDecoder, memory_of
from curate.models.toy_words import UNKNOWN
from curate.models.weights import TOY_FILES

__all__ = ["ToyCaptioning", "captioner_digest", "open_captioner", "require_captioner"]

UNIT_ROWS = 256


def open_captioner(settings: CaptionerSettings) -> ToyCaptioning:
    """The toy captioner of these settings. Raises ConfigError."""
    name = "toy captioner" if settings.weights == TOY else f"{Path(settings.weights).name} (toy)"
    return ToyCaptioning(load_toy_captioner(_file(settings)), name, settings.precision, settings.device)


def captioner_digest(settings: CaptionerSettings) -> str:
    """Digest of its weights. Raises ConfigError."""
    return fingerprint(["toy captioner", 1, content_digest(_file(settings))])


def require_captioner(settings: CaptionerSettings) -> None:
    """Raise ConfigError unless the weights are those of a toy captioner, the device is there, and a text of the prompt
    and `max_tokens` has places."""
    require_device(settings.device)
    _prompt(settings.sampling)
    load_toy_captioner(_file(settings))


def _file(settings: CaptionerSettings) -> Path:
    """The file of the weights. Raises ConfigError for a folder of another toy."""
    if settings.weights == TOY:
        return TOY_FILES["captioner"]
    folder = Path(settings.weights)
    try:
        kind = json.loads((folder / "toy.json").read_text("utf-8"))["kind"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / 'toy.json'} does not say its kind ({error!r}); train the model anew") from error
    if kind != "captioner":
        raise ConfigError(f"{folder} is a toy {kind}, and no captioner; name one in [models] that is")
    return folder / "model.safetensors"


def _prompt(sampling: Sampling) -> Tensor:
    """The start and the prompt's words, int64 (1, p). Raises ConfigError."""
    tokens = caption_tokens([sampling.prompt])[:, :-1]
    if UNKNOWN in tokens:
        raise ConfigError(f"prompt = {sampling.prompt!r} has words that the toy captioner does not know")
    if tokens.shape[1] + sampling.max_tokens - 1 > PLACES:
        raise ConfigError(
            f"the toy captioner has {PLACES} places: with this prompt max_tokens can be {PLACES + 1 - tokens.shape[1]}"
        )
    return tokens


class ToyCaptioning:
    """A toy captioner on a device; the model is moved there, and to bfloat16 where that is computed in."""

    def __init__(
        self,
        model: ToyCaptioner,
        name: str,
        precision: Precision = "fp32",
        wanted: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.name = name
        self._where = device(wanted)
        self._kind = computes(precision, self._where)
        self._model: ToyCaptioner = model.to(self._where, self._kind)
        self._mean, self._std = (
            torch.tensor(values, device=self._where).view(1, 3, 1, 1) for values in (model.mean, model.std)
        )
        self._rows = UNIT_ROWS
        self._memory: Tensor | None = None

    def prepare(self, pixels: Pixels) -> npt.NDArray[np.uint8]:
        """uint8 (32, 32, 3)."""
        return prepare(pixels)

    @on_one_thread
    def generate(
        self, images: Sequence[Any], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Generated]]:
        """As `curate.models.captioner.Captioner`. Texts are in small letters. Raises ValueError for a prompt or a
        `max_tokens` for which there is no place."""
        try:
            prompt = _prompt(sampling)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        found: list[list[Generated]] = []
        while len(found) < len(images):
            part = slice(len(found), len(found) + max(1, self._rows // rows_each(sampling, n)))
            try:
                found += self._unit(images[part], prompt, (n, sampling), seeds[part])
            except (RuntimeError, MemoryError) as error:
                if self._rows == 1 or not is_memory(error):
                    raise
                self._rows //= 2
        return found

    def _unit(
        self, views: Sequence[Any], prompt: Tensor, asked: tuple[int, Sampling], seeds: Sequence[int]
    ) -> list[list[Generated]]:
        n, sampling = asked
        each = rows_each(sampling, n)
        size = max(1, self._rows // each)
        missing = size - len(views)
        pictures = np.stack([*views, *[views[-1]] * missing])
        drawn = sampling.method in ("nucleus", "top_k")
        draws = uniforms([*seeds, *[0] * missing], n, sampling.max_tokens) if drawn else None
        with torch.inference_mode():
            decoder = ToyDecoder(self._model, self._look(pictures), each, self._room(size * each))
            texts = decode(decoder, prompt.repeat(size, 1).to(self._where), sampling, draws, [END], n)
        return [
            [Generated(caption_text(t.tokens), t.log_probability, len(t.tokens), t.finish) for t in own]
            for own in texts[: len(views)]
        ]

    def _room(self, rows: int) -> Tensor:
        """Memory of a decoder, kept from unit to unit."""
        if self._memory is None or self._memory.shape[3] != rows:
            self._memory = None  # else it would stay beside the new one
            self._memory = memory_of(self._model, rows)
        return self._memory

    def _look(self, views: npt.NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(views).to(self._where).permute(0, 3, 1, 2)
        return self._model.picture(pixels.float().div_(255).sub_(self._mean).div_(self._std).to(self._kind))
