"""How a toy captioner is trained: the likelihood of each next word, and nothing else.

The one that is shipped starts from the toy CLIP's picture tower, which tells shapes apart already: after 600 steps nine
in ten of its captions are exact, where one that starts from nothing has hardly begun with shapes. Three numbers decide
whether a training from nothing ends well: embeddings of .02 (with PyTorch's 1 it begins at a loss of 26), a rate that
rises over 80 steps, gradients cut at length 1.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import StageError
from curate.models.toy import ToyClip, normalized, save_toy
from curate.models.toy_captioner import ToyCaptioner, caption_tokens
from curate.models.toy_words import PADDING
from curate.storage import plain_errors
from curate.train.toy_data import batches
from curate.train.toy_fit import Course

__all__ = [
    "RATE",
    "TOWER_RATE",
    "Draw",
    "captioner_from",
    "drawn_captions",
    "fit_captioner",
    "lm_loss",
    "save_captioner",
]

RATE, TOWER_RATE = 2e-3, 1.5e-3
"""Highest rates: from nothing, and from a tower that knows something already."""
LEAST_RATE_RATIO = 0.05
WARMUP_STEPS = 80
WEIGHT_DECAY = 0.02
BETAS = (0.9, 0.98)
MOST_GRADIENT = 1.0
SAY_EVERY = 100

Loss = Callable[[ToyCaptioner, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Draw:
    """What one step learns from: `views`, prepared pictures, uint8 (n, 32, 32, 3); `captions`: a text of each."""

    views: npt.NDArray[np.uint8]
    captions: Sequence[str]


def drawn_captions(seed: int, steps: int) -> Iterator[Draw]:
    """The toy models' own batches, with right captions alone."""
    return (Draw(batch.views, batch.captions) for batch in batches(seed, steps))


def captioner_from(clip: ToyClip, seed: int) -> ToyCaptioner:
    """A toy captioner with the picture tower of a dual encoder; all else is drawn by the seed."""
    torch.manual_seed(seed)
    model = ToyCaptioner()
    model.picture.load_state_dict(clip.picture.state_dict())
    return model


def lm_loss(model: ToyCaptioner, pictures: Tensor, tokens: Tensor) -> Tensor:
    """The mean over words and ends of -log p(word | picture, words before it), float32 ().

    `pictures`: float (n, 3, 32, 32), as `curate.models.toy.normalized` gives them; `tokens`: int64 (n, length), as
    `caption_tokens` gives them.
    """
    logits = model(model.picture(pictures), tokens[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PADDING)


def fit_captioner(
    course: Course,
    draws: Iterable[Draw],
    model: ToyCaptioner | None = None,
    rate: float = RATE,
    loss_of: Loss = lm_loss,
) -> ToyCaptioner:
    """A toy captioner after `course.steps` steps, one of each of `draws`, in eval mode. `model` is what it starts from;
    without one, weights drawn by the course's seed. `rate` is the highest of the optimizer. `loss_of` is called as
    `lm_loss` is.

    Raises StageError when the loss is not finite.
    """
    if model is None:
        torch.manual_seed(course.seed)
        model = ToyCaptioner()
    model.train()
    optimizer = _optimizer(model, rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, course.steps))
    started = time.monotonic()
    for step, draw in enumerate(draws, 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=course.half):
            loss = loss_of(model, normalized(draw.views), caption_tokens(draw.captions))
        value = loss.item()
        if not math.isfinite(value):
            raise StageError(f"toy captioner: the loss is {value} at step {step}; try another --seed")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
        optimizer.step()
        schedule.step()
        if step % SAY_EVERY == 0 or step == course.steps:
            seconds = time.monotonic() - started
            course.say(f"toy captioner: step {step:,} of {course.steps:,}, loss {value:.3f}, {seconds:.0f} s")
    model.eval()
    return model


def save_captioner(model: ToyCaptioner, folder: Path, about: Mapping[str, str]) -> None:
    """Write what `[models.NAME] weights = FOLDER` takes: the parameters in half precision, and toy.json, which says
    what they are and comes last. Raises StorageError."""
    with plain_errors(f"write {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    save_toy(model, folder / "model.safetensors", about)
    with plain_errors(f"write {folder / 'toy.json'}"):
        (folder / "toy.json").write_text(json.dumps({"kind": "captioner", **about}, indent=1) + "\n", "utf-8")


def _optimizer(model: nn.Module, rate: float) -> torch.optim.AdamW:
    large = [p for p in model.parameters() if p.ndim > 1]
    small = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": large, "weight_decay": WEIGHT_DECAY}, {"params": small, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, rate, BETAS, fused=True)


def _rate(step: int, steps: int) -> float:
    """A linear rise, then half a cosine down to LEAST_RATE_RATIO."""
    warmup = min(WARMUP_STEPS, steps // 2)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return LEAST_RATE_RATIO + (1 - LEAST_RATE_RATIO) * (1 + math.cos(math.pi * min(1.0, done))) / 2
