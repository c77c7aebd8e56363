"""The `[models.NAME]` tables of a config: which model, with which weights, how exact. Imports no torch.

NAME is the user's, and heads the columns that the model writes: `[models.l14]` writes `l14_similarity`,
`l14_image_embedding` and `l14_text_embedding`. So several models stand side by side, and a filter names the one it
means. What changes a score is part of a model's fingerprint; `batch` and `device` change only how fast.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from curate.config import build, require_range
from curate.errors import ConfigError

__all__ = [
    "COPY_DETECTION",
    "TOY",
    "ModelSettings",
    "Precision",
    "build_models",
    "check_model_name",
    "require_model",
    "require_picture_model",
]

Precision = Literal["fp32", "bf16", "fp16"]
TOY = "toy"
"""The weights that come with the program: they know coloured shapes and nothing else."""

COPY_DETECTION = ("sscd", "isc")
"""Kinds that embed pictures alone, from weights in a file (`curate.models.copy_detection`)."""


@dataclass(frozen=True)
class ModelSettings:
    """One model. Raises ValueError for what does not go together.

    `kind`: `clip` embeds pictures and texts apart (any architecture of open_clip, or the toy); `matcher` looks at both
    together and says how likely the text describes the picture (the toy; others come with captioning); `sscd` and `isc`
    embed pictures for copy detection, from `weights` in a file.
    `architecture`: open_clip's name, such as `ViT-L-14`; `weights`: a tag of open_clip for it (`openai`,
    `laion2b_s32b_b82k`, downloaded by open_clip), the path of a `.safetensors` or weights-only `.pt` file, a folder
    with `open_clip_config.json` (which tells the architecture too), or `toy`.
    `precision`: `fp32` equals open_clip's own code to 1e-5; `bf16` (the default) and `fp16` keep the order (rank
    correlation .999) at two to five times the speed where the device has them, and are computed in fp32 where not.
    `embeddings`: whether both embeddings are kept as columns; `npz`: also as DataComp's `00000.npz`.
    `batch`: pictures at a time, 0: found by a short search on a GPU, 32 on a CPU. `device`: `auto` takes a GPU.
    """

    kind: Literal["clip", "matcher", "sscd", "isc"] = "clip"
    architecture: str = ""
    weights: str = TOY
    precision: Precision = "bf16"
    embeddings: bool = True
    npz: bool = False
    batch: int = field(default=0, metadata={"runtime": True})
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"runtime": True})

    def __post_init__(self) -> None:
        require_range("batch", self.batch, 0, 65_536)
        if not self.weights:
            raise ValueError('weights = "" is no model; name a tag of open_clip, a file, a folder, or "toy"')
        if self.weights == TOY and self.architecture:
            raise ValueError(
                f'weights = "toy" is a model of its own, not {self.architecture!r}; name a tag such as "openai" or a '
                "file, or leave `architecture` out"
            )
        if self.kind == "matcher" and self.weights != TOY:
            raise ValueError(f'kind = "matcher" has the toy only, not weights = {self.weights!r}')
        if self.kind in COPY_DETECTION and (self.weights == TOY or self.architecture or not self.embeddings):
            raise ValueError(
                f"kind = {self.kind!r} needs `weights`, the path of a file; it has one architecture and writes nothing "
                "but embeddings"
            )
        if self.npz and not (self.embeddings and self.kind == "clip"):
            raise ValueError("npz = true needs embeddings = true and kind = 'clip'")


def build_models(table: Mapping[str, Any]) -> dict[str, ModelSettings]:
    """The `[models.*]` tables: name to settings. Raises ConfigError."""
    models = {}
    for name, settings in table.items():
        try:
            check_model_name(name)
        except ValueError as error:
            raise ConfigError(f"[models.{name}] {error}") from None
        if not isinstance(settings, Mapping):
            raise ConfigError(f"[models] {name} must be a table; write [models.{name}]")
        models[name] = build(ModelSettings, settings, f"models.{name}")
    return models


def check_model_name(name: str) -> None:
    """Raise ValueError unless the name can head a column."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name):
        raise ValueError(
            f"model = {name!r}: a model's name is of small letters, digits and _, and starts with a letter"
        )


def require_model(models: Mapping[str, Any], name: str, kind: str = "clip", embeddings: bool = False) -> ModelSettings:
    """The settings of a model that a filter names. Raises ConfigError unless the config has it, of this kind, and it
    keeps its embeddings where they are needed."""
    if name not in models:
        others = f", or name another: {', '.join(models)}" if models else ""
        raise ConfigError(f"model = {name!r}: the config has no [models.{name}]; add that table{others}")
    settings: ModelSettings = models[name]
    if settings.kind != kind:
        raise ConfigError(
            f"model = {name!r}: [models.{name}] is of kind {settings.kind!r}, and this needs kind = {kind!r}"
        )
    if embeddings and not settings.embeddings:
        raise ConfigError(f"model = {name!r} needs its embeddings; write embeddings = true in [models.{name}]")
    return settings


def require_picture_model(models: Mapping[str, Any], name: str) -> ModelSettings:
    """The settings of a model whose embeddings of pictures a filter compares: of a CLIP that keeps them, or of a copy
    detection model. Raises ConfigError."""
    found = models.get(name)
    if isinstance(found, ModelSettings) and found.kind in COPY_DETECTION:
        return found
    return require_model(models, name, embeddings=True)
