"""Runs a network that TensorFlow.js calls a layers model (`model.json` and its weights) in torch, layer by layer.

It is how the NSFW MobileNet of nsfwjs is published, and 2.6 MB of weights in bytes are no reason for another runtime.
The topology is data: each layer is one of a few known kinds with settings that are checked, and any other is refused by
name, because a layer that is skipped gives probabilities that look like any. Tensors are channels-first inside; kernels
and the order in which Flatten reads are those of Keras' channels-last. A picture of 224 px through MobileNetV2 takes 20
ms on one core; sub-batches of 16 hold the largest layer to 80 MB.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.models.device import device
from curate.models.keras_kinds import KINDS, Function

__all__ = ["LayersModel", "classify", "model_parts", "read_layers_model", "squashed"]

MOST_BYTES = 256 << 20
MOST_TOPOLOGY_BYTES = 16 << 20
MOST_SIDE_PX = 1_024
MOST_LAYERS = 2_000
MANIFEST = "model.json"
AT_A_TIME = 16


@dataclass(frozen=True)
class _Layer:
    """One layer: what it takes by name, and what it does with that. `frees` are those that nobody reads after it."""

    name: str
    takes: tuple[str, ...]
    function: Function
    frees: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayersModel:
    """`shape` is what it takes, (height, width, channels); `width` how many numbers it gives."""

    shape: tuple[int, int, int]
    layers: tuple[_Layer, ...]
    given: str
    width: int

    def __call__(self, pixels: Any) -> Any:
        """A torch tensor, float32 (n, channels, height, width), to one of (n, width)."""
        held = {self.given: pixels}
        for layer in self.layers:
            held[layer.name] = layer.function(*(held[name] for name in layer.takes))
            for name in layer.frees:
                del held[name]
        return held[self.layers[-1].name]


def squashed(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """A picture of height x width x 3 as side x side x 3, each value between the four nearest, corners on corners: as
    TensorFlow.js' `resizeBilinear` with `alignCorners`. Rounded to bytes. 0.4 ms for 512 x 512 px."""
    import torch
    from torch.nn import functional

    values = torch.tensor(pixels).permute(2, 0, 1)[None].float()
    small = functional.interpolate(values, (side, side), mode="bilinear", align_corners=True)[0]
    rounded: npt.NDArray[np.uint8] = small.permute(1, 2, 0).round().to(torch.uint8).numpy()
    return rounded


def classify(folder: str, digest: str, views: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """What the model of `folder` gives, float32 (n, width), for pictures of its shape, uint8, read as 0 to 1. It is
    kept for as long as its `digest` is asked for. Raises ConfigError."""
    import torch

    model, where = _loaded(folder, digest)
    found = [np.empty((0, model.width), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(views), AT_A_TIME):
            stacked = torch.from_numpy(np.stack(views[start : start + AT_A_TIME])).to(where)
            found.append(model(stacked.permute(0, 3, 1, 2).float().div(255)).cpu().numpy())
    return np.concatenate(found)


@lru_cache(maxsize=2)
def _loaded(folder: str, digest: str) -> tuple[LayersModel, Any]:
    where = device("auto")
    return read_layers_model(Path(folder), where), where


def model_parts(path: Path) -> tuple[str, ...]:
    """The names of the files of the model in the folder `path`: the topology's and the weights'. Raises ConfigError."""
    return (MANIFEST, *_shards(path, _topology(path)))


def read_layers_model(path: Path, where: Any = "cpu") -> LayersModel:
    """The model in the folder `path`, with its weights on the torch device `where`. Raises ConfigError for what is no
    such model, for a layer that is not known here, and for missing, extra or misshapen weights."""
    told = _topology(path)
    try:
        return _network(path, told["modelTopology"]["model_config"]["config"], _weights(path, told), where)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError, RuntimeError) as error:
        raise ConfigError(f"{path} is no layers model that can be read: {type(error).__name__} {error}") from error


def _topology(path: Path) -> Mapping[str, Any]:
    file = path / MANIFEST
    try:
        if file.stat().st_size > MOST_TOPOLOGY_BYTES:
            raise ConfigError(f"{file} has more than {MOST_TOPOLOGY_BYTES} bytes")
        told = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read: {error}; give the folder of a TensorFlow.js layers model") from error
    if not isinstance(told, dict) or not isinstance(told.get("modelTopology"), dict):
        raise ConfigError(f"{file} has no modelTopology: it is no TensorFlow.js layers model")
    return told


def _shards(path: Path, told: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the files of weights, which stand beside the topology."""
    try:
        names = tuple(name for group in told["weightsManifest"] for name in group["paths"])
        if all(isinstance(name, str) and name == Path(name).name and name not in ("", ".", "..") for name in names):
            return names
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path / MANIFEST} has no manifest of weights: {error!r}") from error
    raise ConfigError(f"{path / MANIFEST} names weights outside its folder: {', '.join(map(str, names))}")


def _weights(path: Path, told: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
    """Name to float32; a quantised weight is its whole number times `scale` plus `min`."""
    _shards(path, told)
    found = {}
    for group in told["weightsManifest"]:
        files = [path / name for name in group["paths"]]
        size = sum(file.stat().st_size for file in files)
        if size > MOST_BYTES:
            raise ConfigError(f"{path} has weights of {size} bytes, and {MOST_BYTES} are allowed")
        data, place = b"".join(file.read_bytes() for file in files), 0
        for about in group["weights"]:
            shape, coding = tuple(int(side) for side in about["shape"]), about.get("quantization")
            stored = np.dtype("<f4" if coding is None else {"uint8": "u1", "uint16": "<u2"}[coding["dtype"]])
            count = math.prod(shape)
            if about["dtype"] != "float32" or min(shape, default=1) < 1 or place + count * stored.itemsize > len(data):
                raise ConfigError(f"{path}: weight {about['name']} of shape {shape} is not there as float32")
            values = np.frombuffer(data, stored, count, place).astype(np.float32)
            if coding is not None:
                values = values * np.float32(coding["scale"]) + np.float32(coding["min"])
            if not np.isfinite(values).all():
                raise ConfigError(f"{path}: weight {about['name']} has values that are not finite")
            found[about["name"]] = values.reshape(shape)
            place += count * stored.itemsize
        if place != len(data):
            raise ConfigError(f"{path} has {len(data)} bytes of weights, and the manifest describes {place}")
    return found


Own = dict[str, dict[str, Any]]


def _network(path: Path, config: Mapping[str, Any], weights: Mapping[str, Any], where: Any) -> LayersModel:
    import torch

    first, *others = config["layers"][: MOST_LAYERS + 1]
    shape = tuple(int(side) for side in first["config"]["batch_input_shape"][1:])
    if first["class_name"] != "InputLayer" or len(shape) != 3 or not all(0 < side <= MOST_SIDE_PX for side in shape):
        raise ConfigError(f"{path} takes {shape}, not pictures of height x width x channels")
    own: Own = {}
    for full, values in weights.items():
        layer, _, name = full.rpartition("/")
        own.setdefault(layer, {})[name] = torch.from_numpy(values).to(where)
    known, layers = {first["config"]["name"]}, []
    for described in others:
        layers.append(_layer(path, described, known, own))
        known.add(layers[-1].name)
    if own:
        raise ConfigError(f"{path} has weights of no layer: {', '.join(list(own)[:6])}")
    if not layers or [node[0] for node in config["output_layers"]] != [layers[-1].name]:
        raise ConfigError(f"{path} does not end in its only output")
    height, width, channels = shape
    model = LayersModel((height, width, channels), _with_frees(layers), first["config"]["name"], 0)
    with torch.inference_mode():
        answer = model(torch.zeros((1, channels, height, width), device=where))
    if answer.ndim != 2:
        raise ConfigError(f"{path} gives a tensor of {answer.ndim} axes, not a list of numbers for each picture")
    return replace(model, width=int(answer.shape[1]))


def _layer(path: Path, described: Mapping[str, Any], known: set[str], own: Own) -> _Layer:
    """One layer of the topology, which takes its weights out of `own`."""
    kind, settings = described["class_name"], described["config"]
    name = settings["name"]
    if kind not in KINDS:
        raise ConfigError(f"{path} has a layer {kind}, which is not known here; known: {', '.join(KINDS)}")
    takes = tuple(node[0] for node in described["inbound_nodes"][0])
    if not takes or not known.issuperset(takes) or name in known:
        raise ConfigError(f"{path}: layer {name} takes {', '.join(takes)}, and not all of that comes before it")
    weights = own.pop(name, {})
    try:
        layer = _Layer(name, takes, KINDS[kind](settings, weights))
    except KeyError as error:
        raise ConfigError(f"{path}: layer {name} lacks {error}") from error
    if weights:
        raise ConfigError(f"{path}: layer {name} has also weights {', '.join(weights)}")
    return layer


def _with_frees(layers: Sequence[_Layer]) -> tuple[_Layer, ...]:
    """The same, each with the names that are read for the last time there."""
    last = {name: place for place, layer in enumerate(layers) for name in layer.takes}
    return tuple(
        _Layer(
            layer.name, layer.takes, layer.function, tuple(n for n in dict.fromkeys(layer.takes) if last[n] == place)
        )
        for place, layer in enumerate(layers)
    )
