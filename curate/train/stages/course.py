"""The steps of one stage: rates, optimizer, losses put down line by line, a state now and then.

Killed at any moment it goes on at its last state and ends with the same weights, bit for bit on a CPU, with the same
number of workers or another: batches follow from the loader's state, sums have one order (`ordered_sum`), and all else
follows from the number of the step.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from curate.errors import ConfigError, StageError
from curate.handover.stages import TrainingStage
from curate.models.memory import is_memory
from curate.storage import plain_errors
from curate.train.contrastive import MAX_LOG_SCALE
from curate.train.spread_training import require_same
from curate.train.stages.collate import Unit
from curate.train.stages.objectives import Objectives
from curate.train.stages.state import read_state, write_state

__all__ = ["LOSSES_FILE", "STATE_FILE", "Batches", "Course", "rate_at"]

BETAS = (0.9, 0.98)
MOST_GRADIENT = 1.0
"""Length to which the gradient of all parameters together is cut."""
LEAST_EXPONENTIAL = 0.01
"""Share of the highest rate at which the schedule "exponential" ends."""
SAY_EVERY_S = 10.0
STATE_FILE, LOSSES_FILE = "state.safetensors", "losses.jsonl"


class Batches(Protocol):
    """The batches of a stage, for this worker."""

    def next(self) -> tuple[Sequence[Unit], str]:
        """This worker's units of the next batch, and a digest of the keys of all examples in the batch."""

    def state(self) -> Mapping[str, Any]:
        """Where it stands after the last batch that was given, as JSON, for any number of workers."""

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


@dataclass(frozen=True)
class Course:
    """One stage. `folder` holds its state and its losses; `checkpoint_steps`: how often the state is written."""

    stage: TrainingStage
    objectives: Objectives
    parts: Mapping[str, str]
    steps: int
    folder: Path
    checkpoint_steps: int
    say: Callable[[str], None]

    def run(self, batches: Batches) -> list[dict[str, Any]]:
        """Train to the last step, from the state in `folder` where there is one; the line of each step, all of them
        for the first worker. Raises StageError when a loss is not finite, ConfigError for a damaged state."""
        optimizer = torch.optim.AdamW(self._groups(), lr=0.0, betas=BETAS)
        told = read_state(self.folder / STATE_FILE, self._model, optimizer)
        first = int(told.get("step", 0))
        require_same(self._peers, first, self.objectives.device, "state of the training; put --out where all see it")
        if told:
            self._resume(batches, told["batches"])
            self.say(f"{self.stage.name}: goes on at step {first + 1:,} of {self.steps:,}")
        lines = self._lines(first)
        started = said = time.monotonic()
        for step in range(first, self.steps):
            units, keys = batches.next()
            losses = self._step(step, units, optimizer)
            lines.append({"step": step + 1, "rate": self._rate(step), "batch": keys, **losses})
            self._write_line(lines[-1])
            last = step + 1 == self.steps
            if time.monotonic() - said >= SAY_EVERY_S or last:
                said = time.monotonic()
                self.say(f"{self.stage.name}: {self._told(lines[-1], (step + 1 - first) / (said - started))}")
            if (step + 1) % self.checkpoint_steps == 0 and not last and not self._peers.rank:
                state = {"step": step + 1, "batches": batches.state()}
                write_state(self.folder / STATE_FILE, self._model, optimizer, state)
                self.say(f"{self.stage.name}: step {step + 1:,} of {self.steps:,}: state written")
        return lines

    @property
    def _model(self) -> Any:
        return self.objectives.model

    @property
    def _peers(self) -> Any:
        return self.objectives.peers

    def _step(self, step: int, units: Sequence[Unit], optimizer: Any) -> dict[str, float]:
        rate = self._rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        try:
            losses = self.objectives.gradient(step, units)
        except (RuntimeError, MemoryError) as error:
            if not is_memory(error):
                raise
            raise StageError(
                f"stage {self.stage.name}: memory ran out at batch = {self.stage.batch}; raise [model] units, lower "
                "batch or add workers, and start again: it goes on at its last state"
            ) from error
        learned = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        length = float(nn.utils.clip_grad_norm_(learned, MOST_GRADIENT))
        if not math.isfinite(sum(losses.values()) + length):
            raise StageError(
                f"stage {self.stage.name}, step {step + 1} of {self.steps}: the losses are {losses} and their gradient "
                f'{length}, at a learning rate of {rate:.2g}; lower learning_rate, or write precision = "fp32"'
            )
        optimizer.step()
        with torch.no_grad():
            if self._model.heads.log_scale.requires_grad:
                self._model.heads.log_scale.clamp_(0, MAX_LOG_SCALE)
        return losses

    def _rate(self, step: int) -> float:
        return rate_at(step, self.steps, self.stage)

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by their part's rate, with weight decay and without: none for biases, norms, gates."""
        highest = self.stage.learning_rate or 1.0
        found: dict[tuple[float, float], list[Any]] = {}
        for name, tensor in self._model.named_parameters():
            if tensor.requires_grad:
                own = self.stage.learning_rates.get(self.parts[name], self.stage.learning_rate)
                decay = self.stage.weight_decay if tensor.ndim > 1 else 0.0
                found.setdefault((own / highest, decay), []).append(tensor)
        return [{"params": p, "share": share, "weight_decay": decay} for (share, decay), p in found.items()]

    def _resume(self, batches: Batches, state: Mapping[str, Any]) -> None:
        try:
            batches.resume(state)
        except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise ConfigError(
                f"{self.folder / STATE_FILE} is no state of this stage (where its batches stand: {error!r}); "
                f"delete {self.folder}"
            ) from error

    def _lines(self, steps: int) -> list[dict[str, Any]]:
        """The lines of steps before, for the first worker; those behind the state are taken away, and so are halves of
        states that a killed training left. Raises ConfigError unless there is a line of each step."""
        if self._peers.rank:
            return []
        path = self.folder / LOSSES_FILE
        kept = path.read_text("utf-8", "replace").splitlines(keepends=True)[:steps] if path.is_file() else []
        lines = [_line(line) for line in kept]
        for number in range(steps):
            if number >= len(lines) or lines[number].get("step") != number + 1:
                raise ConfigError(
                    f"{path} has no line of step {number + 1:,}, and its state is behind it; delete {self.folder}"
                )
        with plain_errors(f"write {path}"):
            path.write_text("".join(kept), "utf-8")
            for half in self.folder.glob(f"{STATE_FILE}.*.part"):
                half.unlink(missing_ok=True)
        return lines

    def _write_line(self, line: Mapping[str, Any]) -> None:
        if self._peers.rank:
            return
        with plain_errors(f"write {self.folder / LOSSES_FILE}"), open(self.folder / LOSSES_FILE, "a") as target:
            target.write(json.dumps(line) + "\n")

    def _told(self, line: Mapping[str, Any], speed: float) -> str:
        losses = ", ".join(f"{name} {value:.4f}" for name, value in list(line.items())[3:])
        return f"step {line['step']:,} of {self.steps:,}: {losses}, {speed:.2f} steps a second"


def _line(text: str) -> dict[str, Any]:
    """The losses of a line as they were written; empty for what is no line of them."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or list(found)[:3] != ["step", "rate", "batch"]:
        return {}
    return found if all(isinstance(value, float | int) for value in list(found.values())[3:]) else {}


def rate_at(step: int, steps: int, stage: TrainingStage) -> float:
    """The learning rate of a step counted from 0: a linear rise over the warm-up, then by the stage's schedule."""
    highest = stage.learning_rate or 1.0
    warm = min(stage.warmup_steps or round(stage.warmup_ratio * steps), steps)
    if step < warm:
        return highest * (step + 1) / warm
    along = (step - warm) / max(1, steps - warm)
    shapes: dict[str, float] = {
        "cosine": (1 + math.cos(math.pi * along)) / 2,
        "linear": 1 - along,
        "constant": 1.0,
        "inverse_sqrt": math.sqrt(max(warm, 1) / (step + 1)),
        "exponential": LEAST_EXPONENTIAL**along,
    }
    return highest * shapes[stage.schedule]
