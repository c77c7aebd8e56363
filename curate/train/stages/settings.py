"""The `[model]` table of a stages.toml: which parts the reference trainer puts together, and which stages they can do.

Whatever is asked for and cannot be done is said before a shard is opened, with what to write instead: an hour of
training that ends in a wrong kind of loss costs more than these lines. Small by design: pictures are squares of one
size, so tiles and native resolutions are for the trainers that the exports are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from curate.config import build, require_range
from curate.errors import ConfigError
from curate.handover.stages import PARTS, Lora, MixtureSource, Stages, TrainingStage
from curate.registry import nearest

__all__ = ["FROM_PAIRS", "GENERATIVE", "StageModelSettings", "feeds", "model_settings", "objective_for", "weight_of"]

GENERATIVE = ("lm", "lm_interleaved", "sft")
"""Objectives that learn the next token; which texts they learn follows from the example's kind."""
LEARNED_BY: Mapping[str, tuple[str, ...]] = {
    "pairs": ("lm", "lm_interleaved", "sft"),
    "interleaved": ("lm_interleaved", "lm", "sft"),
    "chat": ("sft", "lm", "lm_interleaved"),
    "text": ("lm_interleaved", "lm", "sft"),
}
"""By kind: the objectives whose weight its next-token loss has, the first that a stage names."""
FROM_PAIRS = ("contrastive", "itm")
"""Objectives that compare pairs with one another."""


@dataclass(frozen=True)
class StageModelSettings:
    """The `[model]` table. Raises ValueError for what does not go together.

    `vision`: "toy" (three convolutions and two layers, 32 px, 16 tokens) or "open_clip" (the picture tower of
    `architecture`). `vision_weights`: what `[models] weights` of a config takes; empty: drawn by the seed. `projector`:
    "linear", "mlp2x" (LLaVA-1.5), "perceiver" (Flamingo's resampler with `latents` tokens a picture). `fusion`:
    "prefix" puts a picture's tokens among the words (LLaVA), "cross_attention" has gated layers before every
    `cross_every`-th block of the language model look at them (Flamingo).

    `language_model`: "tiny" (96 numbers wide, `layers` layers, texts of up to `places` tokens) or the folder of a
    causal model of transformers. `text_tower`: what reads captions for the contrastive loss, the language model or
    open_clip's own text tower. `contrast`: InfoNCE or SigLIP's sigmoid. `units`: in how many parts each batch is
    computed, a power of two and at least the number of workers; the result depends on it, and not on the workers.
    """

    vision: Literal["toy", "open_clip"] = "toy"
    architecture: str = ""
    vision_weights: str = ""
    projector: Literal["linear", "mlp2x", "perceiver"] = "mlp2x"
    latents: int = 16
    fusion: Literal["prefix", "cross_attention"] = "prefix"
    cross_every: int = 1
    language_model: str = "tiny"
    layers: int = 2
    places: int = 256
    text_tower: Literal["language_model", "open_clip"] = "language_model"
    contrast: Literal["softmax", "sigmoid"] = "softmax"
    units: int = 4

    def __post_init__(self) -> None:
        require_range("latents", self.latents, 1, 1_024)
        require_range("cross_every", self.cross_every, 1, 256)
        require_range("layers", self.layers, 1, 64)
        require_range("places", self.places, 8, 65_536)
        require_range("units", self.units, 1, 1_024)
        if self.units & (self.units - 1):
            raise ValueError(f"units = {self.units} must be a power of two, such as 4 or 8")
        if not self.language_model:
            raise ValueError('language_model = "" is none; write "tiny", or the folder of a causal model')
        if self.vision == "toy" and self.architecture:
            raise ValueError(f'vision = "toy" is no {self.architecture!r}; write vision = "open_clip"')
        if self.text_tower == "open_clip" and self.vision != "open_clip":
            raise ValueError('text_tower = "open_clip" goes with vision = "open_clip"')
        if self.vision == "open_clip" and not (self.architecture or self.vision_weights):
            raise ValueError('vision = "open_clip" needs `architecture`, such as "ViT-B-32", or a folder of weights')


def model_settings(stages: Stages) -> StageModelSettings:
    """The table, checked against the stages. Raises ConfigError."""
    settings = build(StageModelSettings, stages.model, "model")
    for stage in stages.stages:
        try:
            _require(stage, settings)
        except ValueError as error:
            raise ConfigError(f"stage {stage.name}: {error}") from None
    return settings


def weight_of(stage: TrainingStage, objective: str) -> float:
    """The weight of an objective; 0 where the stage does not have it."""
    return {str(name): weight for name, weight in stage.objectives.items()}.get(objective, 0.0)


def objective_for(source: MixtureSource, stage: TrainingStage) -> str:
    """The generative objective that a source's examples are learned by; empty where the stage has none for it."""
    return next((name for name in LEARNED_BY[source.kind] if feeds(source, stage, name)), "")


def feeds(source: MixtureSource, stage: TrainingStage, objective: str) -> bool:
    """Whether a source is learned by an objective of the stage."""
    fits = source.kind == "pairs" or objective not in FROM_PAIRS
    named = not source.objectives or objective in source.objectives
    return fits and named and weight_of(stage, objective) > 0


def _require(stage: TrainingStage, settings: StageModelSettings) -> None:
    """Raise ValueError for what the reference trainer does not do."""
    known = (*FROM_PAIRS, *GENERATIVE)
    odd = next((str(name) for name in stage.objectives if name not in known), "")
    if odd:
        raise ValueError(f"the reference trainer has no objective {odd!r}; it has {', '.join(known)}")
    if not any(stage.objectives.values()):
        raise ValueError("all objectives weigh 0; give one a weight")
    if stage.trainable_by_module:
        other = next(iter(stage.trainable_by_module))
        raise ValueError(f"trainable_by_module has {other!r}, a module that this model does not have; take it out")
    if stage.resolution.policy in ("tile", "native"):
        policy = stage.resolution.policy
        raise ValueError(f'policy = "{policy}" is for other trainers; here write "fixed", "pad" or "shortest"')
    if not stage.learning_rate and not stage.learning_rates:
        raise ValueError("learning_rate = 0 trains nothing; give it a rate")
    adapted = {name: own for name in PARTS if isinstance(own := getattr(stage.trainable, name), Lora)}
    thin = next((name for name, own in adapted.items() if not own.rank), "")
    if thin:
        raise ValueError(f"trainable.{thin} has rank = 0, which a recipe has where it does not say; give one")
    odd = next((name for name in stage.learning_rates if name not in PARTS), "")
    if odd:
        raise ValueError(f"learning_rates has no part {odd!r}; {nearest(odd, list(PARTS))}")
    if not stage.batch:
        raise ValueError("batch = 0 is no batch; say how many examples a step has")
    if not (stage.steps or stage.epochs or stage.samples or stage.tokens):
        raise ValueError("how long is it? Give steps, epochs, samples or tokens")
    if settings.units > stage.batch and stage.batch_unit == "samples":
        raise ValueError(
            f"batch = {stage.batch} cannot be computed in units = {settings.units} parts; lower [model] units"
        )
    _require_sources(stage, settings)


def _require_sources(stage: TrainingStage, settings: StageModelSettings) -> None:
    for source in stage.mixture.sources:
        if not (objective_for(source, stage) or any(feeds(source, stage, name) for name in FROM_PAIRS)):
            raise ValueError(f'no objective learns from {source.name} of kind "{source.kind}"; add lm, or leave it out')
        if source.next_image_probability and (source.image_mask, settings.fusion) != ("last_image", "cross_attention"):
            raise ValueError(
                f'next_image_probability of {source.name} needs image_mask = "last_image" there, and fusion = '
                '"cross_attention" in [model]: tokens among the words are seen in their order'
            )
    for objective in stage.objectives:
        if not any(feeds(source, stage, str(objective)) for source in stage.mixture.sources) and weight_of(
            stage, str(objective)
        ):
            raise ValueError(f"no source feeds the objective {objective}; add one, or take it out")
