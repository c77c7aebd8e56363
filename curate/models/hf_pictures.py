"""How the pictures of a transformers folder are made ready, from its preprocessor_config.json, as bytes.

transformers turns a picture into floats at once: 1.8 MB at 384 px, made by the threads that decode, and copied to a
GPU. Here they give bytes, a quarter of that, by the same resize of Pillow; mean and standard deviation are taken out on
the device, and the numbers are equal to 1e-6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.models.hf_folder import load_image_processor
from curate.models.memory import is_memory
from curate.models.preprocess import Preprocess

__all__ = ["normalised", "square_preprocess"]

METHODS: Mapping[int, Literal["bicubic", "bilinear"]] = {2: "bilinear", 3: "bicubic"}
"""By Pillow's numbers."""
CLOSE = 1e-4
SIDES = ("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width")
MOST_TIMES = 4
"""A preprocessing that asks for more than so many times the model's side is not tried out."""


def square_preprocess(path: Path, side: int) -> Preprocess:
    """The preprocessing of a model that takes squares of `side` pixels, into which pictures are squeezed (BLIP and
    BLIP-2). Raises ConfigError for a folder that asks for another, which is found by what it makes of noise."""
    told = load_image_processor(path)
    _require_size(told, path, side)
    noise = np.random.default_rng(0).integers(0, 256, (side + 7, 2 * side - 3, 3), np.uint8)
    try:
        theirs = told(images=noise, return_tensors="pt")["pixel_values"]
        size = tuple(theirs.shape[2:])
        ready = Preprocess(side, _three(told.image_mean), _three(told.image_std), METHODS[int(told.resample)], "squash")
    except Exception as error:
        if is_memory(error):
            raise
        raise ConfigError(f"{path} prepares pictures in a way that is not known here: {error!r}") from error
    if size != (side, side):
        raise ConfigError(f"{path} prepares pictures of {size[0]} x {size[1]} px, and its model takes {side} x {side}")
    if not float((normalised(_stacked(ready(noise)), ready) - theirs).abs().max()) <= CLOSE:
        raise ConfigError(f"{path} prepares pictures in a way that is not known here: resize and normalise alone are")
    return ready


def _require_size(told: Any, path: Path, side: int) -> None:
    """Before a picture is made: one of 20,000 x 20,000 px takes 10 GB, and a minute."""
    tables = [getattr(told, name, None) for name in ("size", "crop_size", "pad_size")]
    sides = [getattr(table, name, None) for table in tables for name in SIDES]
    most = max((value for value in sides if isinstance(value, int | float)), default=0)
    if most > MOST_TIMES * side:
        raise ConfigError(f"{path} prepares pictures of {most:,} px, and its model takes {side} x {side}")


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _stacked(view: npt.NDArray[np.uint8]) -> Any:
    import torch

    return torch.from_numpy(np.stack([view]))


def normalised(views: Any, ready: Preprocess) -> Any:
    """uint8 (n, side, side, 3) on a device to float32 (n, 3, side, side) there."""
    import torch

    mean, std = (torch.tensor(values, device=views.device).view(1, 3, 1, 1) for values in (ready.mean, ready.std))
    return views.permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
