"""Grounded captions: a second question to Florence-2, where in the picture the words of its caption are.

As in GRIT (Peng et al. 2023) a caption then has noun phrases with boxes; there they come from a parser and a detector,
here from the one model, which was trained for that. It is another encoding of the picture and some 8 tokens a phrase,
so at least the time of a caption again. Questions have different lengths: they are filled up to a multiple of 16
tokens, and a unit has questions of one length, so that an answer does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from curate.errors import ConfigError
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, Phrase, Sampling
from curate.models.florence_boxes import GROUNDING, parse_boxes
from curate.models.hf_config import told_config
from curate.models.vlm_inputs import Inputs
from curate.models.vlm_pictures import PreparedPicture
from curate.models.vlm_units import Rows, filled
from curate.models.vlm_writer import Writer

__all__ = ["Grounding", "require_grounding"]

PLACES = 16
MOST_ANSWER = 256
"""Tokens of an answer: some 40 phrases."""
ANSWER = Sampling("greedy", max_tokens=MOST_ANSWER, min_tokens=0, repetition_penalty=1.0)
MOST_QUESTION = 256
"""Tokens of a caption that are asked about; a paragraph has 100."""


def require_grounding(path: Path, settings: CaptionerSettings) -> None:
    """Raise ConfigError where boxes are asked of a model that does not tell them."""
    found = told_config(path)["model_type"]
    if settings.boxes and found != "florence2":
        raise ConfigError(
            f"boxes = true needs a model that tells where words are, and {path} is of type {found!r}; name a "
            "Florence-2 as transformers has it, or remove `boxes`"
        )


class Grounding:
    """Asks where the words of captions are."""

    def __init__(self, inputs: Inputs, writer: Writer) -> None:
        self._inputs, self._writer = inputs, writer
        self._tokenizer = inputs.processor.tokenizer
        self._padding = self._tokenizer.pad_token_id or 0
        self._question = str(inputs.processor.task_prompts_with_input[GROUNDING])
        told = writer.config.get_text_config(decoder=True)
        self._most = int(getattr(told, "max_position_embeddings", 1024))
        self._answer = replace(ANSWER, max_tokens=min(MOST_ANSWER, self._most - 2))

    def question(self, caption: str) -> list[int]:
        """Tokens of what is asked, with the picture's places before; a long caption is asked about in part."""
        before, after = self._question.split("{input}")
        words = self._ids(caption)[:MOST_QUESTION]
        start = [self._inputs.processor.image_token_id] * self._inputs.processor.num_image_tokens
        text = f"{self._tokenizer.bos_token}{before}{self._tokenizer.decode(words)}{after}{self._tokenizer.eos_token}"
        return (start + self._ids(text))[: self._most]

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def grounded(
        self, images: Sequence[PreparedPicture], captions: Sequence[Sequence[Generated]], rows: Rows
    ) -> list[list[Generated]]:
        """The captions of each picture with the boxes of their words; nothing is asked about one without text. Raises
        what torch raises where there is no memory for a single one."""
        every = [(image, one.text) for image, own in zip(images, captions, strict=True) for one in own]
        questions = {number: self.question(text) for number, (_, text) in enumerate(every) if text}
        phrases: dict[int, tuple[Phrase, ...]] = {}
        for length in sorted({_places(question) for question in questions.values()}):
            left = [number for number, question in questions.items() if _places(question) == length]
            while left:
                part = left[: rows.most]
                asked = [(every[number][0], questions[number]) for number in part]
                made = rows.tried(partial(self.answers, filled(asked, rows.most)), rows.most == 1)
                phrases |= dict(zip(part, made or (), strict=False))
                left = left[len(part) :] if made else left
        numbers = iter(range(len(every)))
        return [[replace(one, phrases=phrases.get(next(numbers), ())) for one in own] for own in captions]

    def answers(self, asked: Sequence[tuple[PreparedPicture, Sequence[int]]]) -> list[tuple[Phrase, ...]]:
        """Phrases of each picture with its question; what stands here goes through together."""
        where, padding = self._writer.where, self._padding
        length = max(_places(question) for _, question in asked)
        rows = [[*question, *[padding] * (length - len(question))] for _, question in asked]
        told = [[1] * len(question) + [0] * (length - len(question)) for _, question in asked]
        inputs = {
            "input_ids": torch.tensor(rows, device=where),
            "attention_mask": torch.tensor(told, device=where),
            "pixel_values": self._inputs.pixels([image for image, _ in asked], where, self._writer.kind),
        }
        texts = self._writer.write(inputs, 1, self._answer, None)
        return [parse_boxes(self._tokenizer.decode(text.tokens)) for (text,) in texts]


def _places(question: Sequence[int]) -> int:
    """How many tokens a question is filled up to."""
    return -(-len(question) // PLACES) * PLACES
