"""The picture tower of a stage model: the toy's, or any of open_clip that gives tokens and not one vector alone.

A tower answers both: its tokens, which a projector turns into what a language model reads, and one vector, which a
contrastive loss compares. Pictures stay bytes until they are on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from curate.errors import ConfigError
from curate.filter import Pixels
from curate.handover.resolution import Resolution
from curate.models.preprocess import Preprocess
from curate.models.settings import TOY, ModelSettings
from curate.models.towers import Towers, open_towers
from curate.models.toy_clip import DIMENSIONS, IMAGE_SIZE, MEAN, STD, PictureTower
from curate.train.stages.settings import StageModelSettings

__all__ = ["Vision", "open_vision", "preparing"]

MODES: dict[str, Literal["squash", "longest", "shortest"]] = {
    "fixed": "squash",
    "pad": "longest",
    "shortest": "shortest",
}


class Vision(nn.Module):
    """A picture tower. `size` px a side, `tokens` a picture of `width` numbers each, `embedding` numbers of its one
    vector."""

    def __init__(self, tower: nn.Module, sides: tuple[int, int, int, int], norm: Any) -> None:
        super().__init__()
        self.tower = tower
        self.size, self.tokens, self.width, self.embedding = sides
        for name, values in zip(("mean", "std"), norm, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (p, size, size, 3) to tokens (p, tokens, width) and vectors (p, embedding)."""
        images = (views.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        if isinstance(self.tower, PictureTower):
            tokens: Tensor = self.tower(images)
            return tokens, tokens.mean(dim=1)
        vector, tokens = self.tower(images)
        return tokens, vector


def open_vision(settings: StageModelSettings) -> tuple[Vision, Towers | None]:
    """The tower, and open_clip's whole model where it is one of it. Random where no weights are named: by torch's
    generator. Raises ConfigError."""
    if settings.vision == "toy":
        return Vision(_toy_tower(settings.vision_weights), (IMAGE_SIZE, 16, DIMENSIONS, DIMENSIONS), (MEAN, STD)), None
    towers = _towers(settings)
    tower = towers.module.visual
    if not hasattr(tower, "output_tokens"):
        raise ConfigError(
            f"the picture tower of {towers.name} gives one vector and no tokens; take a vision transformer of open_clip"
        )
    tower.output_tokens = True
    with torch.no_grad():
        vector, tokens = tower.eval()(torch.zeros(1, 3, towers.size, towers.size))
    sides = towers.size, int(tokens.shape[1]), int(tokens.shape[2]), int(vector.shape[1])
    return Vision(tower, sides, (towers.mean, towers.std)), towers


def _toy_tower(weights: str) -> PictureTower:
    if not weights:
        return PictureTower()
    found: PictureTower = open_towers(ModelSettings(weights=weights)).module.picture
    return found


def _towers(settings: StageModelSettings) -> Towers:
    if settings.vision_weights:
        if settings.vision_weights == TOY:
            raise ConfigError('vision_weights = "toy" goes with vision = "toy"')
        return open_towers(ModelSettings(architecture=settings.architecture, weights=settings.vision_weights))
    import open_clip

    try:
        model = open_clip.create_model(settings.architecture, load_weights=False, pretrained_text=False)
        tokenize = open_clip.get_tokenizer(settings.architecture)
    except Exception as error:
        raise ConfigError(f"open_clip cannot build {settings.architecture!r}: {error}") from error
    norm = open_clip.get_model_preprocess_cfg(model)
    size = norm["size"] if isinstance(norm["size"], int) else norm["size"][0]
    prepare = Preprocess(size, tuple(norm["mean"]), tuple(norm["std"]))
    return Towers(
        settings.architecture, model, prepare, size, prepare.mean, prepare.std, tokenize, model.encode_text, False
    )


def preparing(resolution: Resolution, size: int) -> Callable[[Pixels], npt.NDArray[np.uint8]]:
    """Makes uint8 (size, size, 3) of decoded pictures, as a stage's resolution says and of the tower's size."""
    return Preprocess(size, (0.5,) * 3, (0.5,) * 3, "bilinear", MODES[resolution.policy])
