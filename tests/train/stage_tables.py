"""Tables of a stages.toml for the tests, and a model and batches made from them in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from curate.handover.layout import Example, kind_of
from curate.handover.stages import MixtureSource, Stages, TrainingStage, build_stages
from curate.train.data.pixels import pixels_of
from curate.train.spread_training import Alone
from curate.train.stages.collate import Collator, Given, Reading
from curate.train.stages.model import StageModel, open_model
from curate.train.stages.objectives import Objectives
from curate.train.stages.rows import Writing
from curate.train.stages.settings import model_settings
from curate.train.stages.vision import preparing
from curate.train.stages.words import open_words

RESOLUTION = {"size": 32, "patch": 8}
ALL = {"vision": "full", "projector": "full", "language_model": "full"}
KINDS = {"pairs": "pairs", "docs": "interleaved", "chats": "chat", "plain": "text"}


def source(name: str, **settings: Any) -> dict[str, Any]:
    """A source of one of the kinds that KINDS names."""
    return {"name": name, "kind": KINDS[name], "weight": 1.0, **settings}


def stage(name: str, sources: Sequence[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    """A stage of 4 steps that trains all by the next token of pairs."""
    chosen = {"objective": "lm", "steps": 4, "batch": 4, "learning_rate": 2e-3, "trainable": ALL, **settings}
    if "objectives" in settings:
        del chosen["objective"]
    return {"name": name, "resolution": RESOLUTION, "mixture": {"sources": list(sources)}, **chosen}


def stages(*tables: dict[str, Any], tokenizer: str = "bytes", **model: Any) -> Stages:
    """A file of these stages, for the tiny model."""
    chosen = {"units": 2, "layers": 2, **model}
    return build_stages({"tokenizer": tokenizer, "model": chosen, "seed": 3, "stages": list(tables)})


class Bench:
    """A model of a file's first stage, and what makes tensors for it."""

    def __init__(self, file: Stages, most: int = 200) -> None:
        self.file = file
        self.stage: TrainingStage = file.stages[0]
        self.settings = model_settings(file)
        self.words = open_words(file.tokenizer, self.settings.language_model)
        self.model: StageModel = open_model(self.settings, self.words, file.seed)
        self.writing = Writing(self.words, self.model.picture_places, self.stage.loss_on, most)
        size = self.model.vision.size
        reading = Reading(pixels_of, preparing(self.stage.resolution, size), size, self.model.tokenize_text)
        self.collator = Collator(self.stage, self.writing, reading)

    def given(self, example: Example, next_image: bool = False) -> Given:
        """An example of the stage's source of its kind."""
        kind = kind_of(example)
        found: MixtureSource = next(source for source in self.stage.mixture.sources if source.kind == kind)
        return Given(example, found, next_image)

    def unit(self, *packs: Sequence[Example], next_image: bool = False) -> Any:
        """Rows of examples."""
        return self.collator.unit([[self.given(example, next_image) for example in pack] for pack in packs])

    def logits(self, unit: Any) -> torch.Tensor:
        """Of the next token at every place, float32 (n, l, v)."""
        with torch.no_grad():
            seen = self.model.look(unit.views)[0] if len(unit.views) else torch.zeros(0, 1, 1)
            return self.model.logits(self.model.read(unit.rows, seen))

    def objectives(self) -> Objectives:
        """The stage's losses, in this process alone."""
        weights = {str(name): weight for name, weight in self.stage.objectives.items()}
        return Objectives(self.model, weights, self.writing, Alone(), torch.device("cpu"), False, self.file.seed)
