"""What a captioner or a matcher is trained from, and what a training needs to know of it, whichever model it is.

In CapFilt both begin as one model that was trained on the noisy web, and are then trained apart (Li et al. 2022): with
shared weights the filter forgives the captioner its own mistakes, rejects 8 % of captions instead of 25 %, and models
trained on the result are worse. So a start is a name: `toy`, the toy CLIP's towers; `new`, the toy's architecture with
random weights; or a folder, of a captioner or a matcher, of ours or as transformers saves a BLIP. What the other kind
lacks is drawn by the seed, and said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.models.settings import TOY

__all__ = ["NEW", "TOY_FILE", "Recipe", "Trainee", "is_toy_start", "open_captioner_start", "open_matcher_start"]

NEW = "new"
TOY_FILE = "toy.json"
"""Says that a folder holds a toy, and which kind."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained where the config does not say: AdamW's numbers, the warm-up in steps, the rate that a
    cosine ends at (0 to 1 of the highest), the length that gradients are cut at (0: none), label smoothing (0 to 1),
    the least share of a picture's area that a random crop leaves."""

    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    warmup_steps: int
    least_rate_ratio: float
    most_gradient: float
    label_smoothing: float
    crop_ratio: float


@dataclass(frozen=True)
class Trainee:
    """A model that is trained, float32, on the CPU.

    `module` of a captioner has `logits(pixels, tokens)`: uint8 (n, size, size, 3) and int64 (n, length), from the start
    token on, to logits of each next token (n, length, v). That of a matcher has `look` and `embed`
    (`curate.train.momentum.Towers`), `judge(seen, tokens)`: log odds (n,), and `temperature`, a parameter ().
    `prepare`: a decoded picture to uint8 (size, size, 3). `tokenize`: texts to int64 (n, length of the longest), with
    the start first and, for a captioner, prompt and end; `padding` behind. `prompt_tokens`: how many the prompt has.
    `fresh`: what was drawn by the seed because the start lacks it; empty for nothing. `start`: fingerprint of the
    start. `write`: puts the model into a folder that a back end opens. `recompute`: from now on, what layers gave is
    not kept for the backward pass, where the model can do that.
    """

    name: str
    module: Any
    prepare: Callable[[Any], Any]
    tokenize: Callable[[Sequence[str]], Any]
    padding: int
    prompt_tokens: int
    recipe: Recipe
    fresh: str
    start: str
    write: Callable[[Path], None]
    recompute: Callable[[], None] = lambda: None


def is_toy_start(start: str) -> bool:
    """Whether it is a toy: one of the two names, or a folder of ours."""
    return start in (TOY, NEW) or (Path(start) / TOY_FILE).is_file()


def open_captioner_start(start: str, seed: int, prompt: str = "", max_tokens: int = 40) -> Trainee:
    """A captioner to be trained. Raises ConfigError for what is no start, and a prompt without room for a text."""
    _require(start)
    if is_toy_start(start):
        from curate.train import caption_start_toy

        return caption_start_toy.captioner(start, seed, prompt)
    from curate.train import caption_start_blip

    return caption_start_blip.captioner(start, seed, prompt, max_tokens)


def open_matcher_start(start: str, seed: int, max_tokens: int = 40) -> Trainee:
    """A matcher to be trained. Raises ConfigError."""
    _require(start)
    if is_toy_start(start):
        from curate.train import caption_start_toy

        return caption_start_toy.matcher(start, seed)
    from curate.train import caption_start_blip

    return caption_start_blip.matcher(start, seed, max_tokens)


def _require(start: str) -> None:
    if not start:
        raise ConfigError(f'start = "" is no model; write "{TOY}", "{NEW}", or the folder of one')
