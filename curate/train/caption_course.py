"""The loop in which a captioner or a matcher is trained: steps, rates, and a state on disk to go on from.

Killed at any moment, a training goes on at its last state, and ends with the same weights as one that was never
killed, bit for bit on a CPU: batches, crops and draws follow from the number of the step, and what else counts
(parameters, both moments of AdamW, copies and queue of the matcher) is in the state, as plain tensors. A state of
BLIP-base takes 2.7 GB as captioner, 3.6 GB as matcher; it is written beside and renamed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from curate.config import require_range
from curate.errors import ConfigError, StageError
from curate.models.memory import is_memory
from curate.storage import plain_errors
from curate.train.caption_pairs import CaptionBatch
from curate.train.caption_start import Recipe
from curate.train.spread_training import Peers, require_same

__all__ = ["Course", "CourseSettings", "Task"]

SAY_EVERY_S = 10.0
STATE = "state.safetensors"

Say = Callable[[str], None]


@dataclass(frozen=True)
class CourseSettings:
    """What the `[training]` tables of a captioner and a matcher have in common.

    `steps`, or `epochs` over the pairs where it is 0. `batch`: pairs a step, over all workers; at most all pairs.
    `learning_rate`, `weight_decay`, `warmup_steps`, `crop_ratio` (0 to 1, least share of a picture's area that a random
    crop leaves): None for what suits the model (`curate.train.caption_start.Recipe`). `max_tokens`: texts are cut
    there (the toys' places are fixed). `recompute`: what layers gave is computed twice and not kept, which takes a
    third more time and lets BLIP-large train at 384 px with several times the batch; the toys keep all.
    `checkpoint_steps`: how often the state is written. `threads`: that decode pictures, 0 for torch's own number.
    """

    epochs: float = 5.0
    steps: int = 0
    batch: int = 256
    learning_rate: float | None = None
    weight_decay: float | None = None
    warmup_steps: int | None = None
    crop_ratio: float | None = None
    max_tokens: int = 40
    seed: int = 0
    recompute: bool = field(default=False, metadata={"runtime": True})
    checkpoint_steps: int = field(default=500, metadata={"runtime": True})
    threads: int = field(default=0, metadata={"runtime": True})

    def __post_init__(self) -> None:
        require_range("epochs", self.epochs, 0, 10_000)
        require_range("steps", self.steps, 0, 100_000_000)
        if not (self.steps or self.epochs):
            raise ValueError("epochs = 0 and steps = 0 train nothing; give one of them")
        require_range("batch", self.batch, 2, 1 << 20)
        require_range("learning_rate", self.learning_rate, 1e-9, 1)
        require_range("weight_decay", self.weight_decay, 0, 10)
        require_range("warmup_steps", self.warmup_steps, 0, 100_000_000)
        require_range("crop_ratio", self.crop_ratio, 0.05, 1)
        require_range("max_tokens", self.max_tokens, 4, 512)
        require_range("seed", self.seed, 0, (1 << 31) - 1)
        require_range("checkpoint_steps", self.checkpoint_steps, 1, 100_000_000)
        require_range("threads", self.threads, 0, 1_024)

    def batch_for(self, pairs: int, world: int) -> int:
        """Pairs a step: `batch`, of fewer pairs as many as all workers can share. Raises ConfigError."""
        if self.batch % world:
            raise ConfigError(f"batch = {self.batch} cannot be shared by {world} workers; take a multiple of {world}")
        found = min(self.batch, pairs // world * world)
        if found < 2:
            raise ConfigError(f"{pairs} pairs are too few for {world} workers; name more shards, or take fewer workers")
        return found

    def steps_for(self, pairs: int, batch: int) -> int:
        """How many steps there are."""
        return self.steps or max(1, math.ceil(self.epochs * pairs / batch))


class Task(Protocol):
    """What is trained, and by which loss."""

    module: nn.Module
    losses: tuple[str, ...]

    def gradient(self, step: int, batch: CaptionBatch) -> Tensor:
        """Put this worker's part of the gradient of the sum of `losses` into the parameters; its part of each of them,
        float32 (k,)."""

    def end_step(self) -> None:
        """What follows a step of the optimizer."""

    def state(self) -> dict[str, Tensor]:
        """What a state needs beside parameters and optimizer."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""


@dataclass(frozen=True)
class Course:
    """One training of a task: `steps` in all, by a recipe and what the settings change of it. `broken`: rows without a
    readable picture, which the batches add to; the state remembers the first worker's."""

    task: Task
    recipe: Recipe
    settings: CourseSettings
    steps: int
    peers: Peers
    folder: Path
    say: Say
    broken: set[int] = field(default_factory=set)

    def run(self, batches_from: Callable[[int], Iterator[CaptionBatch]]) -> list[list[float]]:
        """Train to the last step, from the state in `folder` where there is one; the task's losses at each step.

        `batches_from` gives the batches from a step on. Raises StageError when a loss is not finite, and when workers
        do not see the same state.
        """
        optimizer = torch.optim.AdamW(self._groups(), lr=0.0, betas=self.recipe.betas)
        self._tidy()
        losses = self._restored(optimizer)
        require_same(self.peers, len(losses), self._where, "state of the training; put --out where all see it")
        if losses:
            self.say(f"goes on at step {len(losses) + 1:,} of {self.steps:,}")
        batches = batches_from(len(losses))
        told, first = time.monotonic(), len(losses)
        started = told
        self.task.module.train()
        for step in range(first, self.steps):
            losses.append(self._step(step, next(batches), optimizer))
            if time.monotonic() - told >= SAY_EVERY_S:
                told = time.monotonic()
                rate = (len(losses) - first) / (told - started)
                self.say(f"step {step + 1:,} of {self.steps:,}: {self._told(losses)}, {rate:.2f} steps a second")
            if (step + 1) % self.settings.checkpoint_steps == 0 and step + 1 < self.steps:
                self._write(optimizer, losses)
                self.say(f"step {step + 1:,} of {self.steps:,}: {self._told(losses)}, state written")
        self.task.module.eval()
        return losses

    @property
    def _where(self) -> torch.device:
        found: torch.device = next(self.task.module.parameters()).device
        return found

    def _tidy(self) -> None:
        """Delete halves of states that a killed training left, gigabytes each."""
        left = [] if self.peers.rank else [*self.folder.glob(f"{STATE}.*.part"), *self.folder.glob(".tmp*")]
        for path in left:
            path.unlink(missing_ok=True)

    def _told(self, losses: list[list[float]]) -> str:
        return ", ".join(f"{name} {loss:.4f}" for name, loss in zip(self.task.losses, losses[-1], strict=True))

    def rate(self, step: int) -> float:
        """Of a step counted from 0: a linear rise over the warm-up, then half a cosine down."""
        chosen, recipe = self.settings, self.recipe
        highest = recipe.learning_rate if chosen.learning_rate is None else chosen.learning_rate
        asked = recipe.warmup_steps if chosen.warmup_steps is None else chosen.warmup_steps
        warm = min(asked, self.steps // 2)
        if step < warm:
            return highest * (step + 1) / warm
        along = (step - warm) / max(1, self.steps - warm)
        return highest * (recipe.least_rate_ratio + (1 - recipe.least_rate_ratio) * (1 + math.cos(math.pi * along)) / 2)

    def _step(self, step: int, batch: CaptionBatch, optimizer: Any) -> list[float]:
        for group in optimizer.param_groups:
            group["lr"] = self.rate(step)
        optimizer.zero_grad(set_to_none=True)
        where = self._where
        seed = (self.settings.seed * 1_000_003 + step) * 1_009 + self.peers.rank
        with _draws_of(seed, where), _telling_memory(self.settings.batch):
            found = self.task.gradient(step, batch)
        learned = [parameter for parameter in self.task.module.parameters() if parameter.requires_grad]
        for parameter in learned:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        self.peers.add([*(p.grad for p in learned if p.grad is not None), found])
        most = self.recipe.most_gradient or math.inf
        length, values = float(nn.utils.clip_grad_norm_(learned, most)), found.tolist()
        if not math.isfinite(sum(values) + length):
            raise StageError(
                f"step {step + 1} of {self.steps}: the loss is {sum(values)} and its gradient {length}, at a learning "
                f'rate of {self.rate(step):.2g}; lower [training] learning_rate, or write precision = "fp32"'
            )
        optimizer.step()
        self.task.end_step()
        return list(values)

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters with weight decay and without: none for biases, norms and the temperature."""
        decay = self.recipe.weight_decay if self.settings.weight_decay is None else self.settings.weight_decay
        learned = [parameter for parameter in self.task.module.parameters() if parameter.requires_grad]
        large, small = ([p for p in learned if (p.ndim > 1) is wide] for wide in (True, False))
        return [{"params": large, "weight_decay": decay}, {"params": small, "weight_decay": 0.0}]

    def _write(self, optimizer: Any, losses: list[list[float]]) -> None:
        """Put the state down, by the first worker; all have the same."""
        if self.peers.rank:
            return
        from safetensors.torch import save_file

        tensors = {f"model.{name}": tensor for name, tensor in self.task.module.state_dict().items()}
        tensors |= {f"task.{name}": tensor for name, tensor in self.task.state().items()}
        for number, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
        tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
        tensors["broken"] = torch.tensor(sorted(self.broken), dtype=torch.int64)
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        beside = self.folder / f"{STATE}.{os.getpid()}.part"
        with plain_errors(f"write {beside}"):
            save_file(own, beside)
            beside.replace(self.folder / STATE)

    def _restored(self, optimizer: Any) -> list[list[float]]:
        """The losses so far, with everything as it was then; none where nothing was written."""
        path = self.folder / STATE
        if not path.is_file():
            return []
        from curate.models.weights import read_tensors

        tensors = read_tensors(path)
        try:
            self.task.module.load_state_dict(_below(tensors, "model."))
            self.task.restore(_below(tensors, "task."))
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _below(tensors, "optimizer.").items():
                number, _, what = name.partition(".")
                moments.setdefault(int(number), {})[what] = tensor
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
            self.broken.update(() if self.peers.rank else tensors["broken"].tolist())
            found: list[list[float]] = tensors["losses"].tolist()
            return found
        except (KeyError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{path} is no state of this training ({error}); delete {path.parent}") from error


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@contextmanager
def _draws_of(seed: int, where: Any) -> Iterator[None]:
    """torch's random numbers of a step on a worker, for models that drop some of their numbers in training."""
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _telling_memory(batch: int) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory(error):
            raise
        raise StageError(
            f"memory ran out while training with batch = {batch}; lower [training] batch, or add workers (--on ray), "
            "and start the command again: it goes on at its last state"
        ) from error
