"""How the pictures of a transformers folder are made ready, from its preprocessor_config.json, as bytes.

transformers turns a picture into floats at once: 1.8 MB at 384 px, made by the threads that decode, and copied to a
GPU. Here they give bytes, a quarter of that, by the same resize of Pillow; mean and standard deviation are taken out on
the device, and the numbers are equal to 1e-6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.models.hf_folder import load_image_processor
from curate.models.preprocess import Preprocess

__all__ = ["normalised", "square_preprocess"]

METHODS = {2: "bilinear", 3: "bicubic"}
"""By Pillow's numbers."""


def square_preprocess(path: Path, side: int) -> Preprocess:
    """The preprocessing of a model that takes squares of `side` pixels, into which pictures are squeezed (BLIP and
    BLIP-2). Raises ConfigError for a folder that asks for another."""
    told = load_image_processor(path)
    size = told.size
    wanted = (side, side)
    if (size.get("height"), size.get("width")) != wanted or not told.do_resize or getattr(told, "do_pad", None):
        raise ConfigError(f"{path} prepares pictures of {dict(size)}, and its model takes {side} x {side} px")
    crops = getattr(told, "do_center_crop", None)
    if crops or int(told.resample) not in METHODS or not (told.do_rescale and told.do_normalize):
        raise ConfigError(f"{path} prepares pictures in a way that is not known here: resize and normalise alone are")
    if abs(told.rescale_factor * 255 - 1) > 1e-6 or len(told.image_mean) != 3 or len(told.image_std) != 3:
        raise ConfigError(f"{path} does not take bytes of red, green and blue; fetch preprocessor_config.json anew")
    red, green, blue = (float(value) for value in told.image_mean)
    spread = tuple(float(value) for value in told.image_std)
    method: Any = METHODS[int(told.resample)]
    return Preprocess(side, (red, green, blue), (spread[0], spread[1], spread[2]), method, "squash")


def normalised(views: Any, ready: Preprocess) -> Any:
    """uint8 (n, side, side, 3) on a device to float32 (n, 3, side, side) there."""
    import torch

    mean, std = (torch.tensor(values, device=views.device).view(1, 3, 1, 1) for values in (ready.mean, ready.std))
    return views.permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
