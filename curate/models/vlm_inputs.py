"""What a model of pictures and text is given beside the pixels: the question in tokens, and all that goes with a form.

It is the same for all pictures of one form, so the processor is asked once for each form and prompt, with a grey
picture, and not once for each picture (6 to 210 ms).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.errors import ConfigError
from curate.models.captioner import Sampling
from curate.models.hf_folder import load_image_processor, load_processor
from curate.models.memory import is_memory
from curate.models.vlm_pictures import ALIKE, FORMS, PIXELS, Pictures, PreparedPicture
from curate.models.vlm_prompts import prompt_text

__all__ = ["Inputs"]

NUMBERS = "num2words"
"""A package that says numbers in words, of which SmolVLM's processor makes the text about a video."""


class Inputs:
    """Inputs of the model in a folder, of this transformers config. Raises ConfigError for a folder without a
    processor, or with one that reads no pictures."""

    def __init__(self, path: Path, config: Any) -> None:
        self._path, self._config = path, config
        self.processor = _processor(path)
        if getattr(self.processor, "num_query_tokens", 0) is None:  # BLIP-2's of 2023
            self.processor.num_query_tokens = config.num_query_tokens
        self.pictures = Pictures(self.processor, str(path))
        self.beside = lru_cache(maxsize=256)(self._beside)

    def _beside(self, form: tuple[int, int], prompt: str) -> dict[str, Any]:
        """Tensors for one picture of this form, without its pixels. Raises ConfigError."""
        text, options = prompt_text(self.processor, self._config.model_type, prompt)
        try:
            found = self.processor(images=self.pictures.example(form), text=text, return_tensors="pt", **options)
        except Exception as error:
            if is_memory(error):
                raise
            first = str(error).strip().partition("\n")[0]
            raise ConfigError(f"the processor of {self._path} refuses prompt = {prompt!r}: {first}") from error
        return {name: value for name, value in found.items() if isinstance(value, torch.Tensor) and name != PIXELS}

    def require_room(self, sampling: Sampling) -> None:
        """Raise ConfigError where the model has no place for the question and `max_tokens`."""
        told = self._config.get_text_config(decoder=True)
        most = getattr(told, "max_position_embeddings", None)
        two = bool(getattr(told, "is_encoder_decoder", False))  # the one reads the question, the other writes
        forms = (ALIKE,) if self.pictures.alike else FORMS
        asked = self._longest({forms[0], forms[len(forms) // 2], forms[-1]}, sampling.prompt)
        if not isinstance(most, int):
            return
        if two and asked > most:
            raise ConfigError(
                f"{self._path} has places for {most} tokens, and picture and prompt need {asked}; shorten the prompt"
            )
        if two or getattr(self._config, "is_encoder_decoder", False):
            asked = 2
        elif 2 * asked + sampling.max_tokens > most:  # else the three tell enough: no form has twice their tokens
            asked = self._longest(forms, sampling.prompt)
        needed = sampling.max_tokens + asked
        if needed > most:
            raise ConfigError(
                f"{self._path} has places for {most} tokens, and picture, prompt and max_tokens = "
                f"{sampling.max_tokens} need {needed}; write max_tokens = {max(1, most - asked)}"
            )

    def _longest(self, forms: Collection[tuple[int, int]], prompt: str) -> int:
        return max(int(self.beside(form, prompt)["input_ids"].shape[1]) for form in forms)

    def pixels(self, images: Sequence[PreparedPicture], where: Any, kind: Any) -> Any:
        """Pictures of one form as the model takes them, on its device, of this torch type."""
        factor, summand = self.pictures.colours(images[0].form)
        stacked = torch.from_numpy(np.concatenate([image.values for image in images]))
        if where.type == "cuda":
            stacked = stacked.pin_memory().to(where, non_blocking=True)
        # of pictures that are rows of patches a factor for each row would stand once per picture
        on_device = [_repeated(torch.from_numpy(one).to(where), stacked, len(images)) for one in (factor, summand)]
        return stacked.to(torch.float32).mul_(on_device[0]).add_(on_device[1]).to(kind)


def _repeated(values: Any, like: Any, times: int) -> Any:
    if values.ndim == like.ndim and values.shape[0] > 1:
        return values.repeat(times, *[1] * (values.ndim - 1))
    return values


def _processor(path: Path) -> Any:
    """The processor of a folder; one with videos has no Pillow for these, and gets it for pictures alone."""
    try:
        return load_processor(path)
    except ConfigError as error:
        if "ideo processor" not in str(error):
            raise _told(path, error) from error
    from transformers import AutoProcessor

    try:
        found = AutoProcessor.from_pretrained(str(path.absolute()), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        if is_memory(error):
            raise
        raise _told(path, error) from error
    found.image_processor = load_image_processor(path)
    return found


def _told(path: Path, error: Exception) -> ConfigError:
    """What to do about a processor that cannot be read."""
    if NUMBERS in str(error):
        return ConfigError(
            f"the processor of {path} needs the package {NUMBERS}, as transformers has SmolVLM's; install it: "
            f"pip install {NUMBERS} (it is under the LGPL, so our extra `models` does not bring it)"
        )
    if isinstance(error, ConfigError):
        return error
    first = str(error).strip().partition("\n")[0]
    return ConfigError(f"{path} has no processor that transformers can read: {first}")
