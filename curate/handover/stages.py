"""What a training does with a hand-over: `stages.toml`, read and checked.

The same file describes a published recipe (`configs/stages/*.toml`), a plan for one's own data, and what a hand-over
holds: sources are then those of its manifest. Nothing here trains; a trainer reads the file, or an exporter's flags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from curate.config import build, read_toml, require_range
from curate.errors import ConfigError
from curate.handover.augment import Augment
from curate.handover.layout import Kind
from curate.handover.resolution import Resolution
from curate.registry import nearest

__all__ = [
    "PARTS",
    "Lora",
    "Mixture",
    "MixtureSource",
    "Stages",
    "Trainable",
    "TrainingStage",
    "build_stages",
    "read_stages",
    "trainable_layers",
]

Objective = Literal[
    "contrastive", "itm", "lm", "lm_interleaved", "sft", "prefix_lm", "masked_text", "masked_image", "image_lm"
]
OBJECTIVES: tuple[str, ...] = get_args(Objective)
PARTS = ("vision", "projector", "language_model", "embeddings")
_LAST = re.compile(r"last_([1-9][0-9]{0,3})")


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021) on the linear layers whose name has one of `patterns` in it; empty: all.
    `rank` 1 to 1,024, 0 where a recipe does not say; `alpha` scales by alpha / rank. `dora`: weight-decomposed (Liu et
    al. 2024)."""

    rank: int
    alpha: float = 16.0
    patterns: tuple[str, ...] = ()
    dora: bool = False

    def __post_init__(self) -> None:
        require_range("rank", self.rank, 0, 1024)
        require_range("alpha", self.alpha, 0)


@dataclass(frozen=True)
class Trainable:
    """What a stage trains of each part: "none", "full", "last_N" (its last N layers), or a table of LoRA. `embeddings`
    are those of the language model's words; "" is as the language model."""

    vision: str | Lora = "none"
    projector: str | Lora = "full"
    language_model: str | Lora = "none"
    embeddings: str = ""

    def __post_init__(self) -> None:
        for name in PARTS:
            value = getattr(self, name)
            if isinstance(value, str) and value not in ("none", "full") and not _LAST.fullmatch(value):
                if name == "embeddings" and not value:
                    continue
                raise ValueError(f'{name} = {value!r} must be "none", "full", "last_N" or a table with rank = N')


def trainable_layers(value: str) -> int | None:
    """The N of "last_N"; None for "none" and "full"."""
    found = _LAST.fullmatch(value)
    return int(found[1]) if found else None


@dataclass(frozen=True)
class MixtureSource:
    """One of the sources that a stage draws from.

    `name` is a source of the hand-over, or in a published recipe the data set's; `examples` how many it had there (0:
    not published). `weight` is its share in the unit of the mixture, against the sum of all; `repeat` how often each
    example comes up in an epoch, for a mixture whose weights are all 0. `captions`: probability of each caption column
    or origin, for pairs with several texts; empty: the first text. Interleaved: documents with `min_images` to
    `max_images` (0: any number), and `image_mask`: a text attends to the "last_image" before it or to "all_previous";
    with `next_image_probability` to the one behind it instead (Flamingo's p_next). `loss_weight` multiplies its loss.
    `batch` is its part of every step where that is fixed, in the stage's `batch_unit`; `sequence_tokens` its own
    longest row; `objectives` those of the stage's that it feeds. 0 and empty: as the stage.
    """

    name: str
    kind: Kind
    weight: float = 0.0
    repeat: float = 1.0
    examples: int = 0
    captions: Mapping[str, float] = field(default_factory=dict)
    max_images: int = 0
    min_images: int = 0
    image_mask: Literal["last_image", "all_previous"] = "all_previous"
    next_image_probability: float = 0.0
    loss_weight: float = 1.0
    batch: int = 0
    sequence_tokens: int = 0
    objectives: tuple[Objective, ...] = ()
    prompt: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        require_range("weight", self.weight, 0)
        require_range("repeat", self.repeat, 0)
        require_range("examples", self.examples, 0)
        require_range("max_images", self.max_images, 0)
        require_range("min_images", self.min_images, 0)
        require_range("next_image_probability", self.next_image_probability, 0, 1)
        require_range("loss_weight", self.loss_weight, 0)
        require_range("batch", self.batch, 0)
        require_range("sequence_tokens", self.sequence_tokens, 0)
        for name, share in self.captions.items():
            require_range(f"captions.{name}", share, 0, 1)
        if self.captions and not sum(self.captions.values()) > 0:
            raise ValueError("captions give no text a probability above 0")
        if self.max_images and self.min_images > self.max_images:
            raise ValueError(f"min_images = {self.min_images} is above max_images = {self.max_images}")


@dataclass(frozen=True)
class Mixture:
    """How sources are mixed. `unit` is what weights count: "sample" (a draw for each example), "token" (shares of all
    tokens, text and image), "gradient" (a micro-batch of each source in every step, its loss times `loss_weight`)."""

    sources: tuple[MixtureSource, ...]
    unit: Literal["sample", "token", "gradient"] = "sample"

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources = [] names none; give at least one")
        names = [source.name for source in self.sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"names the source {twice!r} twice")
        weighted = [source.weight > 0 for source in self.sources]
        if any(weighted) and not all(weighted):
            without = names[weighted.index(False)]
            raise ValueError(f"gives {without!r} no weight, and others one; weigh all, or none to go by repeat")


@dataclass(frozen=True)
class TrainingStage:
    """One stage. Exactly one of `steps`, `epochs`, `samples`, `tokens` says how long it is (all 0: not published).

    `objectives`: weights of the losses that are added. `learning_rates` by part, where they differ from
    `learning_rate`. `batch` counts `batch_unit`. `sequence_tokens`: the longest row, image tokens included; `packing`:
    several examples in a row, which do not attend to one another. `loss_on`: which text is learned; `loss_norm`: a
    loss is averaged over tokens, over samples, or weighed by the root of a sample's tokens ("square", InternVL).
    `trainable_by_module` says of modules that other models do not have (a Q-Former, a visual expert) what is trained.
    `augment`: crops and flips of the pictures of pairs, drawn for each row and epoch (docs/instructions.md).
    `unpublished`: what a recipe does not say, or what could not be confirmed, so that 0 here means nothing; names of
    keys, "length" for the four, "examples" for amounts of sources.
    """

    name: str
    objectives: Mapping[Objective, float]
    mixture: Mixture
    resolution: Resolution
    trainable: Trainable = field(default_factory=Trainable)
    trainable_by_module: Mapping[str, str] = field(default_factory=dict)
    init_from: str = ""
    learning_rate: float = 0.0
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    schedule: Literal["cosine", "linear", "constant", "inverse_sqrt", "exponential"] = "cosine"
    warmup_steps: int = 0
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    steps: int = 0
    epochs: float = 0.0
    samples: int = 0
    tokens: int = 0
    batch: int = 0
    batch_unit: Literal["samples", "tokens"] = "samples"
    sequence_tokens: int = 0
    packing: bool = False
    loss_on: Literal["all", "text", "answers"] = "text"
    loss_norm: Literal["token", "sample", "square"] = "token"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    augment: Augment | None = None
    about: str = ""
    unpublished: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z0-9_]+", self.name):
            raise ValueError(f"name = {self.name!r} must be of small letters, digits and _")
        if not self.objectives:
            raise ValueError(f"objectives of stage {self.name} are empty; give one of {', '.join(OBJECTIVES)} a weight")
        for objective, weight in self.objectives.items():
            if objective not in OBJECTIVES:
                raise ValueError(f"objectives has no {objective!r}; {nearest(objective, list(OBJECTIVES))}")
            require_range(f"objectives.{objective}", weight, 0)
        for name in ("learning_rate", "warmup_steps", "weight_decay", "steps", "epochs", "samples", "tokens", "batch"):
            require_range(name, getattr(self, name), 0)
        require_range("warmup_ratio", self.warmup_ratio, 0, 1)
        require_range("sequence_tokens", self.sequence_tokens, 0)
        for source in self.mixture.sources:
            odd = next((name for name in source.objectives if name not in self.objectives), None)
            if odd:
                raise ValueError(f"source {source.name} feeds {odd!r}, which is no objective of stage {self.name}")
        if self.augment is not None:
            self.augment.require_fit(self.resolution.policy, [source.kind for source in self.mixture.sources])
        lengths = [name for name in ("steps", "epochs", "samples", "tokens") if getattr(self, name)]
        if len(lengths) > 1:
            raise ValueError(f"says how long stage {self.name} is by {' and by '.join(lengths)}; keep one")


@dataclass(frozen=True)
class Stages:
    """A whole file. `family` names the model; `source` where the recipe was published. `model` is for the reference
    trainer: which towers and language model (see `curate.train.stages`); empty in a published recipe."""

    stages: tuple[TrainingStage, ...]
    family: str = ""
    about: str = ""
    source: tuple[str, ...] = ()
    tokenizer: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("has no [[stages]]; write at least one")
        before: list[str] = []
        for stage in self.stages:
            if stage.name in before:
                raise ValueError(f"has two stages called {stage.name!r}")
            if stage.init_from and stage.init_from not in before:
                raise ValueError(f"stage {stage.name} starts from {stage.init_from!r}, which is no stage before it")
            before.append(stage.name)


def read_stages(path: Path) -> Stages:
    """The stages in a TOML file, or in a JSON file of the same shape. Raises ConfigError."""
    if path.suffix == ".json":
        import json

        try:
            table = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"cannot read the stages in {path}: {error}") from None
        if not isinstance(table, dict):
            raise ConfigError(f"{path} holds no JSON object")
    else:
        table = read_toml(path)
    try:
        return build_stages(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def build_stages(table: Mapping[str, Any]) -> Stages:
    """The stages of a table; `objective = "lm"` in a stage is short for `objectives = {lm = 1.0}`. Raises
    ConfigError."""
    rows = table.get("stages", [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ConfigError(f"stages = {rows!r} must be tables; write [[stages]]")
    rows = [_with_objectives(row) for row in rows]
    return build(Stages, {**table, "stages": rows}, "")


def _with_objectives(row: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(row.get("objective"), str) or "objectives" in row:
        return row
    rest = {name: value for name, value in row.items() if name != "objective"}
    return {**rest, "objectives": {row["objective"]: 1.0}}
