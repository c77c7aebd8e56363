"""How the toy models are trained: two losses and one loop, on one thread, the same bytes for the same seed.

The dual encoder learns by CLIP's loss over a batch in which every picture has two neighbours in meaning: a scene that
differs in one attribute, and a caption that does (NegCLIP, Yuksekgonul et al. 2022). What is learned last is the shape
of things: circles are told from squares after some 1,000 steps, all at once, and until then an altered attribute is
found with AUC .95 at best. The matcher starts from the dual encoder's towers and learns two things together: whether
the text fits, and which words are hidden (as in ALBEF, Li et al. 2021). 60 CPU seconds give an AUC of .9995 so, .996
without hidden words; from random weights 120 give .94, and without hidden words .56, which is next to nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import StageError
from curate.models.toy import ToyClip, ToyMatcher, normalized, tokenize, trimmed
from curate.models.toy_words import START, UNKNOWN
from curate.train.toy_data import BATCH, Batch, batches

__all__ = ["Course", "Say", "fit", "fit_clip", "fit_matcher", "optimizer_of"]

CLIP_RATE, MATCHER_RATE = 2e-3, 1e-3
"""Highest rates. At 2e-3 the matcher first forgets what its towers know: AUC .995 after 450 steps, else .9995."""
LEAST_RATE_RATIO = 0.05
WARMUP_STEPS = 80
WEIGHT_DECAY = 0.02
BETAS = (0.9, 0.98)
MOST_GRADIENT = 1.0
MAX_LOG_SCALE = math.log(100)
HIDDEN_RATIO = 0.3
"""Share of the words that the matcher must guess."""
SAY_EVERY = 100

Say = Callable[[str], None]
Model = TypeVar("Model", bound=nn.Module)
Drawn = TypeVar("Drawn")
"""What one step learns from."""


@dataclass(frozen=True)
class Course:
    """One training: `seed` gives weights and data, `half` asks for bfloat16 where products are large."""

    seed: int
    steps: int
    half: bool
    say: Say


def fit_clip(course: Course) -> ToyClip:
    """A toy dual encoder trained from random weights, in eval mode. Raises StageError when the loss is not finite."""
    torch.manual_seed(course.seed)
    model = ToyClip()
    return _fit(model, lambda batch: _clip_loss(model, batch), course, CLIP_RATE, "toy clip")


def fit_matcher(clip: ToyClip, course: Course) -> ToyMatcher:
    """A toy matcher trained from the towers of a dual encoder, in eval mode. Raises StageError as `fit_clip`."""
    torch.manual_seed(course.seed)
    model = ToyMatcher()
    own = model.state_dict()
    model.load_state_dict({name: tensor for name, tensor in clip.state_dict().items() if name in own}, strict=False)
    dice = torch.Generator().manual_seed(course.seed)
    return _fit(model, lambda batch: _matcher_loss(model, batch, dice), course, MATCHER_RATE, "toy matcher")


def _fit(model: Model, loss_of: Callable[[Batch], Tensor], course: Course, rate: float, name: str) -> Model:
    """Train a model on the batches of its course."""
    return fit(model, batches(course.seed, course.steps), loss_of, course, optimizer_of(model, rate), name)


def optimizer_of(model: nn.Module, rate: float, fused: bool = False) -> torch.optim.AdamW:
    """AdamW with the decay of the toys on matrices alone. `fused` is faster, and rounds otherwise."""
    large = [p for p in model.parameters() if p.ndim > 1]
    small = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": large, "weight_decay": WEIGHT_DECAY}, {"params": small, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, rate, BETAS, fused=fused or None)


def fit(
    model: Model,
    draws: Iterable[Drawn],
    loss_of: Callable[[Drawn], Tensor],
    course: Course,
    optimizer: torch.optim.Optimizer,
    name: str,
) -> Model:
    """Train a model in place, a step on each of `draws`; it is in eval mode then. Raises StageError when the loss is
    not finite."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, course.steps))
    started = time.monotonic()
    for step, draw in enumerate(draws, 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=course.half):
            loss = loss_of(draw)
        value = loss.item()
        if not math.isfinite(value):
            raise StageError(f"{name}: the loss is {value} at step {step}; try another --seed")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
        optimizer.step()
        schedule.step()
        if step % SAY_EVERY == 0 or step == course.steps:
            seconds = time.monotonic() - started
            course.say(f"{name}: step {step:,} of {course.steps:,}, loss {value:.3f}, {seconds:.0f} s")
    model.eval()
    return model


def _rate(step: int, steps: int) -> float:
    """A linear rise, then half a cosine down to LEAST_RATE_RATIO."""
    warmup = min(WARMUP_STEPS, steps // 2)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return LEAST_RATE_RATIO + (1 - LEAST_RATE_RATIO) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def _clip_loss(model: ToyClip, batch: Batch) -> Tensor:
    """Each picture finds its caption among all right and wrong ones, each caption its picture."""
    pictures = functional.normalize(model.encode_image(normalized(batch.views)).float(), dim=-1)
    texts = functional.normalize(model.encode_text(trimmed(tokenize(batch.captions + batch.wrong))).float(), dim=-1)
    logits = model.logit_scale.clamp(max=MAX_LOG_SCALE).exp() * pictures @ texts.T
    own = torch.arange(BATCH)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits[:, :BATCH].T, own)) / 2


def _matcher_loss(model: ToyMatcher, batch: Batch, dice: torch.Generator) -> Tensor:
    """Every picture with its caption, with its neighbour's, with a wrong one, and with words hidden in its caption."""
    half = BATCH // 2
    neighbours = batch.captions[half:] + batch.captions[:half]
    tokens = trimmed(tokenize(batch.captions + neighbours + batch.wrong))
    pictures = model.picture(normalized(batch.views))
    logits = model.logit(model.read(pictures.repeat(3, 1, 1), tokens))
    right, wrong = logits[:BATCH], logits[BATCH:]
    matched = functional.softplus(-right).mean() + functional.softplus(wrong).mean()
    own = trimmed(tokens[:BATCH])
    hidden = (torch.rand(own.shape, generator=dice) < HIDDEN_RATIO) & (own > START)
    guesses = model.read(pictures, own.masked_fill(hidden, UNKNOWN))[hidden] @ model.text.words.weight.T
    return matched + functional.cross_entropy(guesses.float(), own[hidden])
