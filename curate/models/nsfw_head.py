"""LAION's probability that a picture is not safe for work, from its CLIP embedding, by the heads as published.

They are networks of autokeras, which took the dimensions in which CLIP's embeddings are large (3 of 512, 5 of 768) for
categories, because float16 has few values there: each is written with six decimals, looked up among the values seen in
training, and becomes their place by frequency, 0 where it is new. Embeddings from a column of float16 are found as they
were in training; of float32 hardly any is. LAION's copy of the heads in PyTorch (`norm.mean`, `linear_1.weight`) has no
lookup: after normalisation its numbers are near those of a new value. Both are read here, and are two heads with two
digests. 30 ms for 2,048 embeddings of ViT-L/14 (0.2 million weights) on one core.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.models.heads import Head, Rows, Step, dense_step, finite_numbers, linear_chain
from curate.models.saved_model import SavedModel, read_saved_model
from curate.models.weights import read_tensors

__all__ = ["nsfw_head"]

Lookups = Sequence[tuple[int, Mapping[str, int]]]

MOST_LENGTH = 65_536
LEAST_DEVIATION = 1e-7
"""Keras' epsilon: a standard deviation is taken to be at least this."""


def nsfw_head(path: Path) -> Head:
    """LAION's NSFW head: autokeras' SavedModel, as a folder or zip, or the copy in PyTorch's names. 0 is safe, 1 is
    not. Raises ConfigError for what is neither."""
    if path.is_dir() or path.suffix == ".zip":
        return _keras_head(path, read_saved_model(path))
    tensors = dict(read_tensors(path))
    found = sorted((name for name in tensors if re.fullmatch(r"linear_\d\.weight", name)), key=str)
    normal = [finite_numbers(path, tensors.pop(f"norm.{what}", None), f"norm.{what}") for what in ("mean", "variance")]
    layers = linear_chain(path, tensors, [name.removesuffix("weight") for name in found] or ["linear_1."])
    if any(part.shape != (len(layers[0][0]),) for part in normal):
        raise ConfigError(f"{path}: norm.mean and norm.variance are not of the {len(layers[0][0])} inputs")
    steps = [_normalise(*normal)]
    for weight, bias in layers:
        steps += [dense_step(weight, bias), _relu]
    return Head(path.name, len(layers[0][0]), (*steps[:-1], _sigmoid))


def _keras_head(path: Path, model: SavedModel) -> Head:
    """The steps of a Keras network that is a chain, tried on a row of zeros."""
    try:
        layers = model.config["config"]["layers"]
        length = int(_items(layers[0]["config"]["batch_input_shape"])[-1])
        if not 0 < length <= MOST_LENGTH:
            raise ConfigError(f"{path} takes {length} numbers, and at most {MOST_LENGTH} are allowed")
        head = Head(path.name, length, tuple(_keras_steps(path, model, layers, length)))
        probability = bool(head.steps) and head.steps[-1] is _sigmoid
        if not probability or head(np.zeros((1, length), np.float32)).shape != (1,):
            raise ConfigError(f"{path} does not end in one probability")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConfigError(f"{path} is no head that can be read: {type(error).__name__} {error}") from error
    return head


def _keras_steps(path: Path, model: SavedModel, layers: Sequence[Any], length: int) -> Iterator[Step]:
    """Layer by layer. Variables are numbered by the layers that have any."""
    with_weights, before = 0, layers[0]["name"]
    for layer in layers[1:]:
        if [node[0] for node in layer["inbound_nodes"][0]] != [before]:
            raise ConfigError(f"{path}: layer {layer['name']!r} does not follow {before!r}, and a head is a chain")
        before, kind = layer["name"], layer["class_name"]
        if kind not in _KERAS:
            raise ConfigError(f"{path} has a layer {kind}, which is not known here; known: {', '.join(_KERAS)}")
        yield from _KERAS[kind](layer["config"], _Weights(path, model, f"layer_with_weights-{with_weights}/", length))
        with_weights += kind in _WITH_WEIGHTS
    extra = [name for name in model.variables if _number(name) >= with_weights]
    if extra:
        raise ConfigError(f"{path} has variables of no layer: {', '.join(extra[:6])}")


def _number(name: str) -> int:
    found = re.match(r"layer_with_weights-(\d+)/", name)
    return int(found[1]) if found else -1


def _items(shape: Any) -> Sequence[Any]:
    """A tuple as Keras writes it into JSON."""
    found: Sequence[Any] = shape["items"] if isinstance(shape, dict) else shape
    return found


@dataclass(frozen=True)
class _Weights:
    """The variables of one layer, of a network that takes `length` numbers."""

    path: Path
    model: SavedModel
    prefix: str
    length: int

    def get(self, name: str, *shape: int) -> npt.NDArray[np.float64]:
        """A variable of this shape, -1 for any number."""
        full = self.prefix + name
        values = finite_numbers(self.path, self.model.variables.get(full), full)
        if values.ndim != len(shape) or any(
            wanted not in (side, -1) for side, wanted in zip(values.shape, shape, strict=True)
        ):
            raise ConfigError(f"{self.path}: {full} has the shape {values.shape}")
        return values


def _keras_encoding(config: Mapping[str, Any], weights: _Weights) -> list[Step]:
    columns = [column for column, kind in enumerate(config["encoding"]) if kind == "int"]
    other = set(config["encoding"]) - {"int", "none"}
    if len(config["encoding"]) != weights.length:
        raise ConfigError(f"{weights.path} encodes {len(config['encoding'])} columns of {weights.length}")
    if other or len(columns) != len(weights.model.tables):
        raise ConfigError(
            f"{weights.path} encodes {len(columns)} columns by {len(weights.model.tables)} lookups, and some by {other}"
        )
    return [_look_up(list(zip(columns, weights.model.tables, strict=True)))] if columns else []


def _keras_normalization(config: Mapping[str, Any], weights: _Weights) -> list[Step]:
    if list(_items(config["axis"])) != [-1]:
        raise ConfigError(f"{weights.path} normalises along {config['axis']}, not the last axis")
    return [_normalise(weights.get("mean", weights.length), weights.get("variance", weights.length))]


def _keras_dense(config: Mapping[str, Any], weights: _Weights) -> list[Step]:
    kernel = weights.get("kernel", -1, -1)
    bias = weights.get("bias", kernel.shape[1]) if config["use_bias"] else np.zeros(kernel.shape[1])
    return [dense_step(kernel, bias), *_keras_activation(config, weights)]


def _keras_relu(config: Mapping[str, Any], weights: _Weights) -> list[Step]:
    if config["max_value"] is not None or config["negative_slope"] or config["threshold"]:
        raise ConfigError(f"{weights.path} has a ReLU with a bound, slope or threshold")
    return [_relu]


def _keras_activation(config: Mapping[str, Any], weights: _Weights) -> list[Step]:
    known: Mapping[str, list[Step]] = {"linear": [], "relu": [_relu], "sigmoid": [_sigmoid]}
    if config["activation"] not in known:
        raise ConfigError(f"{weights.path} has an activation {config['activation']!r}; known: {', '.join(known)}")
    return known[config["activation"]]


_KERAS: Mapping[str, Callable[[Mapping[str, Any], _Weights], list[Step]]] = {
    "Custom>MultiCategoryEncoding": _keras_encoding,
    "Normalization": _keras_normalization,
    "Dense": _keras_dense,
    "ReLU": _keras_relu,
    "Activation": _keras_activation,
    "Dropout": lambda config, weights: [],
}
_WITH_WEIGHTS = ("Custom>MultiCategoryEncoding", "Normalization", "Dense")


def _look_up(lookups: Lookups) -> Step:
    def step(rows: Rows) -> Rows:
        encoded = rows.copy()
        for column, places in lookups:
            encoded[:, column] = [places.get(f"{value:f}", 0) for value in rows[:, column].tolist()]
        return encoded

    return step


def _normalise(mean: npt.NDArray[np.float64], variance: npt.NDArray[np.float64]) -> Step:
    middle = mean.astype(np.float32)
    deviation = np.maximum(np.sqrt(variance), LEAST_DEVIATION).astype(np.float32)
    return lambda rows: (rows - middle) / deviation


def _relu(rows: Rows) -> Rows:
    return np.maximum(rows, np.float32(0))


def _sigmoid(rows: Rows) -> Rows:
    """1 / (1 + exp(-x)), in two halves, so that no exponential overflows."""
    small = np.exp(-np.abs(rows))
    found: Rows = np.where(rows >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
    return found
