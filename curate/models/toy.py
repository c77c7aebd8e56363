"""The toy models that come with the program: how they are loaded and fed, and the thresholds that suit them.

They know coloured shapes and nothing else, so that every step of a pipeline with models runs, and can be measured,
without a download. What they do not notice is that the two groups of a scene are exchanged, which no caption of the toy
web does. Half precision on disk, because 0.6 M parameters then take 1.1 MB and no score moves by more than .001.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from curate.errors import ConfigError
from curate.filter import Pixels
from curate.models.tensors_fit import misfits
from curate.models.toy_captioner import ToyCaptioner
from curate.models.toy_clip import IMAGE_SIZE, ToyClip
from curate.models.toy_matcher import ToyMatcher
from curate.models.toy_words import tokenize, trimmed
from curate.models.weights import TOY_FILES, read_tensors
from curate.storage import plain_errors

__all__ = [
    "MIN_PROBABILITY",
    "MIN_SIMILARITY",
    "ToyCaptioner",
    "ToyClip",
    "ToyMatcher",
    "load_toy_captioner",
    "load_toy_clip",
    "load_toy_matcher",
    "normalized",
    "prepare",
    "save_toy",
    "tokenize",
    "trimmed",
]

MIN_SIMILARITY = 0.9
"""A threshold for the toy CLIP, chosen on toy web 21: of 675 wrong captions it drops .973, and .992 of those that it
drops are wrong."""
MIN_PROBABILITY = 0.5
"""The same for the toy matcher, on toy webs 11 to 13: it drops .990 of the wrong captions and .009 of the right ones.
It is CapFilt's threshold, too."""

Model = TypeVar("Model", ToyClip, ToyMatcher, ToyCaptioner)


def load_toy_clip(path: Path = TOY_FILES["clip"]) -> ToyClip:
    """The toy dual encoder, float32, in eval mode. Raises ConfigError for a file that is not one of its own."""
    return _load(ToyClip(), path)


def load_toy_matcher(path: Path = TOY_FILES["matcher"]) -> ToyMatcher:
    """The toy matcher, float32, in eval mode. Raises ConfigError for a file that is not one of its own."""
    return _load(ToyMatcher(), path)


def load_toy_captioner(path: Path = TOY_FILES["captioner"]) -> ToyCaptioner:
    """The toy captioner, float32, in eval mode. Raises ConfigError for a file that is not one of its own."""
    return _load(ToyCaptioner(), path)


def prepare(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """uint8 (height, width, 3) to uint8 (32, 32, 3): squashed, not cropped, because a crop would cut the scene."""
    small: npt.NDArray[np.uint8] = cv2.resize(pixels, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
    return small


def normalized(views: npt.NDArray[np.uint8]) -> Any:
    """Prepared pictures, uint8 (n, 32, 32, 3), to what both models take, float32 (n, 3, 32, 32)."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (ToyClip.mean, ToyClip.std))
    return torch.from_numpy(views).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)


def save_toy(model: nn.Module, path: Path, about: Mapping[str, str]) -> None:
    """Write the parameters in half precision as safetensors; the same parameters give the same bytes.

    The library's own writer puts `about` down in another order each time, so the few lines of the format stand here:
    the length of the header, the header as JSON, the tensors one after another. Raises StorageError.
    """
    header: dict[str, Any] = {"__metadata__": dict(about)}
    data = bytearray()
    for name, tensor in sorted(model.state_dict().items()):
        raw = tensor.detach().to(torch.float16).contiguous().numpy().tobytes()
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    words = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 8)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with plain_errors(f"write {path}"):
        beside.write_bytes(len(words).to_bytes(8, "little") + words + data)
        beside.replace(path)


def _load(model: Model, path: Path) -> Model:
    tensors, own = read_tensors(path), model.state_dict()
    found = misfits(own, tensors)
    told = {
        "it lacks": found.missing,
        "it has, besides,": found.extra,
        "of another shape:": found.shaped,
        "of another kind:": found.typed,
        "not finite:": found.broken,
    }
    faults = [f"{words} {', '.join(names[:3])}{' ...' * (len(names) > 3)}" for words, names in told.items() if names]
    if faults:
        raise ConfigError(
            f"{path} does not hold the toy model {type(model).__name__}: {'; '.join(faults)}; "
            "make the toy models anew: curate train tiny"
        )
    model.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in tensors.items()})
    model.eval()
    return model
