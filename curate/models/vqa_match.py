"""VQAScore (Lin et al. 2024): the probability that a model answers "Yes" when asked whether a picture shows a text.

The authors find it nearer to people's judgement than a dual encoder or a matching head where a text is composed ("the
horse eats the grass"). It costs a whole question of a language model for each pair: picture tokens are read again for
each text, and they are most of the work, where a matching head reads a picture once. Any image-text-to-text model of
`curate.models.vlm` that answers questions will do.

The probability is that of the next token over the whole vocabulary, as in the paper; it need not be near 1 minus that
of "No". A vocabulary has the word as `Yes`, with a space before it, or both; which one a model says depends on how its
template ends, so the two are added. The authors' code multiplies by the end of the answer too and takes the root; what
is here is the paper's formula. In bfloat16, in which a model gives its logits, a probability is told to some 6 %.

Questions are padded on the left to a multiple of 16 tokens, so that a score does not depend on its neighbours; a model
that minds (tried when it is opened) has them as long as they are. Of a text the first 256 tokens are read. Tokens of
the model that are written out in a text (`<image>`) are broken up by a space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from curate.errors import ConfigError
from curate.filter import Pixels
from curate.manifest import fingerprint
from curate.models.caption_settings import MatcherSettings
from curate.models.device import computes, device, free_memory, on_one_thread, require_device, sent
from curate.models.hf_folder import folder_digest, load_config, load_model, model_folder, require_model_files
from curate.models.match_units import PairUnits, Tokens
from curate.models.memory import is_memory
from curate.models.vlm_inputs import Inputs
from curate.models.vlm_pictures import ALIKE, PIXELS, PreparedPicture
from curate.models.vlm_prompts import prompt_text
from curate.models.vlm_writer import CLASS

__all__ = ["VqaMatching", "matcher_digest", "open_matcher", "require_matcher"]

ANSWER = "Yes"
FORMS_OF_ANSWER = (ANSWER, f"Ġ{ANSWER}", f"▁{ANSWER}")
"""As byte-pair vocabularies and SentencePiece write it, with a space before it or without."""
NO_QUESTIONS = ("florence2", "git", "vision-encoder-decoder")
"""Types of models that know tasks, or captions alone."""
STEP, MOST_PLACES = 16, 8_192
MOST_TOKENS, MOST_CHARS = 256, 4_096
LEAST_ROOM = 16
PICTURES, ROWS = {"cpu": 16, "cuda": 256}, {"cpu": 4, "cuda": 32}
CLOSE, CLOSE_IN_HALF = 0.01, 0.3
"""How much padding may move the logarithm of a probability. In bfloat16 a logit of 20 is told to .06."""


def open_matcher(settings: MatcherSettings) -> VqaMatching:
    """The model of these settings, on its device. Raises ConfigError."""
    return VqaMatching(settings)


def matcher_digest(settings: MatcherSettings) -> str:
    """Digest of its files. Raises ConfigError."""
    return fingerprint(["vqa matcher", 1, folder_digest(model_folder(settings.weights, settings.revision))])


def require_matcher(settings: MatcherSettings) -> None:
    """Raise ConfigError for a folder that is no whole model that answers questions about pictures."""
    require_device(settings.device)
    path = model_folder(settings.weights, settings.revision)
    config = _config(path)
    require_model_files(path, (), CLASS)
    _Questions(path, config, settings.question)


def _config(path: Path) -> Any:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    config = load_config(path)
    if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES or config.model_type in NO_QUESTIONS:
        raise ConfigError(
            f"{path} is a model of type {config.model_type!r}, which answers no questions about a picture; name one "
            'that does, such as LLaVA, SmolVLM or Qwen2-VL, or write head = "itm" for BLIP and BLIP-2'
        )
    return config


class _Questions:
    """How a text becomes a question in tokens. Raises ConfigError for a vocabulary without the answer."""

    def __init__(self, path: Path, config: Any, question: str) -> None:
        self._inputs, self._question, self._type = Inputs(path, config), question, config.model_type
        self.pictures = self._inputs.pictures
        self.pixels = self._inputs.pixels
        self._grey = self._inputs.processor.image_processor = _OneGrey(self._inputs.processor.image_processor)
        tokenizer = self._inputs.processor.tokenizer
        self._tokenizer = tokenizer
        known = tokenizer.get_vocab()
        self.answers = sorted({known[form] for form in FORMS_OF_ANSWER if form in known} - {tokenizer.unk_token_id})
        if not self.answers:
            raise ConfigError(f"{path} has no token for the answer {ANSWER!r}: its probability cannot be told")
        added = {text: token for text, token in tokenizer.get_added_vocab().items() if not text[:1].isalnum()}
        self._special = set(added.values()) - {tokenizer.unk_token_id}
        self._written = re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True))) or r"(?!)")
        self.pad = next((t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id) if t is not None), 0)
        most = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
        self._places = min(most if isinstance(most, int) else MOST_PLACES, MOST_PLACES) // STEP * STEP
        self._plain: dict[tuple[int, int], dict[str, Any]] = {}

    def beside(self, form: tuple[int, int]) -> dict[str, Any]:
        """Tensors that go with one picture of this form, without its pixels and what is a number for each token."""
        found = self._plain[form]
        return {name: value for name, value in found.items() if not _of_tokens(value, found["input_ids"])}

    def read(self, form: tuple[int, int], text: str) -> dict[str, Any] | None:
        """Tensors (1, tokens) of the question about a text and a picture of this form; None for a text without a word,
        and for one that the processor refuses or takes for more than words."""
        plain = self._without_text(form)["input_ids"]
        words = self._cut(text, min(MOST_TOKENS, self._places - plain.shape[1]))
        if not words:
            return None
        try:
            found = self._asked(form, words)
        except ConfigError:
            return None
        ids = found["input_ids"]
        if ids.shape[1] > self._places or self._special_of(ids) != self._special_of(plain):
            return None
        own = {name: value for name, value in found.items() if _of_tokens(value, ids)}
        return {"attention_mask": torch.ones_like(ids), **own}

    def _without_text(self, form: tuple[int, int]) -> dict[str, Any]:
        """The question about one letter. Raises ConfigError where it leaves no room for a text."""
        if form not in self._plain:
            self._plain[form] = self._asked(form, "a")
        room = self._places - self._plain[form]["input_ids"].shape[1]
        if room < LEAST_ROOM:
            raise ConfigError(f"the model has {self._places} places, and picture and question leave {room} for a text")
        return self._plain[form]

    def _asked(self, form: tuple[int, int], text: str) -> dict[str, Any]:
        """All tensors for one picture of this form but its pixels. Raises ConfigError."""
        question, options = prompt_text(self._inputs.processor, self._type, self._question.replace("{text}", text))
        self._grey.form = form
        try:
            found = self._inputs.processor(
                images=self.pictures.example(form), text=question, return_tensors="pt", **options
            )
        except Exception as error:
            if is_memory(error):
                raise
            first = str(error).strip().partition("\n")[0]
            raise ConfigError(f"the processor of a {self._type} model refuses a question: {first}") from error
        return {name: value for name, value in found.items() if isinstance(value, torch.Tensor) and name != PIXELS}

    def _special_of(self, ids: Any) -> list[int]:
        return [token for token in ids[0].tolist() if token in self._special]

    def _cut(self, text: str, most: int) -> str:
        words = text.strip()[:MOST_CHARS].encode("utf-8", "replace").decode().strip()
        broken = self._written.sub(lambda found: f"{found[0][0]} {found[0][1:]}", words)
        if not self._tokenizer.is_fast:
            return broken[:most]
        ends = self._tokenizer(broken, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return broken[: ends[most - 1][1]] if len(ends) > most else broken


class _OneGrey:
    """A preprocessing of pictures that is asked once for the grey picture of a form: each text is put to the processor
    with it, and of SmolVLM's 17 tiles that would be 50 ms a text."""

    def __init__(self, own: Any) -> None:
        self._own = own
        self.form = ALIKE
        self._known: dict[Any, Any] = {}

    def __call__(self, *args: Any, **options: Any) -> Any:
        key = self.form, repr(sorted(options.items(), key=str))
        if key not in self._known:
            self._known[key] = self._own(*args, **options)
        return copy(self._known[key])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def _of_tokens(value: Any, ids: Any) -> bool:
    return bool(value.ndim == 2 and value.shape == ids.shape)


@dataclass
class _Seen:
    """Pictures of one form, as prepared."""

    images: Sequence[PreparedPicture]


class VqaMatching:
    """One model on one device; not for two threads at once, but for `prepare`."""

    def __init__(self, settings: MatcherSettings) -> None:
        path = model_folder(settings.weights, settings.revision)
        config = _config(path)
        self.name = path.name if Path(settings.weights).is_dir() else settings.weights
        self._where = device(settings.device)
        self._kind = computes(settings.precision, self._where)
        self._questions = _Questions(path, config, settings.question)
        self._model = load_model(path, CLASS, dtype=self._kind).to(self._where)
        self._one_token = _one_token(self._model, self._questions.pad)
        self._right = bool(getattr(config.get_text_config(decoder=True), "is_encoder_decoder", False))
        kind = self._where.type
        self._units = PairUnits(self, (), PICTURES[kind], ROWS[kind], partial(free_memory, self._where))
        self._texts: dict[Tokens, dict[str, Any]] = {}
        self._units.lengths = self._lengths(path)

    def _lengths(self, path: Path) -> tuple[int, ...]:
        """What questions are padded to: every length where padding moves a probability. Raises ConfigError for a model
        that does not answer at all."""
        exact, padded = tuple(range(1, MOST_PLACES + 1)), tuple(range(STEP, MOST_PLACES + 1, STEP))
        view = self.prepare(np.full((64, 64, 3), 127, np.uint8))
        found = []
        try:
            for lengths in (exact, padded):
                self._units.lengths = lengths
                found.append(self.match([view], [["a red dog", "a"]])[0])
        except ConfigError:
            raise
        except Exception as error:
            if is_memory(error):
                raise
            first = str(error).strip().partition("\n")[0][:300]
            raise ConfigError(f"{path} answers no question: {type(error).__name__}: {first}") from error
        if not np.isfinite(found[0]).all():
            raise ConfigError(f"{path} gives no probability for an answer: its weights are broken, or its processor")
        moved = np.ptp(np.log(np.maximum(found, 1e-30)), axis=0).max()
        return padded if moved <= (CLOSE if self._kind == torch.float32 else CLOSE_IN_HALF) else exact

    def prepare(self, pixels: Pixels) -> PreparedPicture:
        """The bytes that the model's own preprocessing makes, and the form of the picture."""
        return self._questions.pictures.prepare(pixels)

    @on_one_thread
    def match(self, images: Sequence[Any], texts: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float32]]:
        """As `curate.models.captioner.Matcher`, but a picture is read once for each of its texts. Not a number for a
        text without a word, and for one that cannot be asked about."""
        answers = [np.full(len(own), np.nan, np.float32) for own in texts]
        for form in dict.fromkeys(image.form for image, own in zip(images, texts, strict=True) if own):
            rows = [row for row, image in enumerate(images) if image.form == form]
            self._texts = {}
            known: dict[str, Tokens | None] = {}
            for text in dict.fromkeys(text for row in rows for text in texts[row]):
                known[text] = self._known(self._questions.read(form, text))
            asked = [[known[text] for text in texts[row]] for row in rows]
            found = self._units.run([images[row] for row in rows], asked)
            for place, row in enumerate(rows):
                for number, own in enumerate(asked[place]):
                    if own is not None:
                        answers[row][number] = found[place, own][0]
        return answers

    def _known(self, question: dict[str, Any] | None) -> Tokens | None:
        if question is None:
            return None
        tokens = tuple(question["input_ids"][0].tolist())
        self._texts[tokens] = question
        return tokens

    def see(self, images: Sequence[Any]) -> _Seen:
        """Nothing yet: a model of this kind reads picture and question in one."""
        return _Seen(images)

    @torch.inference_mode()
    def judge(self, seen: _Seen, pictures: Sequence[int], texts: Sequence[Tokens], length: int) -> Any:
        """Probabilities, float32 (rows, 1)."""
        images = [seen.images[place] for place in pictures]
        inputs = {
            name: value.repeat(len(texts), *[1] * (value.ndim - 1))
            for name, value in self._questions.beside(images[0].form).items()
        }
        rows = [self._texts[text] for text in texts]
        for name in rows[0]:
            fill = self._questions.pad if name == "input_ids" else 0
            inputs[name] = torch.cat([self._padded(row[name], length, fill) for row in rows])
        inputs = {name: sent(value, self._where) for name, value in inputs.items()}
        inputs["pixel_values"] = self._questions.pixels(images, self._where, self._kind)
        found = self._model.generate(**inputs, generation_config=self._one_token)
        chances = found.logits[0].float().softmax(dim=-1)
        return chances[:, self._questions.answers].sum(dim=1, keepdim=True)

    def _padded(self, values: Any, length: int, fill: int) -> Any:
        missing = length - values.shape[1]
        return torch.nn.functional.pad(values, (0, missing) if self._right else (missing, 0), value=fill)


def _one_token(model: Any, pad: int) -> Any:
    """Settings for one token, whose logits are told. What the folder says about decoding is set aside, but for the
    token that an answer starts with."""
    from transformers import GenerationConfig

    inside: Any = getattr(model, "language_model", None)
    owners = [owner for owner in (inside, model) if getattr(owner, "generation_config", None) is not None]
    told = {
        name: next(
            (value for owner in owners if (value := getattr(owner.generation_config, name, None)) is not None), None
        )
        for name in ("decoder_start_token_id", "bos_token_id", "eos_token_id")
    }
    one = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    plain = GenerationConfig(**told, pad_token_id=pad, **one)
    for owner in owners:
        owner.generation_config = plain
    return plain
