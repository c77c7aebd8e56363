"""Trains a captioner on pairs whose texts can be trusted: `curate train captioner`.

BLIP's captioner of CapFilt is its model of the noisy web, fine-tuned by the language modelling loss alone on 113,000
pictures of COCO, 5 epochs at a rate of 1e-5 (base) or 2e-6 (large). Apart from the matcher: see
`curate.train.coupling`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from curate.config import build, read_toml, require_range
from curate.models.settings import TOY, Precision
from curate.train.caption_course import CourseSettings, Say
from curate.train.caption_pairs import CaptionBatch, open_captions
from curate.train.caption_start import Trainee, is_toy_start, open_captioner_start
from curate.train.caption_training import Computing, ModelOrder, train_model
from curate.train.lm import lm_loss, lm_targets
from curate.train.overlap import EvaluationSettings
from curate.train.pairs import Pairs, PairSource
from curate.train.spread_training import Alone, Peers

__all__ = ["CaptionerCourse", "CaptionerOrder", "CaptionerTask", "captioner_order", "read_settings", "train_captioner"]


@dataclass(frozen=True)
class CaptionerCourse(CourseSettings):
    """The `[training]` table of a captioner: that of every course (`CourseSettings`) and

    `prompt`: words that each text is begun with, and that are not learned ("a picture of " for BLIP). The captions are
    to be made with the same. `label_smoothing` (0 to 1): None for .1, BLIP's, and for 0 with the toy.
    """

    prompt: str = ""
    label_smoothing: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("label_smoothing", self.label_smoothing, 0, 0.99)


@dataclass(frozen=True)
class CaptionerOrder:
    """A config of `curate train captioner`.

    `start`: as `curate.train.caption_start`. `matcher`: the folder of the one that will judge the captions, for which
    the report says how many weights it has in common; empty for none. `precision`: `bf16` computes products so where
    the device has it; the weights stay float32.
    """

    clean: PairSource
    start: str = TOY
    matcher: str = ""
    precision: Precision = "bf16"
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"runtime": True})
    training: CaptionerCourse = field(default_factory=CaptionerCourse)
    evaluation: EvaluationSettings | None = None

    def __post_init__(self) -> None:
        _require(self.start, self.precision, self.training)


def _require(start: str, precision: Precision, training: CaptionerCourse) -> None:
    if precision == "fp16":
        raise ValueError('precision = "fp16" trains nothing well; write "bf16", or "fp32"')
    if is_toy_start(start) and training.label_smoothing:
        raise ValueError("label_smoothing: two words of the toy are never said, so leave it out")
    if is_toy_start(start) and (training.crop_ratio or 1) < 1:
        raise ValueError("crop_ratio: the toy learns where shapes are; leave it out")


def read_settings(path: Path) -> CaptionerOrder:
    """The settings in a TOML file. Raises ConfigError."""
    return build(CaptionerOrder, read_toml(path), "")


def train_captioner(
    settings: CaptionerOrder,
    out: Path,
    say: Say = lambda text: None,
    peers: Peers | None = None,
    pairs: Callable[[], Pairs] | None = None,
) -> dict[str, Any]:
    """Train and write the folder `out`; answers what to show. Killed and called again, it goes on where it was.

    `pairs` opens other pairs than those of `[clean]`. Raises ConfigError for a config that cannot be run and for a
    folder that holds something, StageError when the loss is not finite.
    """
    order = captioner_order(settings, pairs or partial(open_captions, settings.clean))
    return train_model(order, out, say, peers or Alone())


def captioner_order(settings: CaptionerOrder, pairs: Callable[[], Pairs]) -> ModelOrder:
    """The same with pairs from elsewhere, opened by a call."""
    training = settings.training
    return ModelOrder(
        kind="captioner",
        start=settings.start,
        pairs=pairs,
        open=partial(open_captioner_start, settings.start, training.seed, training.prompt, training.max_tokens),
        task=lambda trainee, own, computing: CaptionerTask(trainee, own, computing, training),
        course=training,
        evaluation=settings.evaluation,
        partner=settings.matcher,
        precision=settings.precision,
        device=settings.device,
        settings=settings,
    )


class CaptionerTask:
    """The language modelling loss of a captioner."""

    losses: tuple[str, ...] = ("lm_loss",)

    def __init__(self, trainee: Trainee, pairs: Pairs, computing: Computing, course: CaptionerCourse) -> None:
        self.module = trainee.module
        self._trainee, self._pairs, self._computing = trainee, pairs, computing
        own = course.label_smoothing
        self._smoothing = trainee.recipe.label_smoothing if own is None else own

    def gradient(self, step: int, batch: CaptionBatch) -> Tensor:
        """As `curate.train.caption_course.Task`. The mean is over the words of the whole batch."""
        own, where = self._computing, self._computing.device
        tokens = self._tokens(batch.rows)
        targets = lm_targets(tokens, self._trainee.padding, self._trainee.prompt_tokens)
        asked = (targets >= 0).sum().to(where, torch.float32)
        own.peers.add([asked])
        with torch.autocast(where.type, torch.bfloat16, enabled=own.half):
            logits = self.module.logits(torch.from_numpy(batch.views).to(where), tokens[:, :-1].to(where))
        loss = lm_loss(logits, targets.to(where), self._smoothing) / asked.clamp(min=1)
        loss.backward()
        return loss.detach().reshape(1).clone()

    def _tokens(self, rows: Any) -> Tensor:
        texts: Sequence[str] = self._pairs.captions.take(rows).to_pylist()
        found: Tensor = self._trainee.tokenize(texts)
        return found

    def end_step(self) -> None:
        """Nothing."""

    def state(self) -> dict[str, Tensor]:
        """Nothing beside parameters and optimizer."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing."""
