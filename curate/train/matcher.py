"""Trains a matcher on pairs whose texts can be trusted: `curate train matcher`.

BLIP's filter of CapFilt is its model of the noisy web, fine-tuned by two losses together, ITC with momentum copies and
a queue (`curate.train.momentum`) and ITM with hard negatives (`curate.train.itm`), 6 epochs on COCO at 1e-5 (base) or
5e-6 (large). Negatives are looked for in the whole batch, over all workers, as BLIP's retrieval does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from curate.config import build, read_toml, require_range
from curate.errors import ConfigError
from curate.models.settings import TOY, Precision
from curate.train.caption_course import CourseSettings, Say
from curate.train.caption_pairs import CaptionBatch, open_captions
from curate.train.caption_start import Trainee, is_toy_start, open_matcher_start
from curate.train.caption_training import Computing, ModelOrder, train_model
from curate.train.itm import draws, hard_negatives, itm_loss
from curate.train.momentum import (
    LEAST_TEMPERATURE,
    MOST_TEMPERATURE,
    FeatureQueue,
    Momentum,
    itc_loss,
    soft_targets,
)
from curate.train.overlap import EvaluationSettings
from curate.train.pairs import Pairs, PairSource
from curate.train.spread_training import Alone, Peers

__all__ = ["MatcherCourse", "MatcherOrder", "MatcherTask", "matcher_order", "read_settings", "train_matcher"]

QUEUE, TOY_QUEUE = 57_600, 2_048


@dataclass(frozen=True)
class MatcherCourse(CourseSettings):
    """The `[training]` table of a matcher: that of every course (`CourseSettings`) and

    `momentum` (0 to 1): share of themselves that the copies keep each step. `queue`: features of pictures and texts
    that stand as negatives beside the batch; None for BLIP's 57,600, and for 2,048 with the toy. `alpha` (0 to 1): what
    of a target is the copies' opinion, reached in a straight line over the first `alpha_epochs` epochs.
    """

    epochs: float = 6.0
    momentum: float = 0.995
    queue: int | None = None
    alpha: float = 0.4
    alpha_epochs: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("momentum", self.momentum, 0, 1)
        require_range("queue", self.queue, 0, 100_000_000)
        require_range("alpha", self.alpha, 0, 1)
        require_range("alpha_epochs", self.alpha_epochs, 0, 10_000)


@dataclass(frozen=True)
class MatcherOrder:
    """A config of `curate train matcher`.

    `start`: as `curate.train.caption_start`. `captioner`: the folder of the one that it will judge, for which the
    report says how many weights it has in common; empty for none. `precision`: as that of a captioner.
    """

    clean: PairSource
    start: str = TOY
    captioner: str = ""
    precision: Precision = "bf16"
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"runtime": True})
    training: MatcherCourse = field(default_factory=MatcherCourse)
    evaluation: EvaluationSettings | None = None

    def __post_init__(self) -> None:
        if self.precision == "fp16":
            raise ValueError('precision = "fp16" trains nothing well; write "bf16", or "fp32"')
        if is_toy_start(self.start) and (self.training.crop_ratio or 1) < 1:
            raise ValueError("crop_ratio: the toy learns where shapes are; leave it out")


def read_settings(path: Path) -> MatcherOrder:
    """The settings in a TOML file. Raises ConfigError."""
    return build(MatcherOrder, read_toml(path), "")


def train_matcher(
    settings: MatcherOrder,
    out: Path,
    say: Say = lambda text: None,
    peers: Peers | None = None,
    pairs: Callable[[], Pairs] | None = None,
) -> dict[str, Any]:
    """Train and write the folder `out`, as `curate.train.captioner.train_captioner`."""
    order = matcher_order(settings, pairs or partial(open_captions, settings.clean))
    return train_model(order, out, say, peers or Alone())


def matcher_order(settings: MatcherOrder, pairs: Callable[[], Pairs]) -> ModelOrder:
    """The same with pairs from elsewhere, opened by a call."""
    training = settings.training
    queue = training.queue if training.queue is not None else TOY_QUEUE if is_toy_start(settings.start) else QUEUE
    return ModelOrder(
        kind="matcher",
        start=settings.start,
        pairs=partial(_told_apart, pairs),
        open=partial(open_matcher_start, settings.start, training.seed, training.max_tokens),
        task=lambda trainee, own, computing: MatcherTask(trainee, own, computing, training, queue),
        course=training,
        evaluation=settings.evaluation,
        partner=settings.captioner,
        precision=settings.precision,
        device=settings.device,
        settings=settings,
    )


def _told_apart(pairs: Callable[[], Pairs]) -> Pairs:
    """The pairs; ConfigError for those that teach nothing but "matches"."""
    found = pairs()
    if len(np.unique(found.picture)) < 2 or len(pc.unique(found.captions)) < 2:
        raise ConfigError(
            f"{len(found):,} pairs of one picture, or of one text: a matcher finds nothing wrong among them to learn "
            "from; name more shards"
        )
    return found


@dataclass(frozen=True)
class _Batch:
    """A batch on a worker. `views` and `mine` are its own part, the rest is of the whole batch of n.

    `tokens` int64 (n, length), `numbers` int64 (n,) of the pictures, `same` bool (n, n): same picture or same words.
    """

    views: Tensor
    tokens: Tensor
    numbers: Tensor
    same: Tensor
    mine: slice


class MatcherTask:
    """ITC and ITM of a matcher, added up."""

    losses: tuple[str, ...] = ("itc_loss", "itm_loss")

    def __init__(self, trainee: Trainee, pairs: Pairs, computing: Computing, course: MatcherCourse, queue: int) -> None:
        self.module = trainee.module
        self._trainee, self._pairs, self._computing, self._course = trainee, pairs, computing, course
        self._slow = Momentum(trainee.module, course.momentum)
        with torch.no_grad():
            dimensions = self.module.embed(trainee.tokenize(["a"]).to(computing.device)).shape[1]
        self._queue = FeatureQueue(queue, dimensions, computing.device)
        self.end_step()

    def gradient(self, step: int, batch: CaptionBatch) -> Tensor:
        """As `curate.train.caption_course.Task`."""
        whole = self._whole(batch)
        where = self._computing.device
        self._slow.follow(self.module)
        with torch.autocast(where.type, torch.bfloat16, enabled=self._computing.half):
            seen, itc, likes = self._contrast(step, whole)
            itm = self._match(step, whole, seen, likes)
        count = len(whole.numbers)
        found = torch.stack([itc / (2 * count), itm / (3 * count)])
        found.sum().backward()
        return found.detach().clone()

    def _whole(self, batch: CaptionBatch) -> _Batch:
        """A batch as all workers see it: rows are gathered, and everyone reads the texts, which are short."""
        own, where = self._computing, self._computing.device
        rows = own.peers.gather(torch.from_numpy(batch.rows).to(where)).cpu().numpy()
        tokens = self._trainee.tokenize(self._pairs.captions.take(rows).to_pylist())
        said = np.unique(tokens.numpy(), axis=0, return_inverse=True)[1].reshape(-1)
        numbers = self._pairs.picture[rows].view(np.int64)
        same = (said[:, None] == said) | (numbers[:, None] == numbers)
        start = own.peers.rank * len(batch.rows)
        return _Batch(
            torch.from_numpy(batch.views).to(where),
            tokens.to(where),
            torch.from_numpy(numbers).to(where),
            torch.from_numpy(same).to(where),
            slice(start, start + len(batch.rows)),
        )

    def _contrast(self, step: int, batch: _Batch) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """What the texts look at, the sum of ITC's losses both ways, and how alike each picture is to the batch's texts
        and each text to its pictures, (own, n) each."""
        gather, temperature = self._computing.peers.gather, self.module.temperature
        seen, pictures = self.module.look(batch.views)
        texts = self.module.embed(batch.tokens[batch.mine])
        with torch.no_grad():
            slow_pictures = self._slow.copy.look(batch.views)[1]
            slow_texts = self._slow.copy.embed(batch.tokens[batch.mine])
            all_pictures, all_texts = gather(slow_pictures), gather(slow_texts)
            known_pictures = torch.cat([all_pictures, self._queue.pictures])
            known_texts = torch.cat([all_texts, self._queue.texts])
            numbers = torch.cat([batch.numbers, self._queue.numbers])
            same = batch.numbers[batch.mine, None] == numbers
            opinion = self._opinion(step)
            targets = [
                soft_targets(_alike(own, known, temperature), same, opinion)
                for own, known in ((slow_pictures, known_texts), (slow_texts, known_pictures))
            ]
        to_texts = _alike(pictures, known_texts, temperature)
        to_pictures = _alike(texts, known_pictures, temperature)
        loss = itc_loss(to_texts, targets[0]) + itc_loss(to_pictures, targets[1])
        self._queue.push(all_pictures, all_texts, batch.numbers)
        count = len(batch.numbers)
        return seen, loss, (to_texts[:, :count], to_pictures[:, :count])

    def _match(self, step: int, batch: _Batch, seen: Tensor, likes: tuple[Tensor, Tensor]) -> Tensor:
        """The sum of ITM's loss over each pair, each picture with a wrong text, each text with a wrong picture."""
        drawn = draws(self._course.seed, step, len(batch.numbers)).to(seen.device)[:, batch.mine]
        same = batch.same[batch.mine]
        text, picture = (hard_negatives(like, same, own) for like, own in zip(likes, drawn, strict=True))
        own_tokens = batch.tokens[batch.mine]
        all_seen = self._computing.peers.gather(seen)
        looked_at = torch.cat([seen, seen, all_seen[picture.choice]])
        read = torch.cat([own_tokens, batch.tokens[text.choice], own_tokens])
        odds = self.module.judge(looked_at, read)
        return itm_loss(odds[: len(seen)], odds[len(seen) :], torch.cat([text.there, picture.there]))

    def _opinion(self, step: int) -> float:
        """What of a target is the copies' opinion at a step."""
        ramp = self._course.alpha_epochs * self._computing.epoch_steps
        return self._course.alpha * min(1.0, step / ramp if ramp else 1.0)

    def end_step(self) -> None:
        """Keep the temperature in BLIP's bounds."""
        with torch.no_grad():
            self.module.temperature.clamp_(LEAST_TEMPERATURE, MOST_TEMPERATURE)

    def state(self) -> dict[str, Tensor]:
        """Copies and queue."""
        slow = {f"slow.{name}": tensor for name, tensor in self._slow.copy.state_dict().items()}
        return slow | {f"queue.{name}": tensor for name, tensor in self._queue.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""
        parts: dict[str, dict[str, Tensor]] = {"slow": {}, "queue": {}}
        for name, tensor in state.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self._slow.copy.load_state_dict(parts["slow"])
        self._queue.restore(parts["queue"])


def _alike(own: Tensor, known: Tensor, temperature: Tensor) -> Tensor:
    """Cosines over the temperature, float32 (n, k)."""
    with torch.autocast(own.device.type, enabled=False):
        return own.float() @ known.float().T / temperature
