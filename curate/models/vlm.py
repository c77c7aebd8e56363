"""Any model of transformers that takes a picture and writes text, as a captioner: Florence-2, SmolVLM, Idefics3,
Qwen2-VL, LLaVA, PaliGemma and their kin, by folder or id of the hub, never with code of its own.

Decoding is transformers' own, with our way of picking tokens in it (`curate.models.keyed_picks`). A picture is encoded
once for all of its captions where transformers does that (encoders; in its newer versions most others), else once each.
Pictures of one form (`curate.models.vlm_pictures`) have the same number of tokens, so a batch has no padding, and its
shape is always the same: 16 texts on a CPU, 128 on a GPU, filled up with the last picture. Of a model whose pictures
come in 11 forms a unit has an eighth of the pictures, since each form has units of its own: with 256 pictures at a time
a third more work on a GPU. The setting `batch` bounds what a worker holds and not the unit, which would make other
captions. Where memory runs out the unit is halved; then, in bfloat16, a token in some hundred may be another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from curate.errors import ConfigError
from curate.filter import Pixels
from curate.manifest import fingerprint
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, Sampling, uniforms
from curate.models.decoding import Decoded, rows_each
from curate.models.device import computes, device, on_one_thread, require_device
from curate.models.hf_config import told_config
from curate.models.hf_folder import folder_digest, load_config, model_folder, require_model_files
from curate.models.memory import is_memory
from curate.models.vlm_grounding import Grounding, require_grounding
from curate.models.vlm_inputs import Inputs
from curate.models.vlm_pictures import ALIKE, PreparedPicture
from curate.models.vlm_prompts import default_prompt
from curate.models.vlm_units import Rows, Unit, filled
from curate.models.vlm_writer import CLASS, Writer

__all__ = ["Vlm", "captioner_digest", "open_captioner", "require_captioner"]


def open_captioner(settings: CaptionerSettings) -> Vlm:
    """The model of these settings. Raises ConfigError."""
    return Vlm(settings)


def captioner_digest(settings: CaptionerSettings) -> str:
    """Digest of its files, and of what it is asked where a config does not say. Raises ConfigError."""
    path = model_folder(settings.weights, settings.revision)
    return fingerprint(["vlm", 1, folder_digest(path), default_prompt(told_config(path)["model_type"])])


def require_captioner(settings: CaptionerSettings) -> None:
    """Raise ConfigError for a folder that is incomplete, of a model that reads no pictures or comes with code of its
    own, for a prompt that it refuses, for more tokens than it has places, and for boxes of a model without."""
    require_device(settings.device)
    path = model_folder(settings.weights, settings.revision)
    _require_kind(path)
    require_grounding(path, settings)
    require_model_files(path, (), CLASS)
    Inputs(path, load_config(path)).require_room(settings.sampling)


def _require_kind(path: Path) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    config = load_config(path)
    if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ConfigError(
            f"{path} is a model of type {config.model_type!r}, which does not write text about a picture; name one "
            "that does, such as Florence-2, SmolVLM, Qwen2-VL or LLaVA"
        )
    names = ("preprocessor_config.json", "processor_config.json")
    if not any((path / name).is_file() for name in names):
        raise ConfigError(f"{path} has no {names[0]}; save its processor there by save_pretrained, or fetch the file")


class Vlm:
    """A model on a device. Not for use from two threads at once, but for `prepare`."""

    def __init__(self, settings: CaptionerSettings) -> None:
        where = device(settings.device)
        path = model_folder(settings.weights, settings.revision)
        _require_kind(path)
        require_grounding(path, settings)
        self.inputs = Inputs(path, load_config(path))
        self.writer = Writer(path, where, computes(settings.precision, where), self.inputs.processor.tokenizer)
        self.rows = Rows(where)
        self.name = path.name if Path(settings.weights).is_dir() else settings.weights
        self._require_works(path, settings.sampling)
        self.grounding = Grounding(self.inputs, self.writer) if settings.boxes else None

    def _require_works(self, path: Path, sampling: Sampling) -> None:
        """Raise ConfigError for a model that cannot write one token about a grey picture: its processor and it do not
        go together, say."""
        greedy = replace(sampling, method="greedy", max_tokens=1, min_tokens=0)
        try:
            self._write([self.prepare(np.full((64, 64, 3), 127, np.uint8))], Unit(1, 1, 0), greedy, [0])
        except Exception as error:
            if is_memory(error) or isinstance(error, ConfigError):
                raise
            first = str(error).strip().partition("\n")[0][:300]
            raise ConfigError(f"{path} cannot write about a picture: {type(error).__name__}: {first}") from error

    def prepare(self, pixels: Pixels) -> PreparedPicture:
        """The bytes that the model's own preprocessing makes, and the form of the picture."""
        return self.inputs.pictures.prepare(pixels)

    @on_one_thread
    def generate(
        self, images: Sequence[PreparedPicture], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Generated]]:
        """As `curate.models.captioner.Captioner`. Raises ValueError for a prompt that the model refuses and a
        `max_tokens` for which it has no place."""
        rows_each(sampling, n)
        try:
            self.inputs.require_room(sampling)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        found: list[list[Decoded]] = [[] for _ in images]
        for form in dict.fromkeys(image.form for image in images):
            own = [number for number, image in enumerate(images) if image.form == form]
            while left := [number for number in own if len(found[number]) < n]:
                begun = len(found[left[0]])
                unit = self.rows.unit(n, begun, sampling, form != ALIKE)
                part = [number for number in left if len(found[number]) == begun][: unit.pictures]
                asked = [images[number] for number in part], unit, sampling, [seeds[number] for number in part]
                made = self.rows.tried(partial(self._write, *asked), unit.is_smallest(sampling))
                for number, texts in zip(part, made or (), strict=False):
                    found[number] += texts
        captions = [[self._caption(one) for one in own[:n]] for own in found]
        return captions if self.grounding is None else self.grounding.grounded(images, captions, self.rows)

    def _write(
        self, images: Sequence[PreparedPicture], unit: Unit, sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Decoded]]:
        """The unit's texts of each picture, which have one form; those are as many as its pictures, or fewer."""
        draws = None
        if sampling.method in ("nucleus", "top_k"):
            upto = unit.begun + unit.texts
            draws = uniforms(filled(seeds, unit.pictures), upto, sampling.max_tokens)[:, unit.begun :]
        beside = self.inputs.beside(images[0].form, sampling.prompt)
        inputs = {name: value.repeat(unit.pictures, *[1] * (value.ndim - 1)) for name, value in beside.items()}
        where, kind = self.writer.where, self.writer.kind
        inputs = {name: value.to(where) for name, value in inputs.items()}
        inputs["pixel_values"] = self.inputs.pixels(filled(images, unit.pictures), where, kind)
        return self.writer.write(inputs, unit.texts, sampling, draws)[: len(images)]

    def _caption(self, one: Decoded) -> Generated:
        text = self.inputs.processor.tokenizer.decode(one.tokens, skip_special_tokens=True).strip()
        return Generated(text, one.log_probability, len(one.tokens), one.finish)
