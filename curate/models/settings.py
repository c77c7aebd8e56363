"""The `[models.NAME]` tables of a config: which model, with which weights, how exact. Imports no torch.

NAME is the user's, and heads the columns that the model writes: `[models.l14]` writes `l14_similarity`,
`l14_image_embedding` and `l14_text_embedding`. So several models stand side by side, and a filter names the one it
means. What changes a score is part of a model's fingerprint; `batch` and `device` change only how fast.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from curate.config import build, require_range
from curate.errors import ConfigError
from curate.registry import nearest
from curate.stage import settings_of

if TYPE_CHECKING:
    from curate.models.caption_settings import CaptionerSettings, MatcherSettings

__all__ = [
    "COPY_DETECTION",
    "TOY",
    "AnyModel",
    "ModelSettings",
    "Precision",
    "build_models",
    "check_model_name",
    "require_model",
    "require_once",
    "require_picture_model",
    "settings_that_count",
]

Precision = Literal["fp32", "bf16", "fp16"]
TOY = "toy"
"""The weights that come with the program: they know coloured shapes and nothing else."""

EMBEDDING_KINDS = ("clip", "sscd", "isc")
COPY_DETECTION = ("sscd", "isc")
"""Kinds that embed pictures alone, from weights in a file (`curate.models.copy_detection`)."""


@dataclass(frozen=True)
class ModelSettings:
    """One model that embeds. Raises ValueError for what does not go together.

    `kind`: `clip` embeds pictures and texts apart (any architecture of open_clip, or the toy); `sscd` and `isc` embed
    pictures for copy detection, from `weights` in a file. Models that write texts or read them together with pictures
    have settings of their own (`curate.models.caption_settings`).
    `architecture`: open_clip's name, such as `ViT-L-14`; `weights`: a tag of open_clip for it (`openai`,
    `laion2b_s32b_b82k`, downloaded by open_clip), the path of a `.safetensors` or weights-only `.pt` file, a folder
    with `open_clip_config.json` (which tells the architecture too), or `toy`.
    `precision`: `fp32` equals open_clip's own code to 1e-5; `bf16` (the default) and `fp16` keep the order (rank
    correlation .999) at two to five times the speed where the device has them, and are computed in fp32 where not.
    `embeddings`: whether both embeddings are kept as columns; `npz`: also as DataComp's `00000.npz`. `captions`: names
    of captioners of the config whose texts it compares with the pictures too (`clip` with `embeddings` only).
    `batch`: pictures at a time, 0: found by a short search on a GPU, 32 on a CPU. `device`: `auto` takes a GPU.
    """

    kind: Literal["clip", "sscd", "isc"] = "clip"
    architecture: str = ""
    weights: str = TOY
    precision: Precision = "bf16"
    embeddings: bool = True
    npz: bool = False
    captions: tuple[str, ...] = ()
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
        if self.kind in COPY_DETECTION and (self.weights == TOY or self.architecture or not self.embeddings):
            raise ValueError(
                f"kind = {self.kind!r} needs `weights`, the path of a file; it has one architecture and writes nothing "
                "but embeddings"
            )
        if self.npz and not (self.embeddings and self.kind == "clip"):
            raise ValueError("npz = true needs embeddings = true and kind = 'clip'")
        require_once(self.captions)
        if self.captions and not (self.embeddings and self.kind == "clip"):
            raise ValueError("`captions` needs embeddings = true and kind = 'clip'")


AnyModel: TypeAlias = "ModelSettings | CaptionerSettings | MatcherSettings"


def build_models(table: Mapping[str, Any]) -> dict[str, AnyModel]:
    """The `[models.*]` tables: name to settings. Raises ConfigError."""
    from curate.models.caption_settings import CaptionerSettings, MatcherSettings

    kinds = {"captioner": CaptionerSettings, "matcher": MatcherSettings}
    models: dict[str, AnyModel] = {}
    for name, settings in table.items():
        try:
            check_model_name(name)
        except ValueError as error:
            raise ConfigError(f"[models.{name}] {error}") from None
        if not isinstance(settings, Mapping):
            raise ConfigError(f"[models] {name} must be a table; write [models.{name}]")
        kind = settings.get("kind", "clip")
        if kind not in (*EMBEDDING_KINDS, *kinds):
            raise ConfigError(
                f"[models.{name}] kind = {kind!r} is not one of them; {nearest(str(kind), [*EMBEDDING_KINDS, *kinds])}"
            )
        models[name] = build(kinds.get(kind, ModelSettings), settings, f"models.{name}")
    for name, own in models.items():
        _require_captioners(name, own, models)
    return models


def _require_captioners(name: str, settings: AnyModel, models: Mapping[str, AnyModel]) -> None:
    for captioner in getattr(settings, "captions", ()) if settings.kind != "captioner" else ():
        if captioner not in models or models[captioner].kind != "captioner":
            raise ConfigError(
                f"[models.{name}] captions names {captioner!r}, and the config has no [models.{captioner}] with "
                'kind = "captioner"; add that table, or mend the name'
            )


def check_model_name(name: str) -> None:
    """Raise ValueError unless the name can head a column."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name):
        raise ValueError(
            f"model = {name!r}: a model's name is of small letters, digits and _, and starts with a letter"
        )


def require_once(captions: Sequence[str]) -> None:
    """Raise ValueError for a captioner that is named twice."""
    twice = [name for name, count in Counter(captions).items() if count > 1]
    if twice:
        raise ValueError(f"captions = {list(captions)!r} names {twice[0]!r} twice; name each captioner once")


def require_model(models: Mapping[str, Any], name: str, kind: str = "clip", embeddings: bool = False) -> Any:
    """The settings of a model that a filter names. Raises ConfigError unless the config has it, of this kind, and it
    keeps its embeddings where they are needed."""
    if name not in models:
        others = f", or name another: {', '.join(models)}" if models else ""
        raise ConfigError(f"model = {name!r}: the config has no [models.{name}]; add that table{others}")
    settings: AnyModel = models[name]
    if settings.kind != kind:
        raise ConfigError(
            f"model = {name!r}: [models.{name}] is of kind {settings.kind!r}, and this needs kind = {kind!r}"
        )
    if embeddings and not getattr(settings, "embeddings", True):
        raise ConfigError(f"model = {name!r} needs its embeddings; write embeddings = true in [models.{name}]")
    return settings


def settings_that_count(settings: Any, *without: str) -> dict[str, Any]:
    """The settings of a model that change what it says, as data for a fingerprint. `without`: what is left out, such as
    a path, for which the digest of the files stands."""
    return {name: value for name, value in settings_of(settings).items() if name not in ("", *without)}


def require_picture_model(models: Mapping[str, Any], name: str) -> ModelSettings:
    """The settings of a model whose embeddings of pictures a filter compares: of a CLIP that keeps them, or of a copy
    detection model. Raises ConfigError."""
    found = models.get(name)
    if isinstance(found, ModelSettings) and found.kind in COPY_DETECTION:
        return found
    clip: ModelSettings = require_model(models, name, embeddings=True)
    return clip
