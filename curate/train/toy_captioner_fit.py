"""How a toy captioner is trained: the likelihood of each next word, and nothing else.

The one that is shipped starts from the toy CLIP's picture tower, which tells shapes apart already: after 600 steps nine
in ten of its captions are exact, where one that starts from nothing has hardly begun with shapes. Three numbers decide
whether a training from nothing ends well: embeddings of .02 (with PyTorch's 1 it begins at a loss of 26), a rate that
rises over 80 steps, gradients cut at length 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from curate.models.toy import ToyClip, normalized, save_toy
from curate.models.toy_captioner import ToyCaptioner, caption_tokens
from curate.models.toy_words import PADDING
from curate.storage import plain_errors
from curate.train.toy_data import batches
from curate.train.toy_fit import Course, fit, optimizer_of

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

    def loss(draw: Draw) -> Tensor:
        return loss_of(model, normalized(draw.views), caption_tokens(draw.captions))

    return fit(model, draws, loss, course, optimizer_of(model, rate, fused=True), "toy captioner")


def save_captioner(model: ToyCaptioner, folder: Path, about: Mapping[str, str]) -> None:
    """Write what `[models.NAME] weights = FOLDER` takes: the parameters in half precision, and toy.json, which says
    what they are and comes last. Raises StorageError."""
    with plain_errors(f"write {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    save_toy(model, folder / "model.safetensors", about)
    with plain_errors(f"write {folder / 'toy.json'}"):
        (folder / "toy.json").write_text(json.dumps({"kind": "captioner", **about}, indent=1) + "\n", "utf-8")
