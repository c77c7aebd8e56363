"""BLIP (Li et al. 2022) as a captioner: `BlipForConditionalGeneration` in a folder of transformers, decoded here.

transformers' own `generate` says the same, token for token (float32, greedy and beams), and is slower: it multiplies
out every attention, launches each step piece by piece, and has the keys and values of a picture once for each of its
captions. What comes to pass in which order is laid out so that a GPU always has work: while it looks at the pictures
of one unit those of the next are copied, and it looks at these while texts are made of the tokens of the first.

A unit has a fixed number of pictures, `CPU_UNIT` on a CPU and `gpu_unit` or `batch` on a GPU, and is filled up where
fewer come, because the last bits of a product depend on its shape. When memory runs out it is halved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.errors import ConfigError
from curate.models.blip_decoder import BlipDecoder
from curate.models.blip_vision import BlipVision
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, Sampling, uniforms
from curate.models.decoding import Decoded, decode, rows_each
from curate.models.device import computes, device, on_one_thread, require_device, sent
from curate.models.hf_folder import (
    folder_digest,
    load_config,
    load_model,
    load_tokenizer,
    model_folder,
    require_model_files,
)
from curate.models.hf_pictures import square_preprocess
from curate.models.memory import is_memory
from curate.models.sent_pictures import SentPictures
from curate.score import BATCH_BYTES

__all__ = ["BlipCaptioner", "captioner_digest", "open_captioner", "require_captioner"]

CLASS = "BlipForConditionalGeneration"
OLD = ("*.position_ids",)
"""Tensors that older versions of transformers wrote."""
CPU_UNIT, GPU_UNIT = 8, 128
"""Pictures. The decoder reads its weights once a step for all: 55 ms a step of BLIP-base on one core for 8 pictures as
for one. 128 of BLIP-large at 384 px have 2.7 GB of keys and values, and keep a GPU busy."""


def captioner_digest(settings: CaptionerSettings) -> str:
    """Of all files of the folder. Raises ConfigError."""
    return folder_digest(model_folder(settings.weights, settings.revision))


def require_captioner(settings: CaptionerSettings) -> None:
    """Raise ConfigError for what would fail on every shard. Reads the weights once, to see that they are finite: 1 s
    for 1.9 GB."""
    require_device(settings.device)
    folder = model_folder(settings.weights, settings.revision)
    require_model_files(folder, ("blip",), CLASS, may_have=OLD)
    _require_finite(folder, folder_digest(folder))
    config = load_config(folder)
    square_preprocess(folder, config.vision_config.image_size)
    prompt = _prompt(settings.prompt, load_tokenizer(folder), config)
    most, wanted = config.text_config.max_position_embeddings, len(prompt) + settings.max_tokens
    if wanted > most:
        raise ConfigError(
            f"{folder} writes texts of up to {most} tokens, and prompt and max_tokens = {settings.max_tokens} are "
            f"{wanted} together; lower max_tokens"
        )
    if settings.boxes:
        raise ConfigError(f"boxes = true: {folder} is a BLIP, which tells no places; leave it out")


def open_captioner(settings: CaptionerSettings) -> BlipCaptioner:
    """The model, loaded. Raises ConfigError."""
    return BlipCaptioner(settings)


@dataclass(frozen=True)
class _Wanted:
    """What is made of each picture."""

    n: int
    sampling: Sampling
    prompt: tuple[int, ...]


class BlipCaptioner:
    """A `curate.models.captioner.Captioner`. Not for two threads at once, but for `prepare`: the picture, squashed to
    the square that the model takes, uint8 (size, size, 3).

    `text` is what the model adds to the prompt, without it and without special tokens.
    """

    def __init__(self, settings: CaptionerSettings) -> None:
        folder = model_folder(settings.weights, settings.revision)
        self.name = folder.name if Path(settings.weights).is_dir() else settings.weights
        self._config, self._words = load_config(folder), load_tokenizer(folder)
        self.prepare = square_preprocess(folder, self._config.vision_config.image_size)
        where, model = device(settings.device), load_model(folder, CLASS, may_have=OLD)
        kind = computes(settings.precision, where)
        self._where = where
        self._decoder = BlipDecoder(model.text_decoder, where, kind)
        self._vision = BlipVision(model.vision_model, self.prepare.mean, self.prepare.std, where, kind)
        self._sent = SentPictures(self.prepare.size, where) if where.type == "cuda" else None
        self.unit = (settings.batch or gpu_unit(self.prepare.size)) if where.type == "cuda" else CPU_UNIT
        """Pictures that are computed together."""

    @on_one_thread
    def generate(
        self, images: Sequence[Any], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Generated]]:
        """As `Captioner.generate`. On a GPU several units at a time keep it busier than one."""
        rows_each(sampling, n)
        wanted = _Wanted(n, sampling, _prompt(sampling.prompt, self._words, self._config))
        if len(wanted.prompt) + sampling.max_tokens > self._decoder.most:
            raise ValueError(f"prompt and max_tokens = {sampling.max_tokens} are above {self._decoder.most} together")
        done: list[list[Generated]] = []
        while len(done) < len(images):
            if not self._go_on(images, seeds, wanted, done):
                self._give_back()
                self.unit //= 2
        return done

    def _give_back(self) -> None:
        """Free what the pictures took. A copy that is under way ends before: it has a stream of its own, and would go
        on into memory that is somebody else's."""
        if self._sent:
            torch.cuda.synchronize(self._where)
            self._sent = SentPictures(self.prepare.size, self._where)
        self._decoder.free()

    def _go_on(self, images: Sequence[Any], seeds: Sequence[int], wanted: _Wanted, done: list[Any]) -> bool:
        """Make what is not done yet; False where memory ran out and fewer pictures may fit. The exception ends here:
        while it lives, so does all that filled the memory."""
        try:
            with torch.cuda.device(self._where) if self._sent else nullcontext():
                for texts in self._units(images[len(done) :], seeds[len(done) :], wanted):
                    done.extend(texts)
            return True
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, torch.AcceleratorError) and not is_memory(error):
                raise SystemExit(f"curate: the GPU of this worker failed: {error}") from error
            if self.unit <= 1 or not is_memory(error):
                raise
            return False

    def _units(self, images: Sequence[Any], seeds: Sequence[int], wanted: _Wanted) -> Iterator[list[list[Generated]]]:
        """Captions of one unit of pictures after the other."""
        unit, length = self.unit, len(wanted.prompt) + wanted.sampling.max_tokens
        self._decoder.lay_out(unit, rows_each(wanted.sampling, wanted.n), length, self._vision.places)
        self._look(self._moved(images[:unit]))
        for start in range(0, len(images), unit):
            following = images[start + unit : start + 2 * unit]
            moved = self._moved(following) if len(following) else None
            found = self._decoded(seeds[start : start + unit], wanted)
            if moved is not None:
                self._look(moved)
            yield self._told(found)

    def _moved(self, images: Sequence[Any]) -> Tensor:
        """Pictures, uint8 (m, size, size, 3), on the device or on their way."""
        return self._sent(images) if self._sent else torch.from_numpy(np.stack(images))

    def _look(self, pictures: Tensor) -> None:
        """Have the decoder see these pictures, up to a unit of them; on a GPU this is begun and not waited for."""
        piece = even(self.unit, self._vision.piece)
        with torch.inference_mode():
            if self._sent:
                self._sent.wait()
            for start in range(0, len(pictures), piece):
                part = pictures[start : start + piece]
                filled = torch.cat([part, part[:1].expand(piece - len(part), -1, -1, -1)])
                self._decoder.look_at(self._vision(filled)[: len(part)], start)
            self._decoder.fill_up(len(pictures))
            if self._sent:
                self._sent.free()

    def _decoded(self, seeds: Sequence[int], wanted: _Wanted) -> list[list[Decoded]]:
        sampling = wanted.sampling
        every = [*seeds, *[seeds[0]] * (self.unit - len(seeds))]
        draws = None if sampling.method in ("greedy", "beam") else uniforms(every, wanted.n, sampling.max_tokens)
        prompt = sent(torch.tensor(wanted.prompt), self._where).expand(self.unit, -1)
        ends = [self._config.text_config.sep_token_id]
        return decode(self._decoder, prompt, sampling, draws, ends, wanted.n)[: len(seeds)]

    def _told(self, found: list[list[Decoded]]) -> list[list[Generated]]:
        texts = iter(self._words.batch_decode([text.tokens for row in found for text in row], skip_special_tokens=True))
        return [[Generated(next(texts), t.log_probability, len(t.tokens), t.finish) for t in row] for row in found]


def gpu_unit(size: int) -> int:
    """How many pictures of `size` px a unit has on a GPU: up to GPU_UNIT, and so that a scorer hands over whole units.
    Of 384 px it hands over 228: two units of 114, where of 128 the second would have 28 places filled up."""
    return even(min(2 * GPU_UNIT, -(-BATCH_BYTES // (3 * size * size))), GPU_UNIT)


def even(count: int, most: int) -> int:
    """The size of the fewest equal parts that hold `count`, none above `most`."""
    return -(-count // -(-count // most))


def _prompt(text: str, words: Any, config: Any) -> tuple[int, ...]:
    """As BLIP begins: its token [DEC], then the words, without the end that a tokenizer adds. Raises ConfigError where
    tokenizer and model do not go together."""
    told = config.text_config
    found = (told.bos_token_id, *words(text, add_special_tokens=False)["input_ids"])
    odd = [token for token in (*found, told.sep_token_id) if token is None or not 0 <= token < told.vocab_size]
    if odd:
        raise ConfigError(
            f"the tokenizer and the config of {words.name_or_path} do not go together: token {odd[0]} of the start, "
            f"the end or the prompt {text!r} is none of the model's {told.vocab_size:,}; fetch the folder anew"
        )
    return found


@lru_cache(maxsize=16)
def _require_finite(folder: Path, digest: str) -> None:
    from safetensors import safe_open

    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                if not bool(tensors.get_tensor(name).isfinite().all()):
                    raise ConfigError(f"{file} is broken: {name} has values that are not finite; save or fetch it anew")
