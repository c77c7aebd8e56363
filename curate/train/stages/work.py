"""One stage put together: its model, how examples become tensors of it, its losses, its measurement."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from curate.errors import ConfigError
from curate.handover.shards import Handover, open_handover
from curate.handover.stages import TrainingStage
from curate.models.device import computes
from curate.train.data import Loader
from curate.train.data.pixels import pixels_of
from curate.train.data.plan import Plan, PlanOptions
from curate.train.spread_training import Alone, Peers
from curate.train.stages.batches import LoadedBatches
from curate.train.stages.collate import Collator, Reading
from curate.train.stages.evaluate import TOY_ROWS, draw_scenes, held_out, toy_scores
from curate.train.stages.model import StageModel
from curate.train.stages.objectives import Objectives
from curate.train.stages.rows import Writing
from curate.train.stages.settings import StageModelSettings
from curate.train.stages.vision import preparing
from curate.train.stages.words import Words

__all__ = ["Computing", "StageWork", "counted_by", "evaluated"]

TOY = "toy"
HELD_OUT_BATCHES = 20
"""Batches of a held-out hand-over that a stage is measured on."""
EDGES = 2
"""Tokens that an example has beside its text and its pictures: the start and the end."""


@dataclass(frozen=True)
class Computing:
    """Where the model is, the seed of the whole training, and the tokenizer that its file names."""

    where: torch.device
    seed: int
    tokenizer: str


class StageWork:
    """A stage and the model it trains. Raises ConfigError where they do not go together."""

    def __init__(
        self,
        stage: TrainingStage,
        settings: StageModelSettings,
        model: StageModel,
        words: Words,
        computing: Computing,
    ) -> None:
        _require_pictures(stage, model)
        self.stage, self.model = stage, model
        self._settings, self._where, self._seed = settings, computing.where, computing.seed
        self._tokenizer = computing.tokenizer
        places = model.language_model.places
        most = min(stage.sequence_tokens or places, places)
        self.writing = Writing(words, model.picture_places, stage.loss_on, most)
        prepare = preparing(stage.resolution, model.vision.size)
        self.reading = Reading(pixels_of, prepare, model.vision.size, model.tokenize_text)

    def steps(self, handover: Handover) -> int:
        """How many steps the stage has; where it is told in samples, tokens or epochs, by a walk through the plan (3 s
        a million examples). Raises ConfigError where there is none."""
        if self.stage.steps:
            return self.stage.steps
        plan = Plan(handover, self.stage, self._seed, self._options(handover))
        try:
            found = sum(1 for _ in plan.batches())
        finally:
            plan.close()
        if not found:
            raise ConfigError(f"stage {self.stage.name} has not one batch in this hand-over; raise epochs or samples")
        return found

    def objectives(self, peers: Peers) -> Objectives:
        """Its losses, shared with these workers."""
        half = computes("fp32" if self.stage.precision == "fp32" else "bf16", self._where) is torch.bfloat16
        weights = {str(name): weight for name, weight in self.stage.objectives.items()}
        return Objectives(self.model, weights, self.writing, peers, self._where, half, self._seed)

    def batches(self, handover: Handover, peers: Peers, threads: int, most: int = 0) -> LoadedBatches:
        """Its batches from the beginning, for this worker; `most` of them instead of the stage's own number."""
        length: dict[str, Any] = {"steps": most, "epochs": 0.0, "samples": 0, "tokens": 0}
        loader = Loader(
            handover=handover,
            stage=replace(self.stage, **length) if most else self.stage,
            seed=self._seed,
            batch=self.stage.batch,
            rank=peers.rank,
            world=peers.world,
            tokenizer=counted_by(self._tokenizer, handover.manifest.tokenizers),
            decode=False,
            threads=threads,
            extra_tokens=EDGES,
            augment=self.stage.augment,
        )
        collator = Collator(self.stage, self.writing, self.reading)
        return LoadedBatches(loader, collator, self._settings.units, peers, self._where)

    def _options(self, handover: Handover) -> PlanOptions:
        own = counted_by(self._tokenizer, handover.manifest.tokenizers)
        return PlanOptions(self.stage.batch, own, extra_tokens=EDGES, augment=self.stage.augment)


def counted_by(tokenizer: str, counted: Mapping[str, Mapping[str, Any]]) -> str:
    """Whose counts a plan takes, of those that a manifest has: the model's own tokenizer's, by its name there or by its
    folder; else, of several, the first one's, which come near. "": the only ones, or none."""
    names = sorted(counted)
    if tokenizer in names or len(names) < 2:
        return tokenizer if tokenizer in names else ""
    return next((name for name in names if counted[name].get("path") == tokenizer != ""), names[0])


def evaluated(work: StageWork, evaluation: str, threads: int) -> dict[str, float]:
    """What a trained stage is worth: on scenes of the toy web ("toy"), on a hand-over that was held out (its folder),
    or nothing (""). Raises ConfigError where the hand-over lacks a source of the stage."""
    if not evaluation:
        return {}
    objectives = work.objectives(Alone())
    if evaluation == TOY:
        collator = Collator(work.stage, work.writing, work.reading)
        return toy_scores(objectives, draw_scenes(TOY_ROWS), work.reading.prepare, collator.tokens)
    with closing(work.batches(open_handover(evaluation), Alone(), threads, HELD_OUT_BATCHES)) as batches:
        return held_out(objectives, (batches.next()[0] for _ in range(HELD_OUT_BATCHES)))


def _require_pictures(stage: TrainingStage, model: StageModel) -> None:
    """Raise ConfigError unless the stage's resolution is what the picture tower takes and gives."""
    size, side = model.vision.size, np.array([model.vision.size])
    if stage.resolution.size != size:
        raise ConfigError(
            f"stage {stage.name}: resolution.size = {stage.resolution.size}, and the picture tower takes {size} px; "
            f"write size = {size}"
        )
    told = int(stage.resolution.image_tokens(side, side)[0])
    if told != model.picture_tokens:
        raise ConfigError(
            f"stage {stage.name}: by its resolution a picture is {told} tokens, and the model makes "
            f"{model.picture_tokens} of it; write tokens = {model.picture_tokens} in resolution"
        )
